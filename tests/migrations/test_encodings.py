"""Databases of any encoding: the trail can be installed, and taken from one to another."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg import errors, sql

import audit_schema
from audit_schema import schema
from migrations.conftest import quietly
from servers import Database, Server
from trail import refused, rows, value

CREATE = """
    CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'
"""
CAFES = "SELECT new_values FROM audit.history('app_data.t', '\"caf\u00e9\"')"


@contextmanager
def database_of(server: Server, encoding: str) -> Iterator[Database]:
    """An empty database of an encoding."""
    name = f"in_{encoding.lower()}"
    statement = sql.SQL(CREATE).format(sql.Identifier(name), sql.Literal(encoding))
    server.admin.execute(statement)
    try:
        yield Database(server, name)
    finally:
        server.admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    ("encoding", "word"),
    [("LATIN1", "caf\u00e9"), ("EUC_JP", "\u8336"), ("WIN1251", "\u0447\u0430\u0439")],
)
def test_the_trail_can_be_installed_and_read(server: Server, encoding: str, word: str) -> None:
    server.template("native")  # roles
    with database_of(server, encoding) as database:
        quietly(schema.upgrade, database.url("postgres"))
        with database.connect("postgres") as connection:
            connection.execute("CREATE TABLE t (name text PRIMARY KEY)")
            connection.execute("SELECT audit.attach('t')")
            connection.execute("INSERT INTO t VALUES (%s)", [word])
            [change] = audit_schema.history(connection, "t", word)
            assert change.new_values == {"name": word}
            assert rows(connection, "SELECT * FROM audit.check()") == []


def test_rows_are_found_after_a_restore_to_another_encoding(
    server: Server, database: Database
) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE app_data.t (name text PRIMARY KEY)")
        connection.execute("SELECT audit.attach('app_data.t')")
        connection.execute("INSERT INTO app_data.t VALUES ('caf\u00e9'), ('tea')")
        assert len(connection.execute(CAFES).fetchall()) == 1
    dump = [str(server.bindir / "pg_dump"), "-Fc", "-d", database.url("postgres")]
    archive = subprocess.run(dump, capture_output=True, check=True).stdout
    with database_of(server, "LATIN1") as restored:
        restore = [str(server.bindir / "pg_restore"), "-d", restored.url("postgres")]
        subprocess.run([*restore, "--exit-on-error"], input=archive, check=True)
        with restored.connect("postgres") as connection:
            connection.execute("SET client_encoding = 'UTF8'")
            assert connection.execute(CAFES).fetchall() == []
            [problem] = rows(connection, "SELECT * FROM audit.check()")
            assert problem["subject"] == "audit.event.row_hash"
            assert value(connection, problem["remedy"].removesuffix(";")) == 1
            assert connection.execute(CAFES).fetchall() == [({"name": "caf\u00e9"},)]
            assert rows(connection, "SELECT * FROM audit.check()") == []
            refused(
                connection,
                errors.ObjectNotInPrerequisiteState,
                "UPDATE audit.event SET row_hash = 0",
            )
