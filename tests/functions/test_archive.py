"""The SQL side of archives: where they go, their states, and retention that waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from archives import MONTHS, archives, close_months, states
from servers import Database
from trail import Connection, acting_as, acts, attached, refused, rows, value

SHA = "0" * 64
START = "SELECT id FROM audit.start_archive()"
FINISH = "SELECT state FROM audit.finish_archive(%s, %s, 1000, %s, %s)"
VERIFY = "SELECT state FROM audit.verify_archive(%s)"
FAIL = "SELECT state FROM audit.verify_archive(%s, 'it is torn')"
HELD = "SELECT count(*) FROM audit.event WHERE action = 'update'"


@pytest.fixture
def trail(database: Database) -> Iterator[Connection]:
    """Three closed months of two tables, twelve events each, with archives switched on."""
    with database.connect(autocommit=True) as connection:
        for name in ("orders", "payments"):
            attached(connection, "id integer PRIMARY KEY", name=name)
        close_months(connection, "s3://bucket/audit/")
        yield connection


def start(connection: Connection) -> int | None:
    found: int | None = value(connection, START)
    return found


def finish(connection: Connection, number: int | None, events: int = 12) -> None:
    connection.execute(FINISH, [number, events, SHA, SHA])


def archive_next(connection: Connection, events: int = 12) -> int | None:
    """Have an archive of the oldest month that has none."""
    number = start(connection)
    finish(connection, number, events)
    connection.execute(VERIFY, [number])
    return number


def maintain(connection: Connection) -> tuple[int, str | None]:
    [run] = rows(connection, "SELECT * FROM audit.run_maintenance()")
    assert run["status"] == "ok"
    return run["events_expired"], run["message"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "audit",
        "~/audit",
        "S3://x",
        "s3:/x",
        "s3://a b",
        "zip://x::s3://y",
        "s3://x?v=1",
        "/a#b",
    ],
)
def test_a_place_that_is_none_is_refused(tx: Connection, url: str) -> None:
    refused(
        tx,
        errors.InvalidParameterValue,
        "SELECT audit.set_archive(%s)",
        [url],
        message=f"not a place for archives: '{url}'",
        hint="Pass the URL of a folder",
    )


def test_a_login_in_the_url_is_refused_and_not_repeated(tx: Connection) -> None:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        tx.execute("SELECT audit.set_archive('sftp://me:secret@host/x')")
    assert "secret" not in str(caught.value)


def test_the_place_is_recorded(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    for url in ("/mnt/audit", "/mnt/audit", None):
        tx.execute("SELECT audit.set_archive(%s)", [url])
    assert acts(tx, ["action", "old_values", "new_values"]) == [
        {
            "action": "retention",
            "old_values": {"archive": None},
            "new_values": {"archive": "/mnt/audit"},
        },
        {
            "action": "retention",
            "old_values": {"archive": "/mnt/audit"},
            "new_values": {"archive": None},
        },
    ]


def test_without_a_place_there_is_nothing_to_start(tx: Connection) -> None:
    refused(
        tx,
        errors.ObjectNotInPrerequisiteState,
        START,
        message="no place for archives is set",
        hint="audit.set_archive(",
    )


def test_the_oldest_closed_month_comes_first_and_the_running_one_never(trail: Connection) -> None:
    numbers = [archive_next(trail) for _ in range(MONTHS)]
    assert start(trail) is None
    found = archives(trail, "id", "state", "url", "to_time")
    assert [row["id"] for row in found] == numbers
    assert states(trail) == ["verified"] * MONTHS
    assert max(row["to_time"] for row in found) <= value(trail, "SELECT now()")
    bounds = value(
        trail,
        "SELECT to_char(min(from_time), 'YYYY-MM-DD_') || to_char(min(to_time), 'YYYY-MM-DD') "
        "FROM audit.archive",
    )
    assert found[0]["url"] == f"s3://bucket/audit/event_{bounds}_{numbers[0]}.parquet"


def test_a_month_that_a_transaction_may_still_write_to_is_not_archived(trail: Connection) -> None:
    trail.execute("SET ROLE audit_owner")
    trail.execute("UPDATE audit.counting SET counted_to = now() - interval '10 years'")
    trail.execute("RESET ROLE")
    assert start(trail) is None


def test_an_interrupted_attempt_goes_on(trail: Connection) -> None:
    first = start(trail)
    assert start(trail) == first
    finish(trail, first)
    assert start(trail) == first
    assert states(trail) == ["exported"]


def test_a_failed_attempt_is_followed_by_another(trail: Connection) -> None:
    first = start(trail)
    assert value(trail, FAIL, [first]) == "failed"
    second = start(trail)
    assert second != first
    assert archives(trail, "state", "message") == [
        {"state": "failed", "message": "it is torn"},
        {"state": "exporting", "message": None},
    ]


def test_two_runs_do_not_archive_the_same(trail: Connection, database: Database) -> None:
    with database.connect() as other:
        assert start(other) is not None
        other.commit()
        start(other)
        refused(
            trail,
            errors.LockNotAvailable,
            START,
            message="another run archives the events from",
            hint="Wait",
        )
    assert start(trail) is not None


def test_states_come_in_order(trail: Connection) -> None:
    number = start(trail)
    refused(trail, errors.ObjectNotInPrerequisiteState, VERIFY, [number], message="is written")
    finish(trail, number)
    refused(
        trail,
        errors.ObjectNotInPrerequisiteState,
        FINISH,
        [number, 12, SHA, SHA],
        message=f"no archive {number} is being exported",
    )
    for statement in (VERIFY, FAIL):
        refused(trail, errors.ObjectNotInPrerequisiteState, statement, [99], message="archive 99")


def test_an_archive_that_was_found_wrong_may_be_found_right_later(trail: Connection) -> None:
    number = archive_next(trail)
    trail.execute(FAIL, [number])
    assert value(trail, VERIFY, [number]) == "verified"
    assert archives(trail, "message") == [{"message": None}]


def test_an_archive_with_fewer_events_than_the_partition_is_none(trail: Connection) -> None:
    number = archive_next(trail, events=11)
    assert archives(trail, "state", "message") == [
        {"state": "failed", "message": "the partition holds 12 events, the archive 11"}
    ]
    assert start(trail) != number


def test_retention_waits_for_a_verified_archive(trail: Connection) -> None:
    trail.execute("SELECT audit.set_retention('1 day')")
    oldest = value(trail, "SELECT partition FROM audit.partition ORDER BY from_time LIMIT 1")
    waits = f"expired, but kept until it is archived: {oldest}"
    assert maintain(trail) == (0, waits)
    number = start(trail)
    assert maintain(trail) == (0, waits)
    finish(trail, number)
    assert maintain(trail) == (0, waits)
    trail.execute(VERIFY, [number])
    removed, message = maintain(trail)
    assert removed == 12
    assert message is None
    assert maintain(trail)[0] == 0
    assert value(trail, HELD) == 12 * (MONTHS - 1)
    assert states(trail) == ["verified"]


def test_retention_waits_again_when_an_archive_is_found_wrong(trail: Connection) -> None:
    number = archive_next(trail)
    trail.execute(FAIL, [number])
    trail.execute("SELECT audit.set_retention('1 day')")
    assert maintain(trail)[0] == 0


def test_retention_of_single_tables_waits_too(trail: Connection) -> None:
    trail.execute("SELECT audit.set_retention('1 day', 'app_data.orders')")
    assert maintain(trail)[0] == 0
    number = archive_next(trail)
    assert maintain(trail)[0] == 6
    # what is left is fewer, and the archive still holds all
    assert value(trail, VERIFY, [number]) == "verified"


def test_retention_keeps_what_came_after_the_archive(trail: Connection) -> None:
    archive_next(trail)
    trail.execute("SELECT audit.set_retention('1 day')")
    trail.execute("SET ROLE audit_owner")
    trail.execute("""
        INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
        SELECT started_at, occurred_at, 1, 1, 'update' FROM audit.event
         ORDER BY started_at LIMIT 1
    """)
    trail.execute("RESET ROLE")
    removed, message = maintain(trail)
    assert removed == 0
    assert "kept until it is archived" in str(message)


def test_without_archives_retention_waits_for_none(trail: Connection) -> None:
    trail.execute("SELECT audit.set_retention('1 day'), audit.set_archive(NULL)")
    assert maintain(trail) == (12, None)


def test_status_and_check_warn_of_missing_and_failed_archives(trail: Connection) -> None:
    query = "SELECT state, value, remedy FROM audit.status() WHERE item = 'archives'"
    # the youngest may have ended less than two days ago
    [row] = rows(trail, query)
    assert row["state"] == "warning"
    assert row["remedy"] == "audit-schema archive run"
    for _ in range(MONTHS):
        number = archive_next(trail)
    assert rows(trail, query) == [
        {"state": "ok", "value": "of all closed partitions", "remedy": None}
    ]
    trail.execute(FAIL, [number])
    [row] = rows(trail, query)
    assert (row["state"], "it is torn" in row["remedy"]) == ("warning", True)
    assert "archives" in {row["subject"] for row in rows(trail, "SELECT * FROM audit.check()")}


def test_an_administrator_may_and_a_reader_may_not(trail: Connection, database: Database) -> None:
    with database.connect("postgres") as root:
        with acting_as(root, "audit_admin"):
            assert archive_next(root) is not None
        with acting_as(root, "audit_reader"):
            for statement in (START, "SELECT audit.set_archive(NULL)", "TABLE audit.archive"):
                refused(root, psycopg.errors.InsufficientPrivilege, statement)
