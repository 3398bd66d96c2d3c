"""audit.detach(): capture stops, history stays."""

from __future__ import annotations

import pytest
from psycopg import errors

from trail import (
    MODES,
    Connection,
    acting_as,
    attached,
    events,
    refused,
    rows,
    triggers,
    value,
)


@pytest.mark.parametrize("mode", MODES)
def test_detach_stops_capture_and_keeps_the_history(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1)")
    assert value(tx, "SELECT audit.detach(%s)", (table,)) is True
    tx.execute(f"INSERT INTO {table} VALUES (2); UPDATE {table} SET id = id + 5; TRUNCATE {table}")
    assert triggers(tx, table) == []
    assert [row["row_key"] for row in events(tx)] == [{"id": 1}]
    history = rows(tx, "SELECT * FROM audit.history(%s)", (table,))
    assert [row["action"] for row in history] == ["detach", "insert"]
    assert value(tx, "SELECT detached_at = now() FROM audit.tracked_table") is True


def test_detach_is_idempotent(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    tx.execute("SELECT audit.detach(%s)", (table,))
    before = rows(tx, "TABLE audit.tracked_table")
    assert value(tx, "SELECT audit.detach(%s)", (table,)) is False
    assert rows(tx, "TABLE audit.tracked_table") == before


def test_detach_of_a_table_never_attached_says_false(tx: Connection) -> None:
    tx.execute("CREATE TABLE app_data.t (id integer)")
    assert value(tx, "SELECT audit.detach('app_data.t')") is False


def test_detach_without_a_table_is_an_error(tx: Connection) -> None:
    refused(
        tx,
        errors.NullValueNotAllowed,
        "SELECT audit.detach(NULL)",
        message="table must not be NULL",
        hint="audit.detach('public.orders')",
    )
    refused(tx, errors.UndefinedTable, "SELECT audit.detach('app_data.nope')", message="nope")


def test_detach_leaves_the_triggers_of_others_alone(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    tx.execute(f"""
        CREATE TRIGGER _audit_of_their_own BEFORE UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()
    """)
    tx.execute("SELECT audit.detach(%s)", (table,))
    assert [row["tgname"] for row in triggers(tx, table)] == ["_audit_of_their_own"]


def test_detach_of_a_partitioned_table_frees_its_partitions(tx: Connection) -> None:
    tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    tx.execute("CREATE TABLE app_data.t1 PARTITION OF app_data.t DEFAULT")
    tx.execute("SELECT audit.attach('app_data.t')")
    assert value(tx, "SELECT audit.detach('app_data.t1')") is False
    assert value(tx, "SELECT audit.detach('app_data.t')") is True
    tx.execute("INSERT INTO app_data.t VALUES (1)")
    assert events(tx) == []
    assert triggers(tx, "app_data.t1") == []


def test_only_the_owner_of_a_table_may_detach_it(root_tx: Connection) -> None:
    table = attached(root_tx, "id integer PRIMARY KEY")
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO audit_admin")
    root_tx.execute(f"GRANT ALL ON {table} TO audit_admin")
    with acting_as(root_tx, "audit_admin"):
        refused(
            root_tx, errors.InsufficientPrivilege, f"SELECT audit.detach('{table}')", message="t"
        )
    assert len(triggers(root_tx, table)) == 4
    assert value(root_tx, "SELECT detached_at FROM audit.tracked_table") is None


def test_a_detached_table_that_was_renamed_keeps_its_history_under_its_id(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    tx.execute(f"INSERT INTO {table} VALUES (1)")
    tx.execute("SELECT audit.detach(%s)", (table,))
    before = rows(tx, "SELECT tracked_table_id FROM audit.change")
    assert len(before) == 2
    tx.execute(f"DROP TABLE {table}")
    assert rows(tx, "SELECT tracked_table_id FROM audit.change") == before
