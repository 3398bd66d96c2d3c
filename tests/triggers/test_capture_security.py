"""The application's role is captured, and can neither read, forge nor divert the trail."""

from __future__ import annotations

import pytest
from psycopg import errors

from servers import Database
from trail import MODES, Connection, attached, event, events, refused, rows, value

CAPTURE = ("capture_row", "capture_insert", "capture_update", "capture_delete", "capture_truncate")
SHADOWS = """
    CREATE TEMPORARY TABLE event (LIKE app_data.t);
    CREATE TEMPORARY TABLE pg_depend (LIKE app_data.t);
    CREATE TEMPORARY TABLE new_rows (LIKE app_data.t);
    CREATE TEMPORARY TABLE old_rows (LIKE app_data.t);
    CREATE TEMPORARY TABLE pg_trigger (LIKE app_data.t);
    CREATE TEMPORARY TABLE setting (LIKE app_data.t);
    CREATE TYPE pg_temp.jsonb AS ENUM ('no');
    CREATE TYPE pg_temp.record AS ENUM ('no');
    CREATE FUNCTION pg_temp.to_jsonb(anyelement) RETURNS pg_catalog.jsonb LANGUAGE sql
        AS $$ SELECT '{}'::pg_catalog.jsonb $$;
    CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql
        AS $$ SELECT '-infinity'::timestamptz $$;
    SET search_path = pg_temp, pg_catalog, app_data;
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_role_without_rights_on_the_trail_is_captured(database: Database, mode: str) -> None:
    with database.connect() as deployer, database.connect("app") as app:
        table = attached(deployer, "id integer PRIMARY KEY, n integer", mode)
        deployer.commit()
        app.execute(f"INSERT INTO {table} VALUES (1, 1)")
        app.execute(f"UPDATE {table} SET n = 2")
        app.execute(f"DELETE FROM {table}")
        app.commit()
        assert events(deployer) == [
            event("insert", {"id": 1}, None, {"id": 1, "n": 1}),
            event("update", {"id": 1}, {"n": 1}, {"n": 2}),
            event("delete", {"id": 1}, {"id": 1, "n": 2}),
        ]
        assert (
            rows(deployer, "SELECT database_user, database_role FROM audit.change")
            == [{"database_user": "app", "database_role": None}] * 3
        )


@pytest.mark.parametrize("mode", MODES)
def test_shadows_in_the_temporary_schema_divert_nothing(database: Database, mode: str) -> None:
    with database.connect() as deployer, database.connect("app") as app:
        attached(deployer, "id integer PRIMARY KEY, n integer", mode)
        deployer.commit()
        app.execute("SELECT 1")
        app.execute(SHADOWS)
        app.execute("INSERT INTO app_data.t VALUES (1, 1)")
        app.execute("UPDATE app_data.t SET n = 2")
        app.execute("DELETE FROM app_data.t")
        app.execute("INSERT INTO app_data.t VALUES (1, 1), (2, 2)")
        app.execute("UPDATE app_data.t SET n = n + 10")
        app.execute("DELETE FROM app_data.t")
        shadows = ("event", "pg_depend", "new_rows", "old_rows")
        counts = [value(app, f"SELECT count(*) FROM pg_temp.{name}") for name in shadows]
        assert counts == [0] * len(shadows)
        app.commit()
        one, two = ["insert", "update", "delete"], ["insert"] * 2 + ["update"] * 2 + ["delete"] * 2
        assert [row["action"] for row in events(deployer)] == one + two
        found = rows(deployer, "SELECT DISTINCT started_at, database_user FROM audit.change")
        assert [row["database_user"] for row in found] == ["app"]


def test_the_application_may_create_no_object_in_the_schema(database: Database) -> None:
    with database.connect("app") as app:
        refused(app, errors.InsufficientPrivilege, "CREATE TABLE audit.mine (id integer)")


def test_a_table_of_the_application_gets_no_capture_trigger_from_itself(
    database: Database,
) -> None:
    with database.connect("app") as app:
        app.execute("CREATE TEMPORARY TABLE mine (id integer)")
        for function in CAPTURE:
            refused(
                app,
                errors.InsufficientPrivilege,
                "CREATE TRIGGER forge AFTER INSERT ON mine FOR EACH ROW "
                f"EXECUTE FUNCTION audit.{function}('1', '{{id}}')",
                message=function,
            )


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("ann", "must be a JSON object, got ann"),
        ("{broken", "must be a JSON object, got {broken"),
        ("{'actor': 'ann'}", "must be a JSON object, got {'actor': 'ann'}"),
        ("{actor: ann}", "must be a JSON object"),
        ("[1]", "must be a JSON object, got [1]"),
        ('"text"', "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("7", "must be a JSON object"),
        (" ", "must be a JSON object"),
        ('{"a": ' * 200_000, 'must be a JSON object, got {"a": {"a": '),
        ('{"actor": "%s"}' % ("é" * 1251), "has an actor of 2502 bytes, at most 2500"),
        ('  {"actor": {"name": "%s"}}\n' % ("x" * 2500), "has an actor of 2512 bytes"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_forged_context_fails_the_statement_and_nothing_else(
    db: Connection, mode: str, context: str, message: str
) -> None:
    table = attached(db, "id integer PRIMARY KEY", mode)
    db.execute(f"INSERT INTO {table} VALUES (7)")
    db.commit()
    db.execute("SELECT set_config('audit.context', %s, true)", (context,))
    for statement in (
        f"INSERT INTO {table} VALUES (1)",
        f"INSERT INTO {table} VALUES (1), (2)",
        f"UPDATE {table} SET id = 8",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
    ):
        refused(
            db,
            errors.InvalidParameterValue,
            statement,
            message=f"setting audit.context {message}",
            hint="Name the actor by an id" if "actor of" in message else "RESET audit.context;",
        )
    db.rollback()
    db.execute(f"INSERT INTO {table} VALUES (2)")
    db.commit()
    assert [row["row_key"] for row in events(db)] == [{"id": 7}, {"id": 2}]


@pytest.mark.parametrize("context", ["ann", "[1]", '{"actor": "%s"}' % ("x" * 2501)])
def test_acts_on_a_table_and_baselines_refuse_such_a_context_as_well(
    tx: Connection, context: str
) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    tx.execute("SELECT set_config('audit.context', %s, true)", (context,))
    for call in ("detach", "record_baseline"):
        refused(
            tx,
            errors.InvalidParameterValue,
            f"SELECT audit.{call}('{table}')",
            message="setting audit.context",
        )


def test_a_context_that_only_begins_and_ends_well_fails_as_json_does(tx: Connection) -> None:
    # to find out costs each statement more than the better message is worth
    table = attached(tx, "id integer PRIMARY KEY")
    tx.execute("""SET LOCAL audit.context = '{"actor": ann}'""")
    refused(tx, errors.InvalidTextRepresentation, f"INSERT INTO {table} VALUES (1)", message="json")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("context", "actor"),
    [
        ('{"actor": "%s"}' % ("x" * 2500), "x" * 2500),
        ('\n { "actor": "ann" }\n', "ann"),
        ("{}", None),
        ("", None),
        ('{"metadata": {"note": "%s"}, "actor": "ann"}' % ("x" * 100_000), "ann"),
    ],
)
def test_a_context_of_any_valid_form_is_recorded(
    tx: Connection, mode: str, context: str, actor: str | None
) -> None:
    table = attached(tx, "id integer PRIMARY KEY", mode)
    tx.execute("SELECT set_config('audit.context', %s, true)", (context,))
    tx.execute(f"INSERT INTO {table} VALUES (1)")
    assert [row["actor"] for row in rows(tx, "SELECT actor FROM audit.change")] == [actor]


def test_a_context_of_odd_types_is_recorded_as_text(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    forged = '{"actor": {"a": 1}, "actor_type": 7, "unknown": true, "xid": 1}'
    tx.execute("SELECT set_config('audit.context', %s, true)", (forged,))
    tx.execute(f"INSERT INTO {table} VALUES (1)")
    assert rows(tx, "SELECT actor, actor_type, actor_label FROM audit.change") == [
        {"actor": '{"a": 1}', "actor_type": "7", "actor_label": None}
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("type_", ["app_data.mood", "app_data.mood[]", "app_data.pair"])
def test_code_of_the_application_never_runs_with_the_rights_of_the_owner(
    tx: Connection, mode: str, type_: str
) -> None:
    # to_jsonb() calls the cast to json that the owner of a type has made
    tx.execute("""
        GRANT USAGE ON SCHEMA app_data TO PUBLIC;
        CREATE TYPE app_data.mood AS ENUM ('good', 'bad');
        CREATE TYPE app_data.pair AS (a app_data.mood, b integer);
        CREATE FUNCTION app_data.render(app_data.mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
            RAISE NOTICE 'rendered by %', current_user;
            RETURN '"forged"';
        END $$;
        CREATE CAST (app_data.mood AS json) WITH FUNCTION app_data.render(app_data.mood);
    """)
    # the column may be there from the start, or come after the session has written already
    table = attached(tx, "id integer PRIMARY KEY", mode)
    tx.execute(f"INSERT INTO {table} VALUES (8), (9); DELETE FROM {table} WHERE id = 8")
    tx.execute(f"DELETE FROM {table}")
    tx.execute(f"ALTER TABLE {table} ADD COLUMN x {type_}")
    literal = {"app_data.mood": "good", "app_data.mood[]": "{good}", "app_data.pair": "(good,1)"}
    notices: list[str] = []
    tx.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    for statement in (
        f"INSERT INTO {table} VALUES (1, %(x)s)",
        f"INSERT INTO {table} VALUES (2, %(x)s), (3, %(x)s), (4, %(x)s), (5, %(x)s)",
        f"UPDATE {table} SET x = NULL WHERE id = 1",
        f"UPDATE {table} SET x = NULL WHERE id < 4",
        f"DELETE FROM {table} WHERE id = 4",
        f"INSERT INTO {table} VALUES (6, %(x)s)",
        f"DELETE FROM {table} WHERE id >= 5",
    ):
        notices.clear()
        tx.execute(statement, {"x": literal[type_]})
        assert set(notices) == {"rendered by audit_nobody"}


def test_row_security_of_the_table_hides_nothing_from_the_trail(database: Database) -> None:
    with database.connect() as deployer, database.connect("app") as app:
        table = attached(deployer, "id integer PRIMARY KEY, who text DEFAULT current_user")
        deployer.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        deployer.execute(
            f"CREATE POLICY own ON {table} FOR ALL TO app USING (false) WITH CHECK (true)"
        )
        deployer.commit()
        app.execute(f"INSERT INTO {table} VALUES (1)")
        app.commit()
        assert events(deployer) == [
            event("insert", {"id": 1}, None, {"id": 1, "who": "app"}),
        ]


def test_a_session_without_any_privilege_can_still_say_who_acts(database: Database) -> None:
    with database.connect() as deployer, database.connect("app") as app:
        table = attached(deployer, "id integer PRIMARY KEY")
        deployer.commit()
        app.execute("SELECT audit.set_context('ann')")
        app.execute(f"INSERT INTO {table} VALUES (1)")
        app.commit()
        assert rows(deployer, "SELECT actor, database_user FROM audit.change") == [
            {"actor": "ann", "database_user": "app"}
        ]
