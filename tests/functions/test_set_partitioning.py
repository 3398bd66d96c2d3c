"""audit.set_partitioning(): interval and premake, the same by both backends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from psycopg import errors

from partitions import (
    Stalls,
    bounds,
    bounds_ahead,
    event_at,
    expected_bounds,
    maintain,
    now,
    places,
    stray_event,
)
from servers import Database
from trail import Connection, acting_as, attached, refused, rows, value

PERIODS = ("day", "week", "month")
OTHER_OWNERS = """
    SELECT relname FROM pg_class WHERE relnamespace = 'audit'::regnamespace
       AND pg_get_userbyid(relowner) <> 'audit_owner'
"""
MADE = "SELECT oid, relname FROM pg_class WHERE relispartition ORDER BY 1"
ODD_ZONES = ("America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kolkata")


def states(connection: Connection) -> list[str]:
    """What audit.status() says of each item but the first run of maintenance."""
    query = "SELECT state FROM audit.status() WHERE item <> 'last maintenance'"
    return [row["state"] for row in rows(connection, query)]


@pytest.fixture
def own(backend_database: Database) -> Iterator[Connection]:
    """The deployer in a database of its own, natively partitioned or by pg_partman."""
    with backend_database.connect(autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("zone", ODD_ZONES)
@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_bounds_are_whole_periods_in_utc(own: Connection, period: str, zone: str) -> None:
    own.execute("SELECT set_config('TimeZone', %s, false)", (zone,))
    own.execute("SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'")
    own.execute("SELECT audit.set_partitioning(%s, 6)", (period,))
    own.execute("RESET TimeZone; RESET DateStyle")
    assert bounds(own) == expected_bounds(period, now(own), 6)
    assert rows(own, "SELECT partition_interval, premake FROM audit.setting") == [
        {"partition_interval": period, "premake": 6}
    ]
    assert value(own, "SELECT count(*) FROM audit.partition WHERE is_default") == 1


def test_both_backends_are_what_they_are_taken_for(
    own: Connection, backend_database: Database
) -> None:
    partman = value(own, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_partman'")
    backend = "pg_partman" if partman else "native"
    own.execute("SELECT audit.set_partitioning('day', 2)")
    assert value(own, "SELECT partition_backend FROM audit.setting") == backend
    if partman:
        assert rows(own, "SELECT parent_table FROM partman.part_config") == [
            {"parent_table": "audit.event"}
        ]


def test_premake_can_be_raised_while_events_are_there(own: Connection) -> None:
    attached(own, "id integer PRIMARY KEY")
    own.execute("INSERT INTO app_data.t VALUES (1)")
    own.execute("SELECT audit.set_partitioning('month', 15)")
    assert bounds(own) == expected_bounds("month", now(own), 15)
    own.execute("SELECT audit.set_partitioning('month', 1)")
    assert bounds(own) == expected_bounds("month", now(own), 15)  # what is there stays
    assert value(own, "SELECT premake FROM audit.setting") == 1
    assert value(own, "SELECT count(*) FROM audit.event") == 1


CHANGES = [(old, new) for old in PERIODS for new in PERIODS if old != new]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_the_interval_can_change_while_events_are_there(
    own: Connection, old: str, new: str
) -> None:
    attached(own, "id integer PRIMARY KEY")
    own.execute("SELECT audit.set_partitioning(%s, 3)", (old,))
    own.execute("INSERT INTO app_data.t VALUES (1)")
    before = places(own)
    running = expected_bounds(old, now(own), 0)
    own.execute("SELECT audit.set_partitioning(%s, 5)", (new,))
    expected = running + bounds_ahead(new, running[0][1], 5)
    assert bounds(own) == expected
    assert rows(own, "SELECT partition_interval, premake FROM audit.setting") == [
        {"partition_interval": new, "premake": 5}
    ]
    assert (places(own), rows(own, OTHER_OWNERS)) == (before, [])
    for start, _ in expected:
        assert "default" not in event_at(own, start)
    made = rows(own, MADE)
    own.execute("SELECT audit.set_partitioning(%s, 5)", (new,))
    assert rows(own, MADE) == made
    assert set(states(own)) <= {"ok", "info"}
    run = maintain(own)
    assert (run["status"], run["partitions_created"], run["message"]) == ("ok", 0, None)


def test_partitions_ahead_that_hold_events_are_kept(own: Connection) -> None:
    [_, (_, start), *_] = expected_bounds("month", now(own), 3)
    kept = event_at(own, start + timedelta(days=10))
    event_at(own, now(own))
    own.execute("SELECT audit.set_partitioning('day', 90)")
    assert expected_bounds("month", start, 0)[0] in bounds(own)
    assert value(own, "SELECT count(*) FROM audit.event WHERE tableoid = %s::regclass", [kept]) == 1
    found = bounds(own)
    assert [end for _, end in found[:-1]] == [start for start, _ in found[1:]]  # without a hole


def test_there_and_back_leaves_no_hole_and_no_row_behind(own: Connection) -> None:
    event_at(own, now(own))
    for period in ("week", "day", "month", "day", "week", "month"):
        own.execute("SELECT audit.set_partitioning(%s, 3)", (period,))
        found = bounds(own)
        assert [end for _, end in found[:-1]] == [start for start, _ in found[1:]]
        assert found[0][0] <= now(own) < found[0][1]
        assert len(found) == 4
    assert found == expected_bounds("month", now(own), 3)
    assert places(own) != ["audit.event_default"]


def test_rows_in_default_go_home_before_the_interval_changes(own: Connection) -> None:
    own.execute("BEGIN")
    stray_event(own, "2 years")
    own.execute("COMMIT")
    before = rows(own, "TABLE audit.setting"), rows(own, MADE)
    refused(
        own,
        errors.ObjectNotInPrerequisiteState,
        "SELECT audit.set_partitioning('day', 9)",
        message="from month to day while the DEFAULT partition holds rows",
        hint="audit.run_maintenance()",
    )
    assert (rows(own, "TABLE audit.setting"), rows(own, MADE)) == before
    maintain(own)
    own.execute("SELECT audit.set_partitioning('day', 9)")


def test_a_long_transaction_is_waited_for_in_short_turns(
    own: Connection, backend_database: Database
) -> None:
    attached(own, "id integer PRIMARY KEY")
    before = rows(own, "TABLE audit.setting"), rows(own, MADE)
    with backend_database.connect() as long, backend_database.connect(autocommit=True) as short:
        long.execute("INSERT INTO app_data.t VALUES (1)")
        waits = Stalls(short)
        with waits.measured():
            refused(
                own,
                errors.LockNotAvailable,
                "SELECT audit.set_partitioning('week', 4)",
                message="is in use: lock timeout of 200ms, 5 times",
                hint="open for long",
            )
        assert (rows(own, "TABLE audit.setting"), rows(own, MADE)) == before
        assert waits.writes > 5
        assert waits.longest < 0.4  # the lock timeout, on a busy machine
        long.commit()
    own.execute("SELECT audit.set_partitioning('week', 4)")
    assert len(places(own)) == 1 + waits.writes


@pytest.mark.slow
def test_no_row_is_lost_or_astray_under_concurrent_writers(
    own: Connection, backend_database: Database
) -> None:
    attached(own, "id integer PRIMARY KEY")
    with backend_database.connect(autocommit=True) as writer:
        waits = Stalls(writer)
        with waits.measured():
            for period in ("week", "day", "month") * 3:
                own.execute("SELECT audit.set_partitioning(%s, 6)", (period,))
                maintain(own)
    assert waits.writes > 20
    found = places(own)
    assert (len(found), "audit.event_default" in found) == (waits.writes, False)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ("'hour', 4", "unknown partition interval 'hour'", "day, week or month"),
        ("'1 day', 4", "unknown partition interval '1 day'", "day, week or month"),
        ("NULL, 4", "unknown partition interval NULL", "day, week or month"),
        ("'day', 0", "premake must be between 1 and 400, got 0", "future partitions"),
        ("'day', 401", "premake must be between 1 and 400, got 401", "future partitions"),
        ("'day', NULL", "premake must be between 1 and 400, got", "future partitions"),
    ],
)
def test_bad_arguments_are_refused(tx: Connection, arguments: str, message: str, hint: str) -> None:
    before = rows(tx, "TABLE audit.setting")
    refused(
        tx,
        errors.InvalidParameterValue,
        f"SELECT audit.set_partitioning({arguments})",
        message=message,
        hint=hint,
    )
    assert rows(tx, "TABLE audit.setting") == before


def test_it_is_idempotent(own: Connection) -> None:
    own.execute("SELECT audit.set_partitioning('week', 3)")
    before = rows(own, MADE)
    own.execute("SELECT audit.set_partitioning('week', 3)")
    assert rows(own, MADE) == before


def test_an_administrator_may_call_it_and_the_owner_owns_what_it_makes(root_tx: Connection) -> None:
    with acting_as(root_tx, "audit_admin"):
        root_tx.execute("SELECT audit.set_partitioning('day', 2)")
    query = """
        SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class
         WHERE relnamespace = 'audit'::regnamespace
    """
    assert rows(root_tx, query) == [{"owner": "audit_owner"}]


def test_an_old_snapshot_cannot_take_the_trail_for_empty(own: Connection) -> None:
    """Events that others committed since then would be dropped with their partitions."""
    own.execute("SET default_transaction_isolation = 'repeatable read'")
    refused(
        own,
        errors.FeatureNotSupported,
        "SELECT audit.set_partitioning('day', 4)",
        message="the partition interval cannot change in a repeatable read transaction",
        hint="READ COMMITTED",
    )
    own.execute("SELECT audit.set_partitioning('month', 6)")
    assert value(own, "SELECT premake FROM audit.setting") == 6
