"""audit.set_partition_backend(): who makes the partitions, changed at any time and both ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import errors, sql

from audit_schema import schema
from migrations.conftest import quietly
from partitions import bounds, bounds_ahead, event_at, expected_bounds, maintain, now, places
from servers import INIT_SCRIPTS, Database, Server
from trail import Connection, acting_as, attached, refused, rows, value

BACKEND = "SELECT partition_backend FROM audit.setting"
REGISTERED = "SELECT parent_table, automatic_maintenance, premake FROM partman.part_config"
STATUS = "SELECT state, value, remedy FROM audit.status() WHERE item = 'partition backend'"
TO_PARTMAN = "SELECT audit.set_partition_backend('pg_partman')"
TO_NATIVE = "SELECT audit.set_partition_backend('native')"


@pytest.fixture
def own(server: Server, database: Database) -> Iterator[Connection]:
    """The deployer in a natively partitioned database with one event; pg_partman could be had."""
    server.require("pg_partman")
    with database.connect(autocommit=True) as connection:
        attached(connection, "id integer PRIMARY KEY")
        connection.execute("INSERT INTO app_data.t VALUES (1)")
        yield connection


@pytest.fixture
def root(database: Database) -> Iterator[Connection]:
    """The superuser in the same database."""
    with database.connect("postgres", autocommit=True) as connection:
        yield connection


def drop_future(connection: Connection) -> None:
    query = "SELECT partition FROM audit.partition WHERE from_time > now()"
    for row in rows(connection, query):
        connection.execute(sql.SQL("DROP TABLE audit.{}").format(sql.Identifier(row["partition"])))


def grant_partman(own: Connection, root: Connection) -> None:
    """Do what the remedy says."""
    root.execute(value(own, "SELECT audit._partman_remedy()"))


def test_a_live_trail_goes_to_pg_partman_and_back(own: Connection, root: Connection) -> None:
    before = places(own)
    grant_partman(own, root)
    own.execute(TO_PARTMAN)
    assert value(own, BACKEND) == "pg_partman"
    registered = {"parent_table": "audit.event", "automatic_maintenance": "off", "premake": 4}
    assert rows(root, REGISTERED) == [registered]
    assert rows(own, STATUS) == [{"state": "ok", "value": "pg_partman", "remedy": None}]
    drop_future(own)
    assert maintain(own)["partitions_created"] == 4
    assert bounds(own) == expected_bounds("month", now(own), 4)

    own.execute(TO_NATIVE)
    assert value(own, BACKEND) == "native"
    assert rows(root, REGISTERED) == []
    drop_future(own)
    assert maintain(own)["partitions_created"] == 4
    assert bounds(own) == expected_bounds("month", now(own), 4)
    assert places(own) == before


def test_pg_partman_makes_what_is_due_once_it_has_taken_over(
    own: Connection, root: Connection
) -> None:
    grant_partman(own, root)
    own.execute(TO_PARTMAN)
    drop_future(own)
    root.execute("UPDATE partman.part_config SET datetime_string = 'YYYYMMDD_\"theirs\"'")
    maintain(own)
    query = "SELECT count(*) FROM audit.partition WHERE partition LIKE '%theirs'"
    assert value(own, query) == 4


def test_it_is_idempotent(own: Connection, root: Connection) -> None:
    grant_partman(own, root)
    for call in (TO_PARTMAN, TO_PARTMAN, TO_NATIVE, TO_NATIVE):
        own.execute(call)
        assert maintain(own)["partitions_created"] == 0


def test_interval_and_premake_reach_pg_partman(own: Connection, root: Connection) -> None:
    grant_partman(own, root)
    own.execute(TO_PARTMAN)
    own.execute("SELECT audit.set_partitioning('week', 7)")
    [running] = expected_bounds("month", now(own), 0)
    assert bounds(own) == [running, *bounds_ahead("week", running[1], 7)]
    query = "SELECT partition_interval::interval, premake FROM partman.part_config"
    assert [(row[0].days, row[1]) for row in root.execute(query)] == [(7, 7)]


def test_what_is_missing_for_pg_partman_is_said(own: Connection, root: Connection) -> None:
    refused(
        own,
        errors.ObjectNotInPrerequisiteState,
        TO_PARTMAN,
        message="pg_partman cannot be used here",
        hint="CREATE EXTENSION pg_partman SCHEMA partman; GRANT USAGE ON SCHEMA partman TO",
    )
    root.execute("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman")
    hint = "Have a DBA do this: GRANT USAGE ON SCHEMA partman TO audit_owner;"
    refused(own, errors.ObjectNotInPrerequisiteState, TO_PARTMAN, hint=hint)
    assert value(own, BACKEND) == "native"


@pytest.mark.parametrize("backend", ["'cron'", "'partman'", "''", "NULL"])
def test_an_unknown_backend_is_refused(tx: Connection, backend: str) -> None:
    refused(
        tx,
        errors.InvalidParameterValue,
        f"SELECT audit.set_partition_backend({backend})",
        message=f"unknown partition backend {backend}",
        hint="native or pg_partman",
    )


@pytest.mark.parametrize(
    "loss",
    [
        "DROP EXTENSION pg_partman CASCADE",
        "REVOKE USAGE ON SCHEMA partman FROM audit_owner",
        "DELETE FROM partman.part_config",
    ],
)
def test_without_pg_partman_maintenance_goes_on_and_status_says_so(
    own: Connection, root: Connection, loss: str
) -> None:
    grant_partman(own, root)
    own.execute(TO_PARTMAN)
    root.execute(loss)
    drop_future(own)
    own.execute("INSERT INTO app_data.t VALUES (2)")
    run = maintain(own)
    assert (run["status"], run["partitions_created"]) == ("ok", 4)
    assert bounds(own) == expected_bounds("month", now(own), 4)
    [found] = rows(own, STATUS)
    assert (found["state"], found["value"]) == (
        "warning",
        "native: pg_partman was chosen and cannot be used",
    )
    assert "SELECT audit.set_partition_backend('native');" in found["remedy"]
    own.execute("SELECT audit.set_partitioning('day', 3)")
    own.execute(TO_NATIVE)
    assert rows(own, STATUS) == [{"state": "ok", "value": "native", "remedy": None}]
    assert value(own, "SELECT count(*) FROM audit.event") == 2


def test_an_interval_that_pg_partman_did_not_hear_of_is_kept(
    own: Connection, root: Connection
) -> None:
    grant_partman(own, root)
    own.execute(TO_PARTMAN)
    root.execute("REVOKE USAGE ON SCHEMA partman FROM audit_owner")
    own.execute("SELECT audit.set_partitioning('day', 3)")
    root.execute("GRANT USAGE ON SCHEMA partman TO audit_owner")
    drop_future(own)
    assert maintain(own)["partitions_created"] == 3
    [running] = expected_bounds("month", now(own), 0)
    assert bounds(own) == [running, *bounds_ahead("day", running[1], 3)]
    [found] = rows(own, STATUS)
    assert found["remedy"].endswith("or SELECT audit.set_partition_backend('pg_partman');")
    own.execute(TO_PARTMAN)
    assert rows(own, STATUS)[0]["state"] == "ok"


def test_pg_partman_that_came_back_is_taken_up_again(own: Connection, root: Connection) -> None:
    grant_partman(own, root)
    own.execute(TO_PARTMAN)
    root.execute("DROP EXTENSION pg_partman CASCADE; DROP SCHEMA partman")
    grant_partman(own, root)
    assert rows(own, STATUS)[0]["state"] == "warning"  # its configuration is gone
    own.execute(TO_PARTMAN)
    assert rows(own, STATUS)[0]["state"] == "ok"
    assert maintain(own)["status"] == "ok"


def test_an_installation_does_not_fail_for_an_error_of_pg_partman(server: Server) -> None:
    server.require("pg_partman")
    server.template("native")  # there the roles are made
    with server.clone("blank") as database:
        server.run_script(INIT_SCRIPTS / "20_pg_partman.sql", database.name)
        with database.connect("postgres", autocommit=True) as root:
            root.execute("ALTER TABLE partman.part_config RENAME COLUMN control TO something")
        quietly(schema.upgrade, database.url())
        with database.connect() as own:
            assert value(own, BACKEND) == "native"
            assert bounds(own) == expected_bounds("month", now(own), 4)


def test_an_administrator_may_call_it_and_a_reader_not(root_tx: Connection) -> None:
    with acting_as(root_tx, "audit_admin"):
        root_tx.execute(TO_NATIVE)
    with acting_as(root_tx, "audit_reader"):
        refused(root_tx, errors.InsufficientPrivilege, TO_NATIVE)


def test_it_waits_for_maintenance_only_shortly(own: Connection, database: Database) -> None:
    event_at(own, now(own))
    with database.connect() as other:
        maintain(other)
        refused(own, errors.LockNotAvailable, TO_NATIVE)
