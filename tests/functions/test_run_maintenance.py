"""audit.run_maintenance(): partitions ahead, rows at home, and every failure written down."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from psycopg import errors, sql

from partitions import (
    bounds,
    expected_bounds,
    maintain,
    now,
    places,
    starts_of,
    stray_event,
)
from servers import Database
from trail import Connection, acting_as, attached, refused, rows, value

OTHER_OWNERS = """
    SELECT relname FROM pg_class WHERE relnamespace = 'audit'::regnamespace
       AND pg_get_userbyid(relowner) <> 'audit_owner'
"""
ODD_SESSION = """
    SET TimeZone = 'Pacific/Kiritimati'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'
"""
NORMAL_SESSION = "RESET TimeZone; RESET DateStyle; RESET IntervalStyle"


@pytest.fixture
def own(backend_database: Database) -> Iterator[Connection]:
    """The deployer in a database of its own, natively partitioned or by pg_partman."""
    with backend_database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def other(backend_database: Database) -> Iterator[Connection]:
    """A second session in the same database."""
    with backend_database.connect() as connection:
        yield connection


def drop_future(connection: Connection) -> int:
    """Drop all future partitions; how many there were."""
    query = "SELECT partition FROM audit.partition WHERE from_time > now()"
    names = [row["partition"] for row in rows(connection, query)]
    for name in names:
        connection.execute(sql.SQL("DROP TABLE audit.{}").format(sql.Identifier(name)))
    return len(names)


def test_a_fresh_installation_has_its_partitions(own: Connection) -> None:
    assert bounds(own) == expected_bounds("month", now(own), 4)
    assert rows(own, OTHER_OWNERS) == []


def test_a_run_with_nothing_to_do_says_so(own: Connection) -> None:
    run = maintain(own)
    assert run["finished_at"] >= run["started_at"]
    assert rows(own, "SELECT * FROM audit.maintenance_run WHERE id = %s", (run["id"],)) == [run]
    wanted = {"status": "ok", "partitions_created": 0, "rows_moved": 0, "message": None}
    assert {name: run[name] for name in wanted} == wanted


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_what_is_missing_is_made_with_exact_bounds_in_utc(own: Connection, period: str) -> None:
    own.execute("SELECT audit.set_partitioning(%s, 5)", (period,))
    assert drop_future(own) == 5
    own.execute(ODD_SESSION)
    own.execute("SELECT audit.run_maintenance()")
    own.execute(NORMAL_SESSION)
    assert bounds(own) == expected_bounds(period, now(own), 5)
    [run] = rows(own, "SELECT * FROM audit.maintenance_run ORDER BY id DESC LIMIT 1")
    assert (run["status"], run["partitions_created"]) == ("ok", 5)
    assert rows(own, OTHER_OWNERS) == []
    assert maintain(own)["partitions_created"] == 0


def test_new_partitions_have_the_indexes_of_their_parent_and_of_the_profile(
    own: Connection,
) -> None:
    query = """
        SELECT count(DISTINCT i.indexrelid) AS indexes,
               count(DISTINCT i.indexrelid) FILTER (
                   WHERE i.indexrelid IN (SELECT inhrelid FROM pg_inherits)) AS attached
          FROM audit.partition AS p
          JOIN pg_index AS i ON i.indrelid = ('audit.' || quote_ident(p.partition))::regclass
         GROUP BY p.partition
    """
    for stray in ("1 year", "2 years"):
        own.execute("BEGIN")
        stray_event(own, stray)
        own.execute("COMMIT")
        maintain(own)
    maintain(own)  # closes the partition that the run before made
    found = rows(own, query)
    assert found == [{"indexes": 4, "attached": 2}] * (5 + 1 + 2)


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_rows_in_default_are_moved_home(own: Connection, period: str) -> None:
    own.execute("SELECT audit.set_partitioning(%s, 3)", (period,))
    for age in ("500 days", "90 days", "-400 days"):
        own.execute("BEGIN")
        stray_event(own, age)
        own.execute("COMMIT")
    assert places(own) == ["audit.event_default"] * 6
    before = rows(own, "SELECT * FROM audit.change ORDER BY event_id")
    homes = [
        starts_of(period, row["started_at"], 2)
        for row in sorted(before, key=lambda r: r["event_id"])
    ]
    run = maintain(own)
    assert (run["status"], run["partitions_created"], run["rows_moved"]) == ("ok", 3, 6)
    assert "audit.event_default" not in places(own)
    assert rows(own, "SELECT * FROM audit.change ORDER BY event_id") == before
    assert {tuple(home) for home in homes} <= set(bounds(own))
    assert rows(own, OTHER_OWNERS) == []
    assert maintain(own)["partitions_created"] == 0


def test_rows_of_the_running_period_come_home_too(own: Connection) -> None:
    query = "SELECT partition FROM audit.partition WHERE from_time <= now() AND to_time > now()"
    [current] = rows(own, query)
    own.execute(sql.SQL("DROP TABLE audit.{}").format(sql.Identifier(current["partition"])))
    attached(own, "id integer PRIMARY KEY")
    own.execute("INSERT INTO app_data.t VALUES (1)")
    assert places(own) == ["audit.event_default"]
    run = maintain(own)
    assert (run["status"], run["partitions_created"], run["rows_moved"]) == ("ok", 1, 1)
    own.execute("INSERT INTO app_data.t VALUES (2)")
    assert len(set(places(own))) == 1
    assert places(own)[0] != "audit.event_default"


def test_a_second_run_at_the_same_time_is_skipped(own: Connection, other: Connection) -> None:
    other.execute("SELECT audit.run_maintenance()")  # holds its lock until it commits
    run = maintain(own)
    assert (run["status"], run["message"]) == ("skipped", "another run is under way")
    query = "SELECT * FROM audit.maintenance_run ORDER BY id DESC LIMIT 1"
    assert rows(own, query) == [run]
    other.rollback()
    assert maintain(own)["status"] == "ok"


def test_a_name_that_is_taken_fails_the_run_and_changes_nothing(own: Connection) -> None:
    own.execute("BEGIN")
    stray_event(own, "500 days")
    own.execute("COMMIT")
    home = value(
        own,
        "SELECT audit._partition_name(date_trunc('month', now() - '500 days'::interval))",
    )
    own.execute(sql.SQL("CREATE TABLE audit.{} ()").format(sql.Identifier(home)))
    partitions = rows(own, "SELECT partition FROM audit.partition ORDER BY 1")
    run = maintain(own)
    assert run["status"] == "failed"
    assert home in run["message"]
    assert "42P07" in run["message"]
    assert not run["partitions_created"]
    assert rows(own, "SELECT partition FROM audit.partition ORDER BY 1") == partitions
    assert places(own) == ["audit.event_default"] * 2
    query = "SELECT * FROM audit.maintenance_run ORDER BY id DESC LIMIT 1"
    assert rows(own, query) == [run]
    own.execute(sql.SQL("DROP TABLE audit.{}").format(sql.Identifier(home)))
    assert maintain(own)["status"] == "ok"


def test_a_locked_default_partition_fails_the_run_after_a_short_wait(
    own: Connection, other: Connection
) -> None:
    drop_future(own)
    other.execute("LOCK TABLE audit.event_default IN ACCESS SHARE MODE")
    started = time.monotonic()
    run = maintain(own)
    # five times 0.2 s for the lock, and 1.5 s between
    assert time.monotonic() - started < 4
    assert run["status"] == "failed"
    assert "lock" in run["message"]
    assert "5 times" in run["message"]
    assert len(bounds(own)) == 1
    other.rollback()
    run = maintain(own)
    assert (run["status"], run["partitions_created"], run["message"]) == ("ok", 4, None)


def test_an_open_attach_does_not_hold_up_the_run(own: Connection, other: Connection) -> None:
    attached(other, "id integer PRIMARY KEY")
    own.execute("SET statement_timeout = '5s'")
    assert maintain(own)["status"] in ("ok", "failed")


def test_writers_with_open_transactions_are_not_in_the_way(
    own: Connection, other: Connection
) -> None:
    attached(own, "id integer PRIMARY KEY")
    other.execute("INSERT INTO app_data.t VALUES (1)")
    own.execute("SELECT audit.set_partitioning('month', 8)")
    assert maintain(own)["status"] == "ok"
    assert len(bounds(own)) == 9
    other.execute("INSERT INTO app_data.t VALUES (2)")
    other.commit()
    assert value(own, "SELECT count(*) FROM audit.event") == 2


def test_a_writer_goes_on_while_a_run_is_not_yet_committed(
    own: Connection, other: Connection
) -> None:
    attached(own, "id integer PRIMARY KEY")
    own.execute("BEGIN")
    own.execute("SELECT audit.set_partitioning('month', 8)")
    other.execute("SET lock_timeout = '1s'")
    other.execute("INSERT INTO app_data.t VALUES (1)")
    other.commit()
    own.execute("COMMIT")
    assert value(own, "SELECT count(*) FROM audit.event") == 1


def test_a_failing_run_warns_whoever_called(own: Connection) -> None:
    notices: list[str] = []
    own.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    own.execute("ALTER TABLE audit.setting RENAME COLUMN premake TO something")
    assert maintain(own)["status"] == "failed"
    assert [notice.split(":")[0] for notice in notices] == ["maintenance of the audit trail failed"]


def test_renamed_tables_are_followed(own: Connection) -> None:
    attached(own, "id integer PRIMARY KEY")
    own.execute("ALTER TABLE app_data.t RENAME TO renamed")
    assert maintain(own)["status"] == "ok"
    assert value(own, "SELECT table_name FROM audit.tracked_table") == "renamed"


def test_an_administrator_may_run_it_and_a_reader_not(backend_database: Database) -> None:
    with backend_database.connect("postgres") as connection:
        with acting_as(connection, "audit_reader"):
            refused(
                connection,
                errors.InsufficientPrivilege,
                "SELECT audit.run_maintenance()",
                message="run_maintenance",
            )
        drop_future(connection)
        with acting_as(connection, "audit_admin"):
            assert maintain(connection)["partitions_created"] == 4
        assert rows(connection, OTHER_OWNERS) == []
