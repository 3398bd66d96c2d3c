"""DDL on attached tables is recorded where event triggers may be made."""

from __future__ import annotations

import pytest
from psycopg import errors

from audit_schema.schema import upgrade
from servers import Database
from trail import Connection, Row, acting_as, acts, attached, event, events, refused, rows, value


@pytest.fixture
def ddl(root_tx: Connection) -> Connection:
    """An attached table app_data.t, and DDL is recorded."""
    assert value(root_tx, "SELECT audit.enable_ddl_capture()") == "recorded"
    attached(root_tx, "id integer PRIMARY KEY, n integer")
    return root_tx


def commands(connection: Connection) -> list[tuple[str, str]]:
    """Command and object of each DDL event."""
    found = [row["new_values"] for row in acts(connection) if row["action"] == "ddl"]
    return [(row["command"], row["object"]) for row in found]


def test_what_attach_does_is_no_ddl_and_detach_drops_triggers(ddl: Connection) -> None:
    assert acts(ddl) == []
    ddl.execute("SELECT audit.attach('app_data.t', 'row')")
    assert [act["action"] for act in acts(ddl)] == ["attach"]
    ddl.execute("SELECT audit.detach('app_data.t')")
    assert [act["action"] for act in acts(ddl)] == ["attach", *["ddl"] * 4, "detach"]


@pytest.mark.parametrize(
    ("command", "tag", "identity"),
    [
        ("ALTER TABLE app_data.t ADD c text", "ALTER TABLE", "app_data.t"),
        ("ALTER TABLE app_data.t ALTER n TYPE text", "ALTER TABLE", "app_data.t"),
        ("ALTER TABLE app_data.t DROP n", "ALTER TABLE", "app_data.t"),
        ("ALTER TABLE app_data.t RENAME n TO m", "ALTER TABLE", "app_data.t.m"),
        ("ALTER TABLE app_data.t DISABLE TRIGGER USER", "ALTER TABLE", "app_data.t"),
        ("DROP TRIGGER _audit_insert ON app_data.t", "DROP TRIGGER", "_audit_insert on app_data.t"),
        (
            "CREATE OR REPLACE TRIGGER _audit_truncate AFTER TRUNCATE ON app_data.t"
            " FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION audit.capture_truncate('1')",
            "CREATE TRIGGER",
            "_audit_truncate on app_data.t",
        ),
    ],
)
def test_a_command_on_an_attached_table_is_recorded(
    ddl: Connection, command: str, tag: str, identity: str
) -> None:
    ddl.execute("SELECT audit.set_context('dba', '{\"revision\": \"ab12\"}')")
    ddl.execute("CREATE TABLE app_data.other (id integer)")
    ddl.execute("ALTER TABLE app_data.other ADD c text")
    ddl.execute("DROP TABLE app_data.other")
    ddl.execute(command)
    assert commands(ddl) == [(tag, identity)]
    [act] = acts(ddl, ("table_name", "actor", "metadata", "row_key"))
    assert act == {
        "table_name": "t",
        "actor": "dba",
        "metadata": {"revision": "ab12"},
        "row_key": None,
    }


def test_a_command_on_a_partition_is_recorded(root_tx: Connection) -> None:
    root_tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    root_tx.execute("CREATE TABLE app_data.part PARTITION OF app_data.t DEFAULT")
    root_tx.execute("SELECT audit.attach('app_data.t')")
    root_tx.execute("SELECT audit.enable_ddl_capture()")
    root_tx.execute("ALTER TABLE app_data.part DISABLE TRIGGER _audit_insert")
    assert commands(root_tx) == [("ALTER TABLE", "app_data.part")]


def test_a_rename_is_seen_at_once(ddl: Connection) -> None:
    ddl.execute("INSERT INTO app_data.t VALUES (1)")
    ddl.execute("ALTER TABLE app_data.t RENAME TO u")
    assert [act["action"] for act in acts(ddl)] == ["ddl", "rename"]
    ddl.execute("INSERT INTO app_data.u VALUES (2)")
    assert [
        row["table_name"] for row in rows(ddl, "SELECT * FROM audit.history('app_data.u')")
    ] == ["u"] * 4
    ddl.execute("CREATE SCHEMA elsewhere")
    ddl.execute("ALTER TABLE app_data.u SET SCHEMA elsewhere")
    assert acts(ddl)[-1]["new_values"] == {"schema_name": "elsewhere", "table_name": "u"}


