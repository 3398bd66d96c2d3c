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
        for mode in ("hybrid", "statement", "row"):
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
    assert stories["hybrid"] == stories["statement"] == stories["row"]
    assert len(stories["row"]) == 6
    assert wrong == (0,)
