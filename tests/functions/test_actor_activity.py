"""audit.actor_activity(): what one actor changed, newest transaction first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from servers import Database, Server
from trail import Connection, Row, attached, fill, indexes, plans_within, refused, rows, uses


@pytest.fixture(scope="module")
def busy(server: Server) -> Iterator[Database]:
    """Ten transactions of ann with three changes each, some of bob in between."""
    with server.clone() as database, database.connect(autocommit=True) as db:
        attached(db, "id integer PRIMARY KEY, n integer")
        attached(db, "id integer PRIMARY KEY", "row", "other")
        for number in range(10):
            for actor, shift in (("ann", 0), ("bob", 1000)):
                with db.transaction():
                    db.execute("SELECT audit.set_context(%s)", (actor,))
                    db.execute("INSERT INTO app_data.t VALUES (%s, 0)", (number + shift,))
                    db.execute("INSERT INTO app_data.other VALUES (%s)", (number + shift,))
                    db.execute("UPDATE app_data.t SET n = 1 WHERE id = %s", (number + shift,))
        yield database


@pytest.fixture
def reader(busy: Database) -> Iterator[Connection]:
    """A connection to the busy database that changes nothing."""
    with busy.connect() as connection:
        yield connection
        connection.rollback()


def activity(connection: Connection, limit: int = 100, before: str | None = None) -> list[Row]:
    query = "SELECT * FROM audit.actor_activity('ann', NULL, NULL, %s, %s)"
    return rows(connection, query, (limit, before))


def test_the_newest_transaction_comes_first(reader: Connection) -> None:
    found = activity(reader)
    assert {row["actor"] for row in found} == {"ann"}
    order = [(row["started_at"], row["occurred_at"], row["event_id"]) for row in found]
    assert order == sorted(order, reverse=True)
    assert [row["row_key"]["id"] for row in found] == [9 - i // 3 for i in range(30)]
    assert [row["action"] for row in found[:3]] == ["update", "insert", "insert"]


@settings(
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sizes=st.lists(st.integers(1, 9), min_size=31, max_size=31))
def test_pages_cover_every_change_exactly_once(reader: Connection, sizes: list[int]) -> None:
    found: list[Row] = []
    before = None
    for size in sizes:
        got = activity(reader, size, before)
        if not got:
            break
        found += got
        before = got[-1]["cursor"]
    assert found == activity(reader)


def test_from_and_to_bound_the_start_of_the_transaction(reader: Connection) -> None:
    starts = sorted({row["started_at"] for row in activity(reader)})
    query = "SELECT * FROM audit.actor_activity('ann', %s, %s)"
    found = rows(reader, query, (starts[3], starts[5]))
    assert {row["started_at"] for row in found} == {starts[3], starts[4]}
    assert len(rows(reader, query, ("-infinity", "infinity"))) == 30


def test_an_unknown_actor_and_nobody_did_nothing(reader: Connection) -> None:
    for actor in ("eve", "", None, "ANN"):
        assert rows(reader, "SELECT * FROM audit.actor_activity(%s)", (actor,)) == []


def test_bad_pages_are_refused(reader: Connection) -> None:
    for arguments, message in (
        ("p_limit => 0", "limit must be between 1 and 10000, got 0"),
        ("p_limit => 10001", "limit must be between 1 and 10000, got 10001"),
        ("p_before => 'x'", "not a cursor: 'x'"),
    ):
        refused(
            reader,
            errors.InvalidParameterValue,
            f"SELECT * FROM audit.actor_activity('ann', {arguments})",
            message=message,
            hint="cursor",
        )


def test_a_page_is_read_from_its_index_and_stops_when_full(root_db: Connection) -> None:
    filled = fill(root_db)
    found = plans_within(root_db, "SELECT * FROM audit.actor_activity('actor 7', p_limit => 10)")
    assert uses(found, indexes(root_db, "event_actor_idx")), found
    assert uses(found, indexes(root_db, "event_pkey")), found
    assert f"Seq Scan on {filled}" not in found