@pytest.mark.parametrize("command", ["DROP TABLE app_data.t", "DROP SCHEMA app_data CASCADE"])
def test_a_drop_is_seen_at_once(ddl: Connection, command: str) -> None:
    ddl.execute("SELECT audit.set_context('dba')")
    ddl.execute(command)
    [act] = acts(ddl, ("action", "actor", "table_name"))
    assert act == {"action": "drop", "actor": "dba", "table_name": "t"}
    assert value(ddl, "SELECT detached_at IS NOT NULL FROM audit.tracked_table") is True


def test_columns_come_go_and_change_type_without_stopping_writes(ddl: Connection) -> None:
    for command, written in (
        ("ALTER TABLE app_data.t ADD c date DEFAULT '2026-01-01'", {"n": 1, "c": "2026-01-01"}),
        ("ALTER TABLE app_data.t ALTER n TYPE text", {"n": "1", "c": "2026-01-01"}),
        ("ALTER TABLE app_data.t DROP c", {"n": "1"}),
        ("ALTER TABLE app_data.t RENAME n TO m", {"m": "1"}),
    ):
        ddl.execute(command)
        [name] = written.keys() - {"c"}
        ddl.execute(f"INSERT INTO app_data.t (id, {name}) VALUES (1, 1)")
        ddl.execute("DELETE FROM app_data.t")
        whole = {"id": 1, **written}
        assert events(ddl)[-2:] == [
            event("insert", {"id": 1}, None, whole),
            event("delete", {"id": 1}, whole, None),
        ]


def test_a_command_that_fails_or_is_rolled_back_leaves_nothing(ddl: Connection) -> None:
    refused(ddl, errors.UndefinedColumn, "ALTER TABLE app_data.t DROP x")
    ddl.execute("SAVEPOINT before")
    ddl.execute("ALTER TABLE app_data.t ADD x text")
    ddl.execute("ROLLBACK TO before")
    assert acts(ddl) == []


def test_who_owns_the_table_needs_no_right_on_the_trail(database: Database) -> None:
    with database.connect("postgres") as root, database.connect("app") as app:
        root.execute("SELECT audit.enable_ddl_capture()")
        root.execute("CREATE TABLE app_data.mine (id integer PRIMARY KEY)")
        root.execute("SELECT audit.attach('app_data.mine')")
        root.execute("ALTER TABLE app_data.mine OWNER TO app")
        root.execute("GRANT USAGE ON SCHEMA app_data TO app")
        root.commit()
        app.execute("ALTER TABLE app_data.mine DISABLE TRIGGER ALL")
        app.commit()
        found: list[Row] = rows(
            root, "SELECT database_user, new_values FROM audit.change WHERE action = 'ddl'"
        )
        assert found[-1] == {
            "database_user": "app",
            "new_values": {"command": "ALTER TABLE", "object": "app_data.mine"},
        }


def test_only_a_superuser_can_have_ddl_recorded(tx: Connection) -> None:
    said = value(tx, "SELECT audit.enable_ddl_capture()")
    assert said == "not recorded: a superuser must run: SELECT audit.enable_ddl_capture();"
    [found] = rows(tx, "SELECT state, value FROM audit.status() WHERE item = 'DDL'")
    assert found["state"] == "info"
    assert "enable_ddl_capture" in found["value"]


def test_a_superuser_who_upgrades_has_it_recorded(blank_database: Database) -> None:
    upgrade(blank_database.url("postgres"))
    with blank_database.connect("postgres") as root:
        assert value(root, "SELECT captures_ddl FROM audit.setting") is True
        assert rows(root, "SELECT * FROM audit.check() WHERE subject LIKE 'event%'") == []


@pytest.mark.parametrize("name", ["audit_ddl_command_end", "audit_sql_drop"])
@pytest.mark.parametrize("damage", ["ALTER EVENT TRIGGER {} DISABLE", "DROP EVENT TRIGGER {}"])
def test_an_event_trigger_that_is_gone_is_found(ddl: Connection, name: str, damage: str) -> None:
    assert rows(ddl, "SELECT * FROM audit.check()") == []
    ddl.execute(damage.format(name))
    [found] = rows(ddl, "SELECT * FROM audit.check()")
    assert found["subject"] == f"event trigger {name}"
    with acting_as(ddl, "postgres"):
        ddl.execute("SELECT audit.enable_ddl_capture()")
    assert rows(ddl, "SELECT * FROM audit.check()") == []
