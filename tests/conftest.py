"""Fixtures on real PostgreSQL servers: one server per version, one clone of a template per test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

import servers
from servers import Database, Server

# The caller's own server settings must not reach the tests.
for _name in [name for name in os.environ if name.startswith("PG") or name == "DATABASE_URL"]:
    del os.environ[_name]

SERVER_NAMES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("audit_schema")
    group.addoption("--pg", help="servers to test on, for example 15,17 or embedded (default: all)")
    group.addoption(
        "--quick", action="store_true", help="one server, the newest or embedded; no slow tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    names: list[str] = _server_names(config)
    _check(names)
    config.stash[SERVER_NAMES] = names
    if config.getoption("--quick") and not config.option.markexpr:
        config.option.markexpr = "not slow"


def pytest_report_header(config: pytest.Config) -> str:
    names = config.stash[SERVER_NAMES]
    return f"PostgreSQL: {', '.join(names)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        names = metafunc.config.stash[SERVER_NAMES]
        ids = [name if name == servers.EMBEDDED else f"pg{name}" for name in names]
        metafunc.parametrize("server", names, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server_names(request: pytest.FixtureRequest) -> list[str]:
    """The servers that the tests run on."""
    return request.config.stash[SERVER_NAMES]


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running server; tests that use it run once per version."""
    with Server(request.param) as server:
        yield server


@pytest.fixture
def clone(server: Server) -> Iterator[Callable[[str], Database]]:
    """Makes clones of a template: clone("native"), clone("partman") or clone("blank")."""
    with ExitStack() as stack:
        yield lambda template: stack.enter_context(server.clone(template))


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A migrated database without pg_partman."""
    with server.clone("native") as database:
        yield database


@pytest.fixture(params=["native", "partman"])
def backend_database(request: pytest.FixtureRequest, server: Server) -> Iterator[Database]:
    """A migrated database, once without and once with pg_partman."""
    if request.param == "partman":
        server.require("pg_partman")
    with server.clone(request.param) as database:
        yield database


@pytest.fixture
def blank_database(server: Server) -> Iterator[Database]:
    """A database that no migration has touched."""
    with server.clone("blank") as database:
        yield database


@pytest.fixture
def db(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection as `deployer` to a migrated database of its own; what it commits stays there."""
    with database.connect() as connection:
        yield connection


@pytest.fixture
def root_db(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """The superuser's connection to a migrated database of its own."""
    with database.connect("postgres") as connection:
        yield connection


@pytest.fixture(scope="session")
def shared_database(server: Server) -> Iterator[Database]:
    """One migrated database for all tests that commit nothing."""
    with server.clone("native") as database:
        yield database


@pytest.fixture
def tx(shared_database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection as `deployer` to the shared database, rolled back afterwards: do not commit."""
    with shared_database.connect() as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def root_tx(shared_database: Database) -> Iterator[psycopg.Connection[Any]]:
    """The superuser's connection to the shared database, rolled back afterwards."""
    with shared_database.connect("postgres") as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def cron(server: Server) -> Iterator[psycopg.Connection[Any]]:
    """The superuser's connection to the database of pg_cron; all jobs are removed afterwards."""
    server.require("pg_cron")
    with server.connect(autocommit=True) as connection:
        yield connection
        connection.execute("SELECT cron.unschedule(jobid) FROM cron.job")


def _server_names(config: pytest.Config) -> list[str]:
    found = servers.installed()
    if chosen := config.getoption("--pg"):
        return str(chosen).split(",")
    if config.getoption("--quick"):
        return found[-1:] or [servers.EMBEDDED]
    return list(servers.MAJORS) if os.environ.get("CI") == "true" else found


def _check(names: list[str]) -> None:
    """Refuse to run without the servers asked for; in CI, without all that is tested."""
    missing = [name for name in names if not (servers.bindir_of(name) / "postgres").exists()]
    if os.environ.get("CI") == "true":
        for name in sorted({*names} - {*missing}):
            gaps = set(servers.EXTENSIONS) - servers.extensions_of(name)
            gaps |= set() if servers.pooler_of(name).exists() else {servers.POOLER}
            gaps |= set() if servers.faketime_of(name) else {"libfaketime"}
            missing += [f"{extension} on {name}" for extension in sorted(gaps)]
    if missing or not names:
        what = ", ".join(missing) or "any"
        raise pytest.UsageError(f"PostgreSQL not found: {what}. Run make servers.")
