"""audit.transaction_id(): one UUID for a start and an xid, in the order of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trail import Connection, rows, value

moments = st.datetimes(datetime(1970, 1, 1), datetime(2250, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
xids = st.integers(1, 2**62 - 1)
QUIET = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def transaction_id(tx: Connection, started_at: datetime, xid: int) -> UUID:
    found: UUID = value(tx, "SELECT audit.transaction_id(%s, %s::bigint)", (started_at, xid))
    return found


@QUIET
@given(started_at=moments, xid=xids)
def test_it_can_be_taken_apart_again(tx: Connection, started_at: datetime, xid: int) -> None:
    id_ = transaction_id(tx, started_at, xid)
    assert (id_.version, id_.variant) == (8, "specified in RFC 4122")
    assert rows(tx, "SELECT * FROM audit._transaction_key(%s)", (id_,)) == [
        {"started_at": started_at, "xid": xid}
    ]


@QUIET
@given(started_at=moments, xid=xids, later=st.integers(1, 10**14))
def test_it_sorts_by_time(tx: Connection, started_at: datetime, xid: int, later: int) -> None:
    first = transaction_id(tx, started_at, 2**62 - 1)
    second = transaction_id(tx, started_at + timedelta(microseconds=later), xid)
    assert first < second
    assert value(tx, "SELECT %s < %s", (first, second)) is True


def test_it_does_not_depend_on_the_time_zone(tx: Connection) -> None:
    moment = datetime(2024, 7, 1, tzinfo=UTC)
    first = transaction_id(tx, moment, 7)
    tx.execute("SET LOCAL TimeZone = 'Asia/Kolkata'; SET LOCAL DateStyle = 'SQL, DMY'")
    assert transaction_id(tx, moment, 7) == first
    query = "SELECT (audit._transaction_key(%s)).started_at = %s"
    assert value(tx, query, (first, moment)) is True
