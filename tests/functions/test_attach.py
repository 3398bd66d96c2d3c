"""audit.attach(): what it refuses, what it leaves alone, what it heals, and two at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors, sql

from servers import Database
from trail import (
    MODES,
    Connection,
    acting_as,
    attached,
    event,
    events,
    refused,
    rows,
    triggers,
    value,
)

STATEMENT, ROW = 0, 1
# bit of pg_trigger.tgtype: 1 = for each row
LEVELS = {
    "statement": dict.fromkeys(("delete", "insert", "truncate", "update"), STATEMENT),
    "row": {"delete": ROW, "insert": ROW, "truncate": STATEMENT, "update": ROW},
}
OBJECTS = """
    CREATE TABLE app_data.t (id integer PRIMARY KEY, amount numeric);
    CREATE VIEW app_data.a_view AS SELECT 1 AS one;
    CREATE MATERIALIZED VIEW app_data.a_matview AS SELECT 1 AS one;
    CREATE SEQUENCE app_data.a_sequence;
    CREATE TYPE app_data.a_type AS (one integer);
    CREATE INDEX an_index ON app_data.t (amount);
    CREATE TEMPORARY TABLE a_temporary (id integer PRIMARY KEY);
    CREATE TABLE app_data.parted (id integer PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE app_data.part PARTITION OF app_data.parted DEFAULT;
"""


def levels(connection: Connection, table: str) -> dict[str, int]:
    return {
        row["tgname"].removeprefix("_audit_"): row["tgtype"] & 1
        for row in triggers(connection, table)
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message", "hint"),
    [
        ("NULL", errors.NullValueNotAllowed, "table must not be NULL", "audit.attach("),
        ("0::oid", errors.UndefinedTable, "no table with oid 0", "audit.attach("),
        ("'app_data.a_view'", errors.WrongObjectType, "app_data.a_view is a view", "the table"),
        (
            "'app_data.a_matview'",
            errors.WrongObjectType,
            "app_data.a_matview is a materialized view",
            "the table",
        ),
        (
            "'app_data.a_sequence'",
            errors.WrongObjectType,
            "app_data.a_sequence is a sequence",
            "the table",
        ),
        (
            "'app_data.a_type'",
            errors.WrongObjectType,
            "app_data.a_type is a composite type",
            "the table",
        ),
        (
            "'app_data.an_index'",
            errors.WrongObjectType,
            "app_data.an_index is an index",
            "the table",
        ),
        (
            "'pg_class'",
            errors.WrongObjectType,
            "pg_class is a system catalog",
            "tables of your own",
        ),
        (
            "'information_schema.sql_features'",
            errors.WrongObjectType,
            "information_schema.sql_features is a system catalog",
            "tables of your own",
        ),
        (
            "'audit.setting'",
            errors.WrongObjectType,
            "audit.setting belongs to the audit trail",
            "tables of your own",
        ),
        (
            "'audit.event'",
            errors.WrongObjectType,
            "audit.event belongs to the audit trail",
            "tables of your own",
        ),
        (
            "'audit.event_default'",
            errors.WrongObjectType,
            "audit.event_default belongs to the audit trail",
            "tables of your own",
        ),
        (
            "'a_temporary'",
            errors.WrongObjectType,
            "a_temporary is a temporary table",
            "the tables they go to",
        ),
        (
            "'app_data.part'",
            errors.WrongObjectType,
            "app_data.part is a partition",
            "audit.attach('app_data.parted')",
        ),
        (
            "'app_data.t', 'fast'",
            errors.InvalidParameterValue,
            "unknown capture mode 'fast'",
            "Use statement (the default) or row.",
        ),
        (
            "'app_data.t', NULL",
            errors.InvalidParameterValue,
            "unknown capture mode NULL",
            "Use statement (the default) or row.",
        ),
        (
            "'app_data.t', 'hybrid'",
            errors.InvalidParameterValue,
            "unknown capture mode 'hybrid'",
            "Use statement (the default) or row.",
        ),
        (
            "'app_data.t', 'row', '{id,nope}'",
            errors.UndefinedColumn,
            "table app_data.t has no column 'nope'",
            "identify a row",
        ),
        (
            "'app_data.t', 'row', '{NULL}'",
            errors.UndefinedColumn,
            "table app_data.t has no column NULL",
            "identify a row",
        ),
        (
            "'app_data.t', 'row', '{ctid}'",
            errors.UndefinedColumn,
            "table app_data.t has no column 'ctid'",
            "identify a row",
        ),
    ],
)
def test_attach_refuses_and_changes_nothing(
    tx: Connection, arguments: str, error: type[psycopg.Error], message: str, hint: str
) -> None:
    tx.execute(OBJECTS)
    refused(tx, error, f"SELECT audit.attach({arguments})", message=message, hint=hint)
    assert rows(tx, "SELECT * FROM audit.tracked_table") == []
    assert rows(tx, "SELECT tgname FROM pg_trigger WHERE tgname LIKE '\\_audit%'") == []


def test_attach_of_an_unknown_table_names_it(tx: Connection) -> None:
    refused(tx, errors.UndefinedTable, "SELECT audit.attach('app_data.nope')", message="nope")


def test_attach_refuses_a_foreign_table(root_tx: Connection) -> None:
    root_tx.execute(
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;"
        "CREATE FOREIGN TABLE app_data.far (id integer) SERVER nowhere"
    )
    refused(
        root_tx,
        errors.WrongObjectType,
        "SELECT audit.attach('app_data.far')",
        message="app_data.far is a foreign table",
        hint="the table that holds the rows",
    )


def test_attach_without_the_trigger_privilege_says_which_grant_is_missing(
    root_tx: Connection,
) -> None:
    root_tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY)")
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO audit_admin")
    with acting_as(root_tx, "audit_admin"):
        refused(
            root_tx,
            errors.InsufficientPrivilege,
            "SELECT audit.attach('app_data.t')",
            message='role "audit_admin" may not create triggers on app_data.t',
            hint="GRANT TRIGGER ON app_data.t TO audit_admin;",
        )
    assert rows(root_tx, "SELECT * FROM audit.tracked_table") == []
    root_tx.execute("GRANT TRIGGER ON app_data.t TO audit_admin")
    with acting_as(root_tx, "audit_admin"):
        root_tx.execute("SELECT audit.attach('app_data.t')")
    root_tx.execute("INSERT INTO app_data.t VALUES (1)")
    assert events(root_tx) == [event("insert", {"id": 1}, None, {"id": 1})]


@pytest.mark.parametrize("mode", MODES)
def test_attach_writes_down_what_it_did(tx: Connection, mode: str) -> None:
    tx.execute("CREATE TABLE app_data.t (b integer, a integer, PRIMARY KEY (a, b))")
    id_ = value(tx, "SELECT audit.attach('app_data.t', %s)", (mode,))
    [tracked] = rows(tx, "SELECT * FROM audit.tracked_table")
    assert tracked.pop("attached_at") == value(tx, "SELECT now()")
    assert tracked == {
        "id": id_,
        "schema_name": "app_data",
        "table_name": "t",
        "mode": mode,
        "key_columns": ["a", "b"],
        "key_is_unique": True,
        "policy": {},
        "require_actor": False,
        "enable_always": False,
        "truncated_rows": False,
        "keep": None,
        "attached_by": "deployer",
        "detached_at": None,
    }
    assert levels(tx, "app_data.t") == LEVELS[mode]


@pytest.mark.parametrize("mode", MODES)
def test_attach_is_idempotent_and_takes_no_lock(database: Database, mode: str) -> None:
    with database.connect() as writer, database.connect(autocommit=True) as deployer:
        table = attached(writer, "id integer PRIMARY KEY", mode)
        writer.commit()
        tracked, before = rows(writer, "TABLE audit.tracked_table"), triggers(writer, table)
        writer.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        deployer.execute("SET lock_timeout = '100ms'")
        id_ = value(deployer, "SELECT audit.attach(%s, %s)", (table, mode))
        assert id_ == tracked[0]["id"]
        assert triggers(deployer, table) == before
        assert rows(deployer, "TABLE audit.tracked_table") == tracked


@pytest.mark.parametrize(
    "setting",
    ["search_path = app_data", "quote_all_identifiers = on", "extra_float_digits = 0"],
)
def test_attach_is_idempotent_whatever_the_session_settings(db: Connection, setting: str) -> None:
    table = attached(db, "id integer PRIMARY KEY")
    db.commit()
    before = triggers(db, table)
    db.execute(f"SET {setting}")
    db.execute("SELECT audit.attach(%s)", (table,))
    assert triggers(db, table) == before


@pytest.mark.parametrize("column", ["Größe", "a b", 'say "x"', "back\\slash", "it's", "a,b", "{}"])
def test_attach_is_idempotent_for_any_name_of_a_key_column(db: Connection, column: str) -> None:
    definition = sql.SQL("CREATE TABLE app_data.t ({} integer PRIMARY KEY)")
    db.execute(definition.format(sql.Identifier(column)))
    db.execute("SELECT audit.attach('app_data.t')")
    db.commit()
    before = triggers(db, "app_data.t")
    db.execute("SELECT audit.attach('app_data.t')")
    assert triggers(db, "app_data.t") == before
    db.execute("INSERT INTO app_data.t VALUES (1)")
    assert events(db) == [event("insert", {column: 1}, None, {column: 1})]


@pytest.mark.parametrize("before", MODES)
@pytest.mark.parametrize("after", MODES)
def test_another_mode_replaces_the_triggers(tx: Connection, before: str, after: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", before)
    id_ = value(tx, "SELECT audit.attach(%s, %s)", (table, after))
    assert levels(tx, table) == LEVELS[after]
    assert rows(tx, "SELECT id, mode FROM audit.tracked_table") == [{"id": id_, "mode": after}]
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute(f"UPDATE {table} SET n = 2")
    assert [row["action"] for row in events(tx)] == ["insert", "update"]


def test_other_key_columns_replace_the_triggers(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY, code text UNIQUE")
    tx.execute("SELECT audit.attach(%s, p_key_columns => '{code}')", (table,))
    tx.execute(f"INSERT INTO {table} VALUES (1, 'x')")
    assert [row["row_key"] for row in events(tx)] == [{"code": "x"}]
    assert value(tx, "SELECT key_columns FROM audit.tracked_table") == ["code"]


@pytest.mark.parametrize("mode", MODES)
def test_columns_that_a_primary_key_only_includes_are_no_part_of_the_key(
    tx: Connection, mode: str
) -> None:
    table = attached(tx, "id integer, n integer, PRIMARY KEY (id) INCLUDE (n)", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute(f"UPDATE {table} SET n = 2")
    assert events(tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "n": 1}),
        event("update", {"id": 1}, {"n": 1}, {"n": 2}),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_attach_heals_a_disabled_or_dropped_trigger(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY", mode)
    tx.execute(f"ALTER TABLE {table} DISABLE TRIGGER _audit_insert")
    tx.execute(f"ALTER TABLE {table} ENABLE REPLICA TRIGGER _audit_update")
    tx.execute(f"DROP TRIGGER _audit_delete ON {table}")
    tx.execute("SELECT audit.attach(%s, %s)", (table, mode))
    assert {row["tgenabled"] for row in triggers(tx, table)} == {"O"}
    assert levels(tx, table) == LEVELS[mode]


@pytest.mark.parametrize("mode", MODES)
def test_a_partitioned_table_is_captured_per_row(tx: Connection, mode: str) -> None:
    tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    tx.execute("CREATE TABLE app_data.t1 PARTITION OF app_data.t FOR VALUES FROM (0) TO (9)")
    tx.execute("SELECT audit.attach('app_data.t', %s)", (mode,))
    assert levels(tx, "app_data.t") == LEVELS["row"]
    assert value(tx, "SELECT mode FROM audit.tracked_table") == "row"
    before = triggers(tx, "app_data.t") + triggers(tx, "app_data.t1")
    tx.execute("SELECT audit.attach('app_data.t', %s)", (mode,))
    assert triggers(tx, "app_data.t") + triggers(tx, "app_data.t1") == before
    tx.execute("CREATE TABLE app_data.t2 PARTITION OF app_data.t FOR VALUES FROM (9) TO (20)")
    tx.execute("INSERT INTO app_data.t2 VALUES (11)")
    assert events(tx, "t") == [event("insert", {"id": 11}, None, {"id": 11})]


@pytest.mark.parametrize("mode", MODES)
def test_a_table_without_a_key_is_attached_with_a_notice(tx: Connection, mode: str) -> None:
    notices: list[str] = []
    tx.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    attached(tx, "n integer", mode)
    assert notices == [
        "table app_data.t has no primary key: each event carries the whole row as row_key"
    ]


def test_attach_after_detach_keeps_the_id_and_the_history(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    id_ = value(tx, "SELECT id FROM audit.tracked_table")
    tx.execute(f"INSERT INTO {table} VALUES (1)")
    assert value(tx, "SELECT audit.detach(%s)", (table,)) is True
    tx.execute(f"INSERT INTO {table} VALUES (2)")
    assert value(tx, "SELECT audit.attach(%s)", (table,)) == id_
    tx.execute(f"INSERT INTO {table} VALUES (3)")
    history = rows(tx, "SELECT * FROM audit.history(%s)", (table,))
    assert [(row["action"], row["row_key"]) for row in history] == [
        ("insert", {"id": 3}),
        ("attach", None),
        ("detach", None),
        ("insert", {"id": 1}),
    ]
    assert rows(tx, "SELECT id, detached_at FROM audit.tracked_table") == [
        {"id": id_, "detached_at": None}
    ]


def test_a_table_dropped_and_made_again_keeps_its_id(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    id_ = value(tx, "SELECT id FROM audit.tracked_table")
    tx.execute(f"INSERT INTO {table} VALUES (1)")
    tx.execute(f"DROP TABLE {table}")
    tx.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY)")
    assert value(tx, "SELECT audit.attach(%s)", (table,)) == id_
    assert len(rows(tx, "SELECT * FROM audit.history(%s)", (table,))) == 1


def test_a_renamed_table_keeps_its_history_and_its_old_name_is_free(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("INSERT INTO app_data.t VALUES (1)")
    tx.execute("CREATE SCHEMA elsewhere")
    tx.execute("ALTER TABLE app_data.t RENAME TO old_t")
    tx.execute("ALTER TABLE app_data.old_t SET SCHEMA elsewhere")
    tx.execute("INSERT INTO elsewhere.old_t VALUES (2)")
    assert len(rows(tx, "SELECT * FROM audit.history('elsewhere.old_t')")) == 2
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("INSERT INTO app_data.t VALUES (3)")
    names = ("table_schema", "table_name", "row_key")
    assert [tuple(row.values()) for row in events(tx, columns=names)] == [
        ("elsewhere", "old_t", {"id": 1}),
        ("elsewhere", "old_t", {"id": 2}),
        ("app_data", "t", {"id": 3}),
    ]
    tx.execute("SELECT audit.attach('elsewhere.old_t')")
    assert len(rows(tx, "SELECT * FROM audit.tracked_table")) == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["Größe 表", 'say "x"', "it's", "back\\slash", "select", "n" * 63])
def test_any_name_can_be_attached(tx: Connection, mode: str, name: str) -> None:
    schema, table = sql.Identifier(f"S.{name}"[:31]), sql.Identifier(name)
    tx.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
    target = sql.SQL("{}.{}").format(schema, table)
    tx.execute(sql.SQL("CREATE TABLE {} (id integer PRIMARY KEY, n integer)").format(target))
    for _ in range(2):
        tx.execute("SELECT audit.attach(%s, %s)", (target.as_string(tx), mode))
    tx.execute(sql.SQL("INSERT INTO {} VALUES (1, 1)").format(target))
    tx.execute(sql.SQL("UPDATE {} SET n = 2").format(target))
    assert [row["action"] for row in events(tx, name)] == ["insert", "update"]
    history = "SELECT action FROM audit.history(%s, '1')"
    assert len(rows(tx, history, (target.as_string(tx),))) == 2


def test_tables_of_the_same_name_in_two_schemas_are_two_tables(tx: Connection) -> None:
    tx.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.t (id integer PRIMARY KEY)")
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("SELECT audit.attach('elsewhere.t')")
    tx.execute("INSERT INTO elsewhere.t VALUES (1)")
    assert rows(tx, "SELECT * FROM audit.history('app_data.t')") == []
    assert len(rows(tx, "SELECT * FROM audit.history('elsewhere.t')")) == 1


@pytest.mark.parametrize("mode", MODES)
def test_an_inheritance_child_does_not_escape_capture_unseen(tx: Connection, mode: str) -> None:
    notices: list[str] = []
    tx.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY, n integer)")
    tx.execute("CREATE TABLE app_data.child (PRIMARY KEY (id)) INHERITS (app_data.t)")
    tx.execute("SELECT audit.attach('app_data.t', %s)", (mode,))
    assert notices == ["tables that inherit from app_data.t are not captured: app_data.child"]
    tx.execute("SELECT audit.attach('app_data.child', %s)", (mode,))
    tx.execute("SELECT audit.attach('app_data.t', %s)", (mode,))
    assert len(notices) == 1
    assert levels(tx, "app_data.t") == levels(tx, "app_data.child") == LEVELS["row"]
    tx.execute("INSERT INTO app_data.child VALUES (1, 1)")
    tx.execute("UPDATE app_data.t SET n = 2")
    tx.execute("DELETE FROM app_data.t")
    assert events(tx, "t") == []
    assert [row["action"] for row in events(tx, "child")] == ["insert", "update", "delete"]


@pytest.mark.parametrize("mode", MODES)
def test_key_columns_that_do_not_identify_a_row_never_double_an_event(
    tx: Connection, mode: str
) -> None:
    notices: list[str] = []
    tx.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    tx.execute("CREATE TABLE app_data.t (a integer, n integer)")
    tx.execute("SELECT audit.attach('app_data.t', %s, '{a}')", (mode,))
    assert notices == [
        "no unique index of table app_data.t covers its key columns: rows may share a row_key"
    ]
    tx.execute("INSERT INTO app_data.t VALUES (1, 1), (1, 2)")
    tx.execute("UPDATE app_data.t SET n = n + 10")
    assert sorted(str(row["old_values"]) for row in events(tx)[2:]) == ["{'n': 1}", "{'n': 2}"]


@pytest.mark.parametrize("mode", MODES)
def test_a_renamed_key_column_does_not_blur_the_rows(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
    tx.execute(f"ALTER TABLE {table} RENAME COLUMN id TO uid")
    tx.execute(f"UPDATE {table} SET n = n + 10")
    assert [list((row["row_key"] or {}).values()) for row in events(tx)[2:]] == [[1], [2]]


@pytest.mark.parametrize("mode", MODES)
def test_attach_follows_a_renamed_key_column(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute(f"ALTER TABLE {table} RENAME COLUMN id TO uid")
    tx.execute("SELECT audit.attach(%s, %s)", (table, mode))
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute(f"UPDATE {table} SET n = n + 10")
    assert [row["row_key"] for row in events(tx)] == [{"uid": 1}, {"uid": 1}]


def test_two_sessions_attach_the_same_table_as_one(database: Database) -> None:
    with database.connect() as first:
        first.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY)")
        first.commit()
        first_id = value(first, "SELECT audit.attach('app_data.t')")
        with ThreadPoolExecutor() as pool:
            second = pool.submit(attach_and_commit, database, "app_data.t")
            wait_for_a_blocked_session(first)
            first.commit()
            assert second.result(timeout=10) == first_id
        assert len(rows(first, "TABLE audit.tracked_table")) == 1
        assert len(triggers(first, "app_data.t")) == 4


def test_sessions_that_attach_many_tables_at_once_all_succeed(database: Database) -> None:
    names = [f"app_data.t{number}" for number in range(8)]
    with database.connect(autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY)")
        barrier = threading.Barrier(4)

        def attach_all(offset: int) -> set[int]:
            barrier.wait(timeout=10)
            turned = names[offset:] + names[:offset]
            return {attach_and_commit(database, name) for name in turned}

        with ThreadPoolExecutor() as pool:
            ids = list(pool.map(attach_all, range(0, 8, 2)))
        assert all(found == ids[0] for found in ids)
        assert len(ids[0]) == len(names)
        for name in names:
            assert levels(connection, name) == LEVELS["statement"]


def attach_and_commit(database: Database, table: str) -> int:
    with database.connect() as connection:
        id_: int = value(connection, "SELECT audit.attach(%s)", (table,))
        return id_


def wait_for_a_blocked_session(connection: Connection) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    for _ in range(500):
        if value(connection, query):
            return
        connection.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("no session waits for a lock")
