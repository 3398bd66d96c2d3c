"""audit.schedule_jobs() and audit.unschedule_jobs() with the real pg_cron."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from audit_schema import schema
from servers import Database, Server
from trail import Connection, Row, refused, rows, value

JOB = "audit_schema: run_maintenance"
JOBS = "SELECT jobname, schedule, command, database, username FROM cron.job ORDER BY jobid"


@pytest.fixture
def cron_home(server: Server, cron: Connection) -> Iterator[Database]:
    """The database of pg_cron with the trail installed, and taken away again."""
    database = Database(server, "postgres")
    server.template("native")  # first: there the deployer makes the roles
    cron.execute("GRANT CREATE ON DATABASE postgres TO deployer")
    try:
        schema.upgrade(database.url())
        yield database
    finally:
        cron.execute("SET client_min_messages = warning; DROP SCHEMA IF EXISTS audit CASCADE")
        cron.execute("REVOKE CREATE ON DATABASE postgres FROM deployer")
        cron.execute("REVOKE ALL ON SCHEMA cron FROM deployer")


def remedy(connection: Connection) -> str:
    """The statement that a DBA is told to run in the database of pg_cron."""
    told = value(connection, "SELECT audit.schedule_jobs()")
    found = re.search(r"SELECT cron\.schedule_in_database\(.*?\);", told)
    assert found is not None, told
    return found.group()


def test_in_another_database_the_dba_is_told_what_to_run(
    database: Database, cron: Connection
) -> None:
    hints: list[str] = []
    with database.connect() as db:
        db.add_notice_handler(lambda notice: hints.append(notice.message_hint or ""))
        told = value(db, "SELECT audit.schedule_jobs()")
        statement = remedy(db)
    assert told.startswith("not scheduled: ")
    assert statement in hints[0]
    cron.execute(statement)
    assert rows(cron, JOBS) == [
        {
            "jobname": JOB,
            "schedule": "5 * * * *",
            "command": "SELECT audit.run_maintenance()",
            "database": database.name,
            "username": "postgres",
        }
    ]


def test_a_database_of_any_name_is_quoted_in_the_remedy(server: Server, cron: Connection) -> None:
    name = 'it\'s "mine"'
    with server.clone() as database:
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        old, new = sql.Identifier(database.name), sql.Identifier(name)
        server.admin.execute(rename.format(old, new))
        try:
            with Database(server, name).connect() as db:
                cron.execute(remedy(db))
        finally:
            server.admin.execute(rename.format(new, old))
    assert [row["database"] for row in rows(cron, JOBS)] == [name]


def test_the_job_of_the_remedy_really_runs(database: Database, cron: Connection) -> None:
    with database.connect(autocommit=True) as db:
        version = value(cron, "SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'")
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < (1, 5):
            pytest.skip(f"pg_cron {version} runs jobs once a minute at most")
        before = value(db, "SELECT count(*) FROM audit.maintenance_run")
        cron.execute(remedy(db).replace("5 * * * *", "1 second"))
        run = newest_run(db, before)
    assert (run["status"], run["message"]) == ("ok", None)


def newest_run(db: Connection, before: int) -> Row:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        found = rows(db, "SELECT * FROM audit.maintenance_run ORDER BY id DESC")
        if len(found) > before:
            return found[0]
        time.sleep(0.1)
    raise AssertionError("pg_cron ran no job")


def test_in_the_database_of_pg_cron_it_schedules_by_itself(
    cron_home: Database, cron: Connection
) -> None:
    cron.execute("GRANT USAGE ON SCHEMA cron TO deployer")
    with cron_home.connect(autocommit=True) as db:
        for _ in range(2):  # safe to run again
            told = value(db, "SELECT audit.schedule_jobs()")
            assert JOB in told
            assert "not scheduled" not in told
        assert rows(cron, JOBS) == [
            {
                "jobname": JOB,
                "schedule": "5 * * * *",
                "command": "SELECT audit.run_maintenance()",
                "database": "postgres",
                "username": "deployer",
            }
        ]
        cron.execute("SELECT cron.schedule('someone else''s', '5 * * * *', 'SELECT 1')")
        assert value(db, "SELECT audit.unschedule_jobs()") == "1 jobs removed"
        assert [row["jobname"] for row in rows(cron, JOBS)] == ["someone else's"]
        assert value(db, "SELECT audit.unschedule_jobs()") == "0 jobs removed"


def test_without_rights_on_pg_cron_the_grant_is_named(
    cron_home: Database, cron: Connection
) -> None:
    with cron_home.connect(autocommit=True) as db:
        told = value(db, "SELECT audit.schedule_jobs()")
        assert told.startswith("not scheduled: GRANT USAGE ON SCHEMA cron TO deployer;")
        grant = re.search(r"GRANT .*?;", told)
        assert grant is not None
        cron.execute(grant.group())
        assert "not scheduled" not in value(db, "SELECT audit.schedule_jobs()")


def test_without_pg_cron_there_is_nothing_to_remove(tx: Connection) -> None:
    assert value(tx, "SELECT audit.unschedule_jobs()") == "pg_cron is not in this database"


def test_only_administrators_schedule(root_tx: Connection) -> None:
    for role in ("app", "audit_reader"):
        root_tx.execute(f"SET LOCAL ROLE {role}")
        for name in ("schedule_jobs", "unschedule_jobs"):
            refused(
                root_tx,
                psycopg.errors.InsufficientPrivilege,
                f"SELECT audit.{name}()",
                message=name,
            )
