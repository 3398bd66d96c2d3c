"""Real PostgreSQL servers for the tests, and databases cloned from templates on them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from audit_schema.local_server import LocalServer, embedded_bindir

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
INIT_SCRIPTS = DOCKER / "initdb.d"
MAJORS = ("15", "17", "18")
EMBEDDED = "embedded"
EXTENSIONS = ("pg_partman", "pg_cron", "plpgsql_check")
POOLER = "pgbouncer"

# A migration needs no more than the role `deployer`; `app` is the application's role.
ROLES = "CREATE ROLE deployer LOGIN CREATEROLE; CREATE ROLE app LOGIN"
# What a DBA prepares in an application's database, whether it will be audited or not.
BLANK = """
    CREATE SCHEMA app_data AUTHORIZATION deployer;
    GRANT USAGE ON SCHEMA app_data TO app;
    ALTER DEFAULT PRIVILEGES FOR ROLE deployer IN SCHEMA app_data
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
    ALTER DEFAULT PRIVILEGES FOR ROLE deployer IN SCHEMA app_data
        GRANT USAGE ON SEQUENCES TO app;
"""
# The rest of docker/postgresql.conf stays as it is.
TEST_SETTINGS = {"max_wal_size": "512MB", "min_wal_size": "80MB"}
# The embedded server is built without lz4 and has none of the extensions.
EMBEDDED_SETTINGS = {
    "default_toast_compression": "pglz",
    "shared_preload_libraries": "pg_stat_statements",
    "wal_compression": "pglz",
}


def servers_folder() -> Path:
    """Where .ci/make-server puts its servers, one folder per major version."""
    if "AUDIT_SCHEMA_SERVERS" in os.environ:
        return Path(os.environ["AUDIT_SCHEMA_SERVERS"])
    if os.geteuid() == 0:
        return Path("/var/cache/audit-schema/servers")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "audit-schema" / "servers"


def bindir_of(name: str) -> Path:
    """The programs of server `name`: a major version, or `embedded`."""
    if name == EMBEDDED:
        return embedded_bindir()
    return servers_folder() / name / "usr/lib/postgresql" / name / "bin"


def installed() -> list[str]:
    """The major versions that .ci/make-server has made, oldest first."""
    return [name for name in MAJORS if (bindir_of(name) / "postgres").exists()]


def pooler_of(name: str) -> Path:
    """The PgBouncer that was made with server `name`."""
    return servers_folder() / name / "usr/sbin" / POOLER


def faketime_of(name: str) -> Path | None:
    """The library of server `name` that lets its clock be set."""
    return next(servers_folder().glob(f"{name}/usr/lib/*/faketime/libfaketime.so.1"), None)


def clock_of(name: str, file: Path) -> dict[str, str]:
    """The environment in which the clock of server `name` goes by `file`."""
    return {
        "LD_PRELOAD": str(faketime_of(name)),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def extensions_of(name: str) -> set[str]:
    """Those of EXTENSIONS that server `name` offers."""
    folder = servers_folder() / name / "usr/share/postgresql" / name / "extension"
    return {extension for extension in EXTENSIONS if (folder / f"{extension}.control").exists()}


@dataclass(frozen=True)
class Database:
    """One database of a test server."""

    server: LocalServer
    name: str

    def url(self, user: str = "deployer", *, driver: str | None = None, tcp: bool = False) -> str:
        """The address for libpq, or with `driver` ("psycopg", "asyncpg") for SQLAlchemy."""
        return self.server.url(self.name, user, driver=driver, tcp=tcp)

    def connect(self, user: str = "deployer", **options: Any) -> psycopg.Connection[Any]:
        """A psycopg connection that the caller closes; use it in a `with` block."""
        return self.server.connect(self.name, user, **options)


class Server(LocalServer):
    """A test server with the configuration and the roles of docker/, and its templates.

    Templates: `blank` (nothing installed), `native` (migrated, no pg_partman) and `partman`
    (migrated, with pg_partman). Each is made when first asked for.

    clock: a file that says how far the clock of the server is ahead, in seconds, as +86400.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, object] | None = None,
        clock: Path | None = None,
    ) -> None:
        self.name = name
        self.extensions = extensions_of(name)
        special = EMBEDDED_SETTINGS if name == EMBEDDED else {}
        super().__init__(
            None if name == EMBEDDED else bindir_of(name),
            {**TEST_SETTINGS, **special, **(settings or {})},
            configuration=DOCKER / "postgresql.conf",
            environment=clock_of(name, clock) if clock else None,
            tcp=True,
            parent=_parent(),
        )
        self._numbers = count(1)
        self._templates: dict[str, Database] = {}

    def __enter__(self) -> Server:
        super().__enter__()
        try:
            self.admin.execute(ROLES)
            if "pg_cron" in self.extensions:
                self.run_script(INIT_SCRIPTS / "10_pg_cron.sql")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and the connection of its administrator."""
        self.forget_admin()
        super().stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """As that of LocalServer; the administrator connects again."""
        self.forget_admin()
        with super().paused():
            yield

    def forget_admin(self) -> None:
        """Close the connection of the administrator; when asked for, there is a new one."""
        if "admin" in self.__dict__:
            self.admin.close()
            del self.admin

    @cached_property
    def admin(self) -> psycopg.Connection[Any]:
        """The superuser in the database `postgres`, where pg_cron lives; autocommit."""
        return self.connect(autocommit=True)

    @property
    def major(self) -> int:
        """The major version, for example 17."""
        return self.admin.info.server_version // 10000

    def require(self, extension: str) -> None:
        """Skip the test when the server does not offer `extension`."""
        if extension not in self.extensions:
            pytest.skip(f"{self.name} has no {extension}")

    @contextmanager
    def clone(self, template: str = "native") -> Iterator[Database]:
        """A fresh copy of a template, dropped afterwards."""
        database = self._create(f"test_{next(self._numbers)}", self.template(template).name)
        try:
            yield database
        finally:
            self._drop(database)

    def template(self, name: str) -> Database:
        """The template `blank`, `native` or `partman`. Never connect to it: clone it."""
        if name not in self._templates:
            make = {"blank": self._blank, "native": self._native, "partman": self._partman}
            self._templates[name] = make[name]()
        return self._templates[name]

    def _blank(self) -> Database:
        database = self._create("blank", "template0")
        with database.connect("postgres") as connection:
            connection.execute(BLANK)
        return database

    def _native(self) -> Database:
        return self._migrate(self._create("native", self.template("blank").name))

    def _partman(self) -> Database:
        self.template("native")  # first: there a migration by `deployer` makes the roles
        database = self._create("partman", self.template("blank").name)
        self.run_script(INIT_SCRIPTS / "20_pg_partman.sql", database.name)
        return self._migrate(database)

    def _migrate(self, database: Database) -> Database:
        from audit_schema import schema

        try:
            schema.upgrade(database.url("deployer"))
        except BaseException:
            self._drop(database)  # the next test shall see the same error
            raise
        return database

    def _create(self, name: str, template: str) -> Database:
        # file_copy: less work for the copy and for the drop as long as fsync is off
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self.admin.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        # a copy does not take over the privileges on the database itself
        statement = sql.SQL("GRANT CREATE ON DATABASE {} TO deployer")
        self.admin.execute(statement.format(sql.Identifier(name)))
        return Database(self, name)

    def _drop(self, database: Database) -> None:
        if "pg_cron" in self.extensions:  # its jobs outlive the database
            jobs = "SELECT cron.unschedule(jobid) FROM cron.job WHERE database = %s"
            self.admin.execute(jobs, (database.name,))
        statement = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        self.admin.execute(statement.format(sql.Identifier(database.name)))


def _parent() -> Path:
    """Memory where there is enough: a clone takes 0.02 s there and 0.15 s on a disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2 * 1024**3:
        return memory
    return Path("/tmp")
