"""A bank at work, with and without capture, and its books checked from the trail alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from rich.console import Console

from audit_schema import display, reading, schema
from audit_schema.database import connect, parameters_of, sqlalchemy_url
from audit_schema.errors import AuditSchemaError
from audit_schema.local_server import LocalServer, embedded_bindir

DATABASE: Final = "audit_schema_demo"
SCALE: Final = 10  # of pgbench: a million accounts
# Commits cost what they cost in production: otherwise capture would look dearer than it is.
DURABLE: Final = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
ROLES: Final = ["audit_owner", "audit_admin", "audit_reader", "audit_nobody"]
BALANCES: Final = (
    ("pgbench_accounts", "aid", "abalance"),
    ("pgbench_tellers", "tid", "tbalance"),
    ("pgbench_branches", "bid", "bbalance"),
)
TABLES: Final = (*(name for name, _, _ in BALANCES), "pgbench_history")

# pgbench starts every balance at 0, so each must be the sum of the changes in the trail.
RECONCILE_BALANCES: Final = """
    WITH trail AS (
        SELECT (row_key ->> %(key)s)::bigint AS key,
               sum((new_values ->> %(balance)s)::bigint
                   - (old_values ->> %(balance)s)::bigint) AS moved
          FROM audit.change
         WHERE table_name = %(name)s AND action = 'update' AND started_at >= '-infinity'
         GROUP BY 1)
    SELECT %(name)s AS checked, count(*) AS rows_checked, count(trail.key) AS rows_changed,
           count(*) FILTER (
               WHERE t.{balance} IS DISTINCT FROM COALESCE(trail.moved, 0)) AS mismatches
      FROM {table} AS t FULL JOIN trail ON trail.key = t.{key}"""
RECONCILE_INSERTS: Final = """
    WITH trail AS (
        SELECT new_values AS row FROM audit.change
         WHERE table_name = 'pgbench_history' AND action = 'insert' AND started_at >= '-infinity'),
    book AS (SELECT to_jsonb(h) AS row FROM pgbench_history AS h),
    common AS (SELECT * FROM book INTERSECT ALL SELECT * FROM trail),
    counts AS (
        SELECT (SELECT count(*) FROM book) AS book, (SELECT count(*) FROM trail) AS trail,
               (SELECT count(*) FROM common) AS common)
    SELECT 'pgbench_history' AS checked, book AS rows_checked, trail AS rows_changed,
           (book - common) + (trail - common) AS mismatches
      FROM counts"""
BUSIEST_ACCOUNT: Final = """
    SELECT row_key ->> 'aid' AS aid FROM audit.change
     WHERE table_name = 'pgbench_accounts' AND started_at >= '-infinity'
     GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"""
PARTITIONS: Final = """
    SELECT partition, (from_time AT TIME ZONE 'UTC')::date AS from_day,
           (to_time AT TIME ZONE 'UTC')::date AS to_day, pg_size_pretty(total_bytes) AS size
      FROM audit.partition ORDER BY from_time NULLS LAST"""


@dataclass(frozen=True)
class Run:
    """What some pgbench processes did together."""

    transactions: int
    tps: float


def run(
    url: str | None, *, seconds: int, clients: int, keep: bool = False, as_json: bool = False
) -> bool:
    """Run the demonstration; return whether every balance agrees with the trail.

    url: server on which to make the database audit_schema_demo; None for DATABASE_URL, and
    without that for a server of its own. seconds: of each of two runs. clients: connections,
    each under an actor of its own. keep: leave database and server. as_json: print the figures
    as JSON, the progress on stderr.
    Raises AuditSchemaError when there is no server or pgbench, or the database exists already.
    """
    console = Console(stderr=as_json)
    with ExitStack() as cleanup:
        bank = _bank(url or os.environ.get("DATABASE_URL"), cleanup, console)
        figures = bank.demonstrate(seconds, clients)
        with bank.connect() as connection:
            figures["status"] = _rows(connection, "SELECT * FROM audit.status()")
            _show(connection, figures, console)
        if as_json:
            print(display.dumps(figures, indent=2))
        if keep:
            cleanup.pop_all()
            console.print(bank.farewell, soft_wrap=True, highlight=False)
    return not any(row["mismatches"] for row in figures["reconciled"])


@dataclass
class Bank:
    """An empty database for the workload, and the pgbench that runs it."""

    url: sqlalchemy.URL
    pgbench: Path
    console: Console
    farewell: str

    def connect(self) -> psycopg.Connection[Any]:
        return connect(self.url, autocommit=True)

    def demonstrate(self, seconds: int, clients: int) -> dict[str, Any]:
        """Run the workload twice and check the books; return the figures."""
        actors = [f"clerk-{number + 1}" for number in range(clients)]
        with self._step("audit-schema upgrade"):
            schema.upgrade(self.url)
        with self._step(f"pgbench: {SCALE * 100_000:,} accounts"):
            self._initialise()
        with self._step(f"{clients} clerks at work for {seconds} s, without capture"):
            without = self._work(seconds, [None] * clients)
        with self._step("pgbench: all balances back to 0"):
            self._initialise()
        with self._step(f"audit-schema attach {' '.join(TABLES)}"), self.connect() as connection:
            connection.add_notice_handler(self._print_notice)
            for name in TABLES:
                connection.execute("SELECT audit.attach(%s::regclass)", [name])
        with self._step(f"{clients} clerks at work for {seconds} s, every change captured"):
            captured = self._work(seconds, actors)
        with self._step("every balance from the trail alone"), self.connect() as connection:
            reconciled = _reconcile(connection)
            events = _rows(connection, "SELECT count(*) AS events FROM audit.event")[0]["events"]
        return {
            "clients": clients,
            "seconds": seconds,
            "tps_without_capture": round(without.tps, 1),
            "tps_with_capture": round(captured.tps, 1),
            "transactions_captured": captured.transactions,
            "events": events,
            "events_per_second": round(events / seconds, 1),
            "reconciled": reconciled,
        }

    def _initialise(self) -> None:
        self._results([self._start("-i", "-q", "-s", str(SCALE))])

    def _work(self, seconds: int, actors: Sequence[str | None]) -> Run:
        """Run one pgbench for each actor at the same time; None works without context."""
        started = [self._start("-n", "-T", str(seconds), actor=actor) for actor in actors]
        outputs = self._results(started)
        transactions = [_figure(r"transactions actually processed: (\d+)", one) for one in outputs]
        return Run(int(sum(transactions)), sum(_figure(r"tps = ([\d.]+)", one) for one in outputs))

    def _start(self, *arguments: str, actor: str | None = None) -> subprocess.Popen[str]:
        parameters = parameters_of(self.url)
        environment = os.environ | {"PGAPPNAME": "pgbench"}
        if "password" in parameters:  # not among the arguments, which everybody can read
            environment["PGPASSWORD"] = str(parameters.pop("password"))
        options = str(parameters.pop("options", environment.get("PGOPTIONS", "")))
        if actor is not None:
            context = {"actor": actor, "actor_type": "clerk", "metadata": {"branch": "main hall"}}
            options += " -c " + re.sub(r"([\\\s])", r"\\\1", f"audit.context={json.dumps(context)}")
        try:
            return subprocess.Popen(
                [self.pgbench, *arguments, make_conninfo(**parameters)],
                env=environment | {"PGOPTIONS": options},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise AuditSchemaError(
                f"can't run pgbench: {error}\nHINT: Install PostgreSQL's client programs."
            ) from error

    def _results(self, processes: Sequence[subprocess.Popen[str]]) -> list[str]:
        """Wait for all *processes*; return what each printed."""
        try:
            results = [process.communicate() for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        for process, (_, complaint) in zip(processes, results, strict=True):
            if process.returncode:
                raise AuditSchemaError(f"pgbench failed: {complaint.strip()}")
        return [output for output, _ in results]

    @contextmanager
    def _step(self, text: str) -> Iterator[None]:
        begin = time.monotonic()
        with self.console.status(text):
            yield
        took = f"[dim]({time.monotonic() - begin:.1f} s)[/]"
        self.console.print(f"[green]✓[/] {text} {took}", soft_wrap=True)

    def _print_notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self.console.print(f"  {diagnostic.message_primary}", style="yellow", soft_wrap=True)


def _bank(url: str | None, cleanup: ExitStack, console: Console) -> Bank:
    """Make the database on the server of *url*, or on one of its own; *cleanup* removes it."""
    if url is None:
        server = LocalServer(settings=DURABLE)
        with console.status("starting a PostgreSQL server"):
            cleanup.enter_context(server)
        address, pgbench = server.url(), server.bindir / "pgbench"
    else:
        server, address, pgbench = None, url, _pgbench()
    target = sqlalchemy_url(address)
    with connect(target, autocommit=True) as connection:
        roles = _roles(connection)
        _create_database(connection)
    if server is None:
        cleanup.callback(_drop_database, target, set(ROLES) - set(roles))
    demo = target.set(database=DATABASE)
    shown = demo.set(drivername="postgresql").render_as_string(hide_password=True)
    command = server.stop_command if server else f"DROP DATABASE {DATABASE};"
    console.print(f"The bank: {shown}", soft_wrap=True, highlight=False)
    return Bank(demo, pgbench, console, f"Kept: {shown}\nTo remove it: {command}")


def _pgbench() -> Path:
    found = shutil.which("pgbench")
    return Path(found) if found else embedded_bindir() / "pgbench"


def _create_database(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.errors.DuplicateDatabase as error:
        raise AuditSchemaError(
            f"the database {DATABASE} exists already, perhaps kept by a former run\n"
            f"HINT: Drop it first: DROP DATABASE {DATABASE};"
        ) from error


def _roles(connection: psycopg.Connection[Any]) -> list[str]:
    """Return those of ROLES that the server has."""
    found = _rows(connection, "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [ROLES])
    return [row["rolname"] for row in found]


def _drop_database(target: sqlalchemy.URL, roles: Collection[str]) -> None:
    """Take back what the demonstration made on a server that others use."""
    demo = target.set(database=DATABASE)
    if schema.current(demo):
        with connect(demo, autocommit=True) as connection:
            connection.execute("SELECT audit.unschedule_jobs()")
    with connect(target, autocommit=True) as connection:
        database = sql.Identifier(DATABASE)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
        for role in roles:
            with suppress(psycopg.errors.DependentObjectsStillExist):  # used meanwhile: it stays
                statement = sql.SQL("DROP ROLE IF EXISTS {}")
                connection.execute(statement.format(sql.Identifier(role)))


def _reconcile(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, key, balance in BALANCES:
        query = sql.SQL(RECONCILE_BALANCES).format(
            table=sql.Identifier(name), key=sql.Identifier(key), balance=sql.Identifier(balance)
        )
        rows += _rows(connection, query, {"name": name, "key": key, "balance": balance})
    rows += _rows(connection, RECONCILE_INSERTS)
    return rows


def _show(connection: psycopg.Connection[Any], figures: dict[str, Any], console: Console) -> None:
    def heading(text: str) -> None:
        console.print(f"\n[bold]{text}[/]", highlight=False)

    aid = _rows(connection, BUSIEST_ACCOUNT)[0]["aid"]
    changes = reading.history(connection, "pgbench_accounts", aid, limit=3)
    heading(f"audit-schema history pgbench_accounts {aid} --limit 3")
    display.print_changes(changes, console)
    transaction_id = changes[0].transaction_id
    heading(f"audit-schema transaction {transaction_id}")
    display.print_changes(reading.transaction_changes(connection, transaction_id), console)
    heading("audit-schema activity clerk-1 --limit 3")
    display.print_changes(reading.actor_activity(connection, "clerk-1", limit=3), console)
    heading("SELECT … FROM audit.partition")
    display.print_table(_rows(connection, PARTITIONS), console=console)
    heading("SELECT audit.schedule_jobs()")
    console.print(
        _rows(connection, "SELECT audit.schedule_jobs() AS job")[0]["job"], soft_wrap=True
    )
    heading("audit-schema status")
    display.print_table(figures["status"], display.STATES, console)
    heading("Every row against the trail")
    display.print_table(figures["reconciled"], console=console)
    before, after = figures["tps_without_capture"], figures["tps_with_capture"]
    console.print(
        f"\n[bold]{figures['events']:,}[/] events, {figures['events_per_second']:,.0f} a second; "
        f"{before:,.0f} transactions a second without capture, {after:,.0f} with it "
        f"({(1 - after / before):.0%} less)",
        highlight=False,
    )


def _figure(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    if found is None:
        raise AuditSchemaError(f"pgbench said nothing like {pattern!r}: {output}")
    return float(found[1])


def _rows(connection: psycopg.Connection[Any], query: Any, arguments: Any = ()) -> Any:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, arguments).fetchall()
