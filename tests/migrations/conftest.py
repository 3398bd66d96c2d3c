"""What the migration tests share: Alembic's commands and the judge, `pg_dump -s`."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from typing import Any

import psycopg
import pytest
from psycopg import sql

from audit_schema import schema
from servers import Database, Server

DumpSchema = Callable[[Database], list[str]]
# bounds and names of partitions depend on the day; a revision does not make them by name
PARTITIONS = ["--exclude-table=audit.*_p20*"]
# since 2025-08 each dump carries a random key in \restrict
CHANGING = ("\\restrict", "\\unrestrict", "--")


@pytest.fixture(scope="session")
def dump_schema(server: Server) -> DumpSchema:
    """What `pg_dump -s` says of a database, less what differs from run to run."""

    def dump(database: Database) -> list[str]:
        program = str(server.bindir / "pg_dump")
        command = [program, "-s", *PARTITIONS, "-d", database.url("postgres")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if not line.startswith(CHANGING)]

    return dump


@pytest.fixture
def psql(server: Server) -> Callable[[Database, str], None]:
    """Run a script as `deployer`, as a DBA would."""

    def run(database: Database, script: str) -> None:
        program = str(server.bindir / "psql")
        command = [program, "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database.url("deployer")]
        environment = {**os.environ, "PGOPTIONS": "-c client_min_messages=error"}
        subprocess.run(
            command, input=script, text=True, check=True, capture_output=True, env=environment
        )

    return run


@pytest.fixture(params=["blank", "partman"])
def empty_database(request: pytest.FixtureRequest, server: Server) -> Iterator[Database]:
    """A database with nothing of ours in it, once without and once with pg_partman."""
    if request.param == "partman":
        server.require("pg_partman")
    with server.clone(request.param) as database:
        if request.param == "partman":
            quietly(schema.downgrade, database.url(), "base")
        yield database


def quietly(command: Callable[..., None], *arguments: str, **options: Any) -> None:
    """Run a command of audit_schema.schema; notices for a DBA go nowhere."""
    with redirect_stderr(io.StringIO()):
        command(*arguments, **options)


def roles_with_prefix(connection: psycopg.Connection[tuple[str]], prefix: str) -> list[str]:
    query = sql.SQL("SELECT rolname FROM pg_roles WHERE rolname LIKE {}").format(f"{prefix}%")
    return [name for (name,) in connection.execute(query)]
