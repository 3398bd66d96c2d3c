"""audit.set_partitioning(): interval and premake, the same by both backends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import errors

from partitions import bounds, expected_bounds, now
from servers import Database, Server
from trail import Connection, acting_as, attached, refused, rows, value

ODD_ZONES = ("America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kolkata")


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


def test_another_interval_is_refused_once_events_are_there(own: Connection) -> None:
    attached(own, "id integer PRIMARY KEY")
    own.execute("INSERT INTO app_data.t VALUES (1)")
    before = rows(own, "TABLE audit.setting"), bounds(own)
    refused(
        own,
        errors.ObjectNotInPrerequisiteState,
        "SELECT audit.set_partitioning('day', 9)",
        message="cannot change from month to day",
        hint="right after the installation",
    )
    after = rows(own, "TABLE audit.setting"), bounds(own)
    assert after == before


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
    query = "SELECT oid, relname FROM pg_class WHERE relispartition ORDER BY 1"
    before = rows(own, query)
    own.execute("SELECT audit.set_partitioning('week', 3)")
    assert rows(own, query) == before


def test_an_administrator_may_call_it_and_the_owner_owns_what_it_makes(root_tx: Connection) -> None:
    with acting_as(root_tx, "audit_admin"):
        root_tx.execute("SELECT audit.set_partitioning('day', 2)")
    query = """
        SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class
         WHERE relnamespace = 'audit'::regnamespace
    """
    assert rows(root_tx, query) == [{"owner": "audit_owner"}]


def test_pg_partman_that_comes_later_takes_over_an_empty_trail(
    server: Server, database: Database
) -> None:
    server.require("pg_partman")
    with database.connect(autocommit=True) as own, database.connect("postgres") as root:
        remedy = value(own, "SELECT audit._partman_remedy()")
        root.execute(remedy)
        root.commit()
        assert value(own, "SELECT audit._partman_remedy()") is None
        own.execute("SELECT audit.set_partitioning('month', 4)")
        assert value(own, "SELECT partition_backend FROM audit.setting") == "pg_partman"
        assert bounds(own) == expected_bounds("month", now(own), 4)


def test_a_trail_with_events_stays_native_when_pg_partman_comes_later(
    server: Server, database: Database
) -> None:
    server.require("pg_partman")
    with database.connect(autocommit=True) as own, database.connect("postgres") as root:
        attached(own, "id integer PRIMARY KEY")
        own.execute("INSERT INTO app_data.t VALUES (1)")
        root.execute(value(own, "SELECT audit._partman_remedy()"))
        root.commit()
        own.execute("SELECT audit.set_partitioning('month', 6)")
        assert value(own, "SELECT partition_backend FROM audit.setting") == "native"
        assert bounds(own) == expected_bounds("month", now(own), 6)


def test_an_old_snapshot_cannot_take_the_trail_for_empty(own: Connection) -> None:
    """Events that others committed since then would be dropped with their partitions."""
    own.execute("SET default_transaction_isolation = 'repeatable read'")
    refused(
        own,
        errors.FeatureNotSupported,
        "SELECT audit.set_partitioning('day', 4)",
        message="cannot be replaced in a repeatable read transaction",
        hint="READ COMMITTED",
    )
    own.execute("SELECT audit.set_partitioning('month', 6)")
    assert value(own, "SELECT premake FROM audit.setting") == 6
