"""The servers and fixtures give what the other tests rely on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

import servers
from servers import Database, Server


def test_server_does_not_run_as_root(server: Server) -> None:
    assert server.process is not None
    owner = Path(f"/proc/{server.process.pid}").stat().st_uid
    assert owner != 0
    assert os.getuid() in (0, owner)


def test_server_has_the_version_asked_for(server: Server) -> None:
    assert server.name in (str(server.major), servers.EMBEDDED)


def test_configuration_is_accepted_as_a_whole(server: Server) -> None:
    wrong = "SELECT name, setting, error FROM pg_file_settings WHERE error IS NOT NULL"
    assert server.admin.execute(wrong).fetchall() == []
    started, _, _ = server.log.read_text().partition("ready to accept connections")
    assert "WARNING" not in started


def test_configuration_keeps_commits_durable(server: Server) -> None:
    shipped = """
        SELECT name FROM pg_file_settings
        WHERE sourcefile LIKE '%base.conf'
          AND name IN ('synchronous_commit', 'fsync', 'full_page_writes')
    """
    assert server.admin.execute(shipped).fetchall() == []


def test_extensions_are_real(server: Server, clone: Callable[[str], Database]) -> None:
    with clone("blank").connect("postgres") as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        for name in server.extensions - {"pg_cron"}:
            connection.execute(f"CREATE EXTENSION {name}")


def test_init_scripts_can_run_twice_and_late(server: Server, database: Database) -> None:
    for extension in ("pg_partman", "pg_cron"):
        server.require(extension)
    for script in 2 * sorted(servers.INIT_SCRIPTS.glob("*.sql")):
        server.run_script(script, database.name)


def test_roles_are_not_privileged(server: Server) -> None:
    strong = """
        SELECT rolname FROM pg_roles
        WHERE rolname IN ('deployer', 'app')
          AND (rolsuper OR rolcreatedb OR rolreplication OR rolbypassrls)
    """
    assert server.admin.execute(strong).fetchall() == []


def test_deployer_may_create_schemas_in_a_clone(blank_database: Database) -> None:
    with blank_database.connect() as connection:
        connection.execute("CREATE SCHEMA mine")
        connection.execute("CREATE TABLE app_data.thing (id integer)")


def test_app_may_write_but_not_create(blank_database: Database) -> None:
    with blank_database.connect() as connection:
        connection.execute("CREATE TABLE app_data.thing (id integer)")
    with blank_database.connect("app") as connection:
        connection.execute("INSERT INTO app_data.thing VALUES (1)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE app_data.mine (id integer)")


def test_clones_do_not_see_each_other(clone: Callable[[str], Database]) -> None:
    one, other = clone("blank"), clone("blank")
    with one.connect() as connection:
        connection.execute("CREATE TABLE app_data.thing (id integer)")
    with other.connect() as connection:
        assert connection.execute("SELECT to_regclass('app_data.thing')").fetchone() == (None,)


def test_migrated_clone_has_the_audit_schema(backend_database: Database) -> None:
    with backend_database.connect() as connection:
        found = connection.execute("SELECT to_regnamespace('audit') IS NOT NULL").fetchone()
    assert found == (True,)


@pytest.mark.slow
def test_job_runs_in_the_database_of_the_test(
    blank_database: Database, cron: psycopg.Connection[Any]
) -> None:
    """pg_cron before 1.5 knows full minutes only."""
    with blank_database.connect("postgres", autocommit=True) as connection:
        connection.execute("CREATE TABLE hit (at timestamptz DEFAULT clock_timestamp())")
        version = cron.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'"
        ).fetchone()
        schedule = "* * * * *" if version and version[0].startswith("1.4") else "1 second"
        cron.execute(
            "SELECT cron.schedule_in_database('hit', %s, 'INSERT INTO hit DEFAULT VALUES', %s)",
            (schedule, blank_database.name),
        )
        deadline = time.monotonic() + 70
        hits = connection.execute("SELECT count(*) FROM hit")
        while hits.fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.2)
            hits = connection.execute("SELECT count(*) FROM hit")
