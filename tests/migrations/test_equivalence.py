"""Every way to a revision gives the same schema; `pg_dump -s` is the judge."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from audit_schema import schema
from audit_schema.replaceable import MIGRATIONS, ROOT
from servers import Database, Server

from .conftest import DumpSchema, quietly

REVISIONS = sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
Clone = Callable[[str], Database]
Psql = Callable[[Database, str], None]


@pytest.fixture
def fresh(clone: Clone, dump_schema: DumpSchema) -> list[str]:
    """The schema of a database that was upgraded to head at once."""
    return dump_schema(clone("native"))


@pytest.mark.parametrize("revision", REVISIONS)
def test_upgraded_in_steps_equals_fresh(
    revision: str, blank_database: Database, dump_schema: DumpSchema, fresh: list[str]
) -> None:
    quietly(schema.upgrade, blank_database.url(), revision)
    quietly(schema.upgrade, blank_database.url())
    assert dump_schema(blank_database) == fresh


@pytest.mark.parametrize("revision", REVISIONS)
def test_downgraded_equals_upgraded_to_there(
    revision: str, clone: Clone, dump_schema: DumpSchema
) -> None:
    down, up = clone("native"), clone("blank")
    quietly(schema.downgrade, down.url(), revision)
    quietly(schema.upgrade, up.url(), revision)
    assert dump_schema(down) == dump_schema(up)


def test_down_to_base_leaves_no_trace_and_up_again_is_fresh(
    empty_database: Database, dump_schema: DumpSchema
) -> None:
    before = dump_schema(empty_database)
    quietly(schema.upgrade, empty_database.url())
    installed = dump_schema(empty_database)
    quietly(schema.downgrade, empty_database.url(), "base")
    assert dump_schema(empty_database) == before
    quietly(schema.upgrade, empty_database.url())
    assert dump_schema(empty_database) == installed != before


def test_sql_piped_to_psql_equals_fresh(
    blank_database: Database, dump_schema: DumpSchema, psql: Psql, fresh: list[str]
) -> None:
    script = io.StringIO()
    schema.upgrade_sql(script)
    psql(blank_database, script.getvalue())
    assert dump_schema(blank_database) == fresh


def test_downgrade_as_sql_leaves_no_trace(
    clone: Clone, dump_schema: DumpSchema, psql: Psql
) -> None:
    installed, blank = clone("native"), clone("blank")
    command = [sys.executable, "-m", "alembic", "downgrade", "head:base", "--sql"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    psql(installed, done.stdout)
    assert dump_schema(installed) == dump_schema(blank)


def test_upgrade_again_changes_nothing(database: Database, dump_schema: DumpSchema) -> None:
    def state() -> tuple[list[str], list[tuple[object, ...]]]:
        with database.connect() as connection:
            rows = connection.execute("SELECT oid, xmin FROM pg_proc ORDER BY 1").fetchall()
        return dump_schema(database), rows

    before = state()
    quietly(schema.upgrade, database.url())
    assert state() == before


def test_two_upgrades_at_once_do_not_break_each_other(
    blank_database: Database, dump_schema: DumpSchema, fresh: list[str]
) -> None:
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    environment = {**os.environ, "DATABASE_URL": blank_database.url()}
    both = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert sum("Running upgrade  -> 0001" in error for error in errors) == 1
    assert dump_schema(blank_database) == fresh


def test_function_bodies_reach_the_server_byte_for_byte(database: Database) -> None:
    source = (ROOT / "sql/triggers/capture_update.sql").read_text()
    with database.connect() as connection:
        row = connection.execute(
            "SELECT prosrc FROM pg_proc WHERE oid = 'audit.capture_update'::regproc"
        ).fetchone()
    assert row == (source.split("$capture_update$")[1],)


def test_the_owner_of_everything_is_the_owner_role(server: Server, database: Database) -> None:
    with database.connect() as connection:
        owners = connection.execute(
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class"
            " WHERE relnamespace = 'audit'::regnamespace"
            " UNION SELECT pg_get_userbyid(proowner) FROM pg_proc"
            " WHERE pronamespace = 'audit'::regnamespace"
        ).fetchall()
    assert sorted(owners) == [("audit_nobody",), ("audit_owner",)]


def test_an_upgrade_does_not_depend_on_the_default_isolation_level(
    blank_database: Database, dump_schema: DumpSchema, fresh: list[str]
) -> None:
    with blank_database.connect("postgres") as connection:
        connection.execute(
            f"ALTER DATABASE {blank_database.name} SET default_transaction_isolation = serializable"
        )
    quietly(schema.upgrade, blank_database.url())
    assert dump_schema(blank_database) == fresh
