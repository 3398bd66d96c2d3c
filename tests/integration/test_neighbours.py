"""The trail among others: hostile roles, other isolation levels, publications, other locales."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from audit_schema import schema
from migrations.conftest import quietly
from servers import Database, Server
from trail import MODES


def test_a_table_name_cannot_pose_as_the_argument_of_a_trigger(database: Database) -> None:
    with database.connect() as deployer:
        deployer.execute("CREATE TABLE app_data.victim (id int PRIMARY KEY)")
        deployer.execute("CREATE TABLE app_data.evil (id int PRIMARY KEY)")
        deployer.execute("SELECT audit.attach('app_data.victim'), audit.attach('app_data.evil')")
        deployer.execute("""ALTER TABLE app_data.evil RENAME TO "capture_truncate('1" """)
        deployer.execute("SELECT audit.run_maintenance()")
        names = deployer.execute("SELECT table_name FROM audit.tracked_table ORDER BY id")
        assert names.fetchall() == [("victim",), ("capture_truncate('1",)]
        again = deployer.execute("""SELECT audit.attach('app_data."capture_truncate(''1"')""")
        assert again.fetchone() == (2,)


def test_nobody_else_can_hold_up_the_maintenance(database: Database) -> None:
    with database.connect("app") as app, database.connect() as deployer:
        app.execute("SELECT pg_advisory_lock(hashtextextended('audit_schema maintenance', 0))")
        run = deployer.execute("SELECT status FROM audit.run_maintenance()").fetchone()
        assert run == ("ok",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE")


def test_reading_runs_no_code_of_the_owner_of_a_table(database: Database) -> None:
    with database.connect() as deployer, database.connect("postgres") as auditor:
        deployer.execute("CREATE TABLE app_data.seen (who text)")
        deployer.execute("GRANT INSERT ON app_data.seen TO PUBLIC")
        deployer.execute("""
            CREATE FUNCTION app_data.spy(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO app_data.seen VALUES (current_user);
                RETURN true;
            END $$
        """)
        deployer.execute("CREATE DOMAIN app_data.code AS text CHECK (app_data.spy(VALUE))")
        deployer.execute("CREATE TABLE app_data.t (id app_data.code PRIMARY KEY)")
        deployer.execute("SELECT audit.attach('app_data.t')")
        deployer.execute("INSERT INTO app_data.t VALUES ('x')")
        deployer.commit()
        found = auditor.execute("""SELECT action FROM audit.history('app_data.t', '"x"')""")
        assert found.fetchall() == [("insert",)]
        assert auditor.execute("SELECT DISTINCT who FROM app_data.seen").fetchall() == [
            ("deployer",)
        ]


def test_serializable_transactions_do_not_conflict_through_the_trail(database: Database) -> None:
    sessions = range(4)
    with ExitStack() as stack:
        with database.connect() as deployer:
            for number in sessions:
                deployer.execute(f"CREATE TABLE app_data.t{number} (id int PRIMARY KEY)")
                deployer.execute("SELECT audit.attach(%s::regclass)", [f"app_data.t{number}"])
        open_ones = [stack.enter_context(database.connect()) for _ in sessions]
        for session in open_ones:
            session.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        for round_ in range(5):
            for number, session in enumerate(open_ones):
                session.execute(f"INSERT INTO app_data.t{number} VALUES (%s)", [round_])
            for session in reversed(open_ones):
                session.commit()


def test_a_publication_of_all_tables_does_not_stop_the_maintenance(
    backend_database: Database,
) -> None:
    with backend_database.connect("postgres", autocommit=True) as root:
        root.execute("SET client_min_messages = error")  # of wal_level
        root.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        root.execute("""
            INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
            VALUES (now() - interval '2 years', now(), 1, 1, 'truncate')
        """)
        run = root.execute("SELECT status, rows_moved FROM audit.run_maintenance()").fetchone()
    assert run == ("ok", 1)


def test_names_and_actions_do_not_follow_the_locale(server: Server) -> None:
    """In Turkish the small letter of I has no dot."""
    if server.name == "embedded":
        pytest.skip("built without ICU")
    server.template("native")  # there the roles are made
    server.admin.execute("DROP DATABASE IF EXISTS turkish WITH (FORCE)")
    server.admin.execute(
        "CREATE DATABASE turkish TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'"
    )
    database = Database(server, "turkish")
    try:
        quietly(schema.upgrade, database.url("postgres"))
        with database.connect("postgres") as connection:
            connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
            connection.execute("SELECT audit.attach('t', 'row')")
            connection.execute("INSERT INTO t VALUES (1)")
            found = connection.execute("SELECT action FROM audit.change").fetchall()
            names = connection.execute(
                "SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass ORDER BY 1"
            ).fetchall()
        assert found == [("insert",)]
        assert names == [(f"_audit_{e}",) for e in ("delete", "insert", "truncate", "update")]
    finally:
        server.admin.execute("DROP DATABASE turkish WITH (FORCE)")


def test_every_mode_tells_the_same_story(database: Database) -> None:
    """The same work on three tables, one for each mode: the same net events for each row."""
    work = (
        "INSERT INTO {} SELECT n, n * 10, jsonb_build_object('n', n) FROM generate_series(1, 5) n",
        "UPDATE {} SET v = v + 1 WHERE id <= 3",
        "UPDATE {} SET v = v",
        "DELETE FROM {} WHERE id = 2",
        "INSERT INTO {} VALUES (9, 9, NULL) ON CONFLICT (id) DO UPDATE SET v = 99",
        "INSERT INTO {} VALUES (9, 9, NULL) ON CONFLICT (id) DO UPDATE SET v = 99",
    )
    stories: dict[str, list[Any]] = {}
    with database.connect() as connection:
        for mode in MODES:
            table = f"app_data.t_{mode}"
            connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v int, j jsonb)")
            connection.execute("SELECT audit.attach(%s::regclass, %s)", [table, mode])
            for statement in work:
                connection.execute(statement.format(table).encode())
            stories[mode] = connection.execute(
                "SELECT row_key, array_agg(ROW(action, old_values, new_values)::text"
                " ORDER BY occurred_at, event_id) FROM audit.change WHERE table_name = %s"
                " GROUP BY 1 ORDER BY 1",
                [f"t_{mode}"],
            ).fetchall()
        wrong = connection.execute(
            "SELECT count(*) FROM audit.change WHERE row_key = %s", [Jsonb({"id": None})]
        ).fetchone()
    assert stories["statement"] == stories["row"]
    assert len(stories["row"]) == 6
    assert wrong == (0,)


ATTACKS = {
    "alter the function": "ALTER FUNCTION audit._row_to_jsonb(anyelement) SECURITY INVOKER",
    "drop the function": "DROP FUNCTION audit._row_to_jsonb(anyelement)",
    "write elsewhere": "INSERT INTO app_data.seen VALUES ('written')",
    "write again": "SET transaction_read_only = off; INSERT INTO app_data.seen VALUES ('w')",
    "delete the trail": "DELETE FROM audit.event",
    "read the trail": "PERFORM count(*) FROM audit.event",
    "end the transaction": "RAISE SQLSTATE '40000'",
    "become the owner": "SET ROLE audit_owner",
}
SETTINGS = {
    "search_path": "app_data, pg_catalog",
    "TimeZone": "Asia/Tokyo",
    "audit.context": '{"actor": "forged"}',
}


def attack(connection: psycopg.Connection[Any], code: str, mode: str) -> None:
    """Attach a table whose rows become JSON by *code*, with an operator that would notice."""
    connection.execute("CREATE TABLE app_data.seen (who text)")
    connection.execute("GRANT USAGE ON SCHEMA app_data TO PUBLIC")
    connection.execute("GRANT ALL ON app_data.seen TO PUBLIC")
    connection.execute("CREATE TYPE app_data.mood AS ENUM ('good', 'bad')")
    connection.execute(
        "CREATE FUNCTION app_data.render(app_data.mood) RETURNS json LANGUAGE plpgsql AS"
        f" $$ BEGIN {code}; RETURN to_json($1::text); END $$"
    )
    connection.execute("""
        CREATE CAST (app_data.mood AS json) WITH FUNCTION app_data.render(app_data.mood);
        CREATE FUNCTION app_data.minus(jsonb, text[]) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
            RAISE 'operator of the application, as %', current_user;
        END $$;
        CREATE OPERATOR app_data.- (
            leftarg = jsonb, rightarg = text[], function = app_data.minus);
        CREATE TABLE app_data.t (id int PRIMARY KEY, at timestamptz, mood app_data.mood)
    """)
    connection.execute("SELECT audit.attach('app_data.t', %s)", [mode])
    connection.commit()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", ATTACKS.values(), ids=ATTACKS)
def test_a_cast_to_json_can_neither_act_nor_read(database: Database, code: str, mode: str) -> None:
    with database.connect() as deployer, database.connect("app") as app:
        attack(deployer, code, mode)
        with pytest.raises(psycopg.Error) as caught:
            app.execute("INSERT INTO app_data.t VALUES (1, now(), 'good')")
        assert "operator of the application" not in str(caught.value)
        app.rollback()
        assert deployer.execute("TABLE app_data.seen").fetchall() == []
        renderer = deployer.execute(
            "SELECT prosecdef, proowner::regrole::text FROM pg_proc WHERE proname = '_row_to_jsonb'"
        ).fetchall()
        assert renderer == [(True, "audit_nobody")]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_cast_to_json_leaves_no_setting_behind(
    database: Database, setting: str, mode: str
) -> None:
    code = f"PERFORM set_config('{setting}', '{SETTINGS[setting]}', false)"
    with database.connect() as deployer, database.connect("app") as app:
        attack(deployer, code, mode)
        app.execute("SET TimeZone = 'UTC'")
        app.execute("SELECT audit.set_context('ann')")
        app.execute("INSERT INTO app_data.t VALUES (1, '2026-01-01 00:00+00', 'good')")
        app.execute("UPDATE app_data.t SET mood = 'bad', at = '2026-01-02 00:00+00'")
        app.commit()
        found = deployer.execute(
            "SELECT actor, new_values ->> 'at', new_values ->> 'mood' FROM audit.change ORDER BY 1"
        ).fetchall()
    assert found == [
        ("ann", "2026-01-01T00:00:00+00:00", "good"),
        ("ann", "2026-01-02T00:00:00+00:00", "bad"),
    ]


def test_attach_names_the_casts_that_capture_will_call(database: Database) -> None:
    notices: list[str] = []
    with database.connect() as deployer:
        deployer.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        attack(deployer, "NULL", "statement")
        deployer.execute("CREATE TYPE app_data.pair AS (a int, moods app_data.mood[])")
        deployer.execute("CREATE TABLE app_data.u (id int PRIMARY KEY, p app_data.pair)")
        deployer.execute("SELECT audit.attach('app_data.u')")
    assert notices == [
        "capture of app_data.t calls casts to json: app_data.render(app_data.mood)",
        "capture of app_data.u calls casts to json: app_data.render(app_data.mood)",
    ]


def test_an_administrator_cannot_tell_the_trail_what_is_not_so(database: Database) -> None:
    with database.connect() as deployer, database.connect("postgres") as admin:
        deployer.execute("CREATE TABLE app_data.t (id int PRIMARY KEY)")
        deployer.execute("SELECT audit.attach('app_data.t')")
        deployer.commit()
        [oid] = admin.execute("SELECT 'app_data.t'::regclass::oid").fetchone() or [0]
        admin.execute("SET ROLE audit_admin")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState), admin.transaction():
            admin.execute("SELECT audit._unregister_table(1)")
        forged = "SELECT audit._register_table(%s::regclass, NULL)"
        with pytest.raises(psycopg.errors.InsufficientPrivilege), admin.transaction():
            admin.execute(forged, [oid])


def test_a_renderer_that_lost_its_owner_is_a_warning(database: Database) -> None:
    query = "SELECT state, remedy FROM audit.status() WHERE item = 'rendering of rows'"
    with database.connect("postgres") as root:
        assert root.execute(query).fetchone() == ("ok", None)
        root.execute("ALTER FUNCTION audit._row_to_jsonb(anyelement) OWNER TO deployer")
        state, remedy = root.execute(query).fetchone() or ("", "")
        assert (state, "OWNER TO audit_nobody" in remedy) == ("warning", True)
        root.execute(remedy.removeprefix("a superuser runs: ").encode())
        assert root.execute(query).fetchone() == ("ok", None)
