"""How the cost of capture grows: with partitions, tracked tables, recorded events and clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, pairwise
from random import Random
from typing import Any, Final, TypeVar

import psycopg
from psycopg import sql

from audit_schema.bench.capture import per_unit
from audit_schema.bench.meter import Meter
from audit_schema.bench.rounds import Figures, Round, summarise, take_rounds
from audit_schema.bench.stage import Stage, Tables, staged
from audit_schema.bench.variant import BARE, OURS, Variant, install
from audit_schema.bench.workload import ACCOUNT, KEY, Shape, loop, one, random_key
from audit_schema.database import sqlalchemy_url
from audit_schema.errors import AuditSchemaError
from audit_schema.local_server import LocalServer
from benchmarks import pgbench, synthetic
from benchmarks.lab import Lab
from benchmarks.report import Page, number_text, signed

S = TypeVar("S", bound=Tables)
Run = Callable[[Variant, int], Round]

TITLE: Final = "What the cost of capture depends on"

# Thousands of relations are made and touched in one transaction.
SETTINGS: Final = {
    "synchronous_commit": "off",
    "max_locks_per_transaction": 1024,
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "max_wal_size": "2GB",
}
FLAT: Final = 1.25
"""A curve is called flat when its last point costs at most so many times its first one."""
ROWS_OF_MANY: Final = 20
"""Rows of each table where there are many."""

BULK: Final = "bulk INSERT, a row"
INSERT: Final = "one-row INSERT"
UPDATE: Final = "one-row UPDATE"
TRANSACTION: Final = "transaction of one UPDATE"
FIRST: Final = "first INSERT and UPDATE"
SESSION: Final = "session"
PGBENCH: Final = "pgbench"

PARTITIONS: Final = "SELECT count(*) FROM audit.partition WHERE NOT is_default"
FUTURE: Final = "SELECT partition FROM audit.partition WHERE from_time > now()"
RUNNING: Final = """
    SELECT from_time, now() FROM audit.partition
     WHERE from_time <= now() AND to_time > now()"""
PREWARM: Final = """
    SELECT sum(pg_prewarm(x.indexrelid))
      FROM audit.partition AS p
      JOIN pg_index AS x ON x.indrelid = format('audit.%I', p.partition)::regclass
     WHERE p.from_time <= now() AND p.to_time > now()"""
MEMORY: Final = "SELECT sum(total_bytes)::float8 / 1e6 FROM pg_backend_memory_contexts"

METHOD: Final = """
    The CPU time that capture adds to a statement, measured against tables without capture in the
    same rounds; medians of {rounds}. A round has one INSERT of {bulk:,} rows, {single:,} INSERTs
    and {single:,} UPDATEs of one row within one transaction each, and {transactions:,}
    transactions of one UPDATE, with synchronous_commit = off. A curve is flat when its last point
    costs at most {flat} times what its first one does.
    """
CURVES: Final = {
    "partitions": (
        "Partitions",
        "Daily partitions of audit.event; all but the running one are in the past.",
    ),
    "tables": (
        "Tracked tables",
        "One session writes to all of the tables in turn, with prepared statements and generic "
        "plans. It keeps what it has compiled and planned for each table, since PL/pgSQL compiles "
        "a trigger function anew for each table; the first writes of a table make it. Each "
        "attach() looks at all attached tables for one that was renamed or dropped.",
    ),
    "events": (
        "Events in the log",
        "The events lie in the running partition, which is the worst case, since old partitions "
        "are not touched. Its indexes are read into the shared buffers (2 GB) before, as far as "
        "they fit. Beyond, an event fetches and evicts index pages at random places, above all of "
        "the index of row keys, which is in the order of a hash: shorter partitions keep that "
        "away.",
    ),
}
CLIENTS: Final = """
    Transactions of one UPDATE by primary key, from pgbench on the same two cores, {seconds} seconds
    a round, synchronous_commit = off. CPU is that of the whole server.
    """


@dataclass(frozen=True)
class Effort:
    """How much one round does: rows of a bulk INSERT, one-row statements, transactions."""

    bulk: int = 10_000
    single: int = 2_000
    transactions: int = 1_000
    rounds: int = 3

    @property
    def rows(self) -> int:
        return 5 * self.bulk


@dataclass(frozen=True)
class Points:
    """Where to measure; with clients pgbench runs for so many *seconds*."""

    partitions: tuple[int, ...] = (1, 12, 50, 100, 200, 500)
    tables: tuple[int, ...] = (1, 10, 100, 500, 1_000, 2_000)
    events: tuple[int, ...] = (100_000, 1_000_000, 10_000_000, 50_000_000)
    clients: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    seconds: int = 2


@dataclass(frozen=True)
class ManyTables:
    """So many tables like that of ACCOUNT."""

    number: int

    @property
    def shapes(self) -> list[Shape]:
        """Each of them as a Shape."""
        return [replace(ACCOUNT, name=f"account_{number:04}") for number in range(self.number)]

    @property
    def tables(self) -> Sequence[str]:
        return [shape.table for shape in self.shapes]

    def create(self, connection: psycopg.Connection[Any], rows: int) -> None:
        for shape in self.shapes:
            shape.create(connection, rows)


def measure(lab: Lab, points: Points | None = None, effort: Effort | None = None) -> dict[str, Any]:
    """Measure each curve on a server of its own."""
    where = points or lab.amount(Points(), Points((1, 4), (1, 3), (1_000, 5_000), (2,), 1))
    how = effort or lab.amount(Effort(), Effort(200, 20, 20, 1))
    return {
        "effort": {**asdict(how), "seconds": where.seconds},
        "partitions": _by_partitions(lab, where.partitions, how),
        "tables": _by_tables(lab, where.tables, how),
        "events": _by_events(lab, where.events, how),
        "clients": _by_clients(lab, where, how),
    }


def _by_partitions(lab: Lab, points: Sequence[int], effort: Effort) -> list[dict[str, Any]]:
    with (
        _stage(lab, ACCOUNT, effort.rows, [BARE, OURS]) as (_, stage),
        stage.connect(OURS) as connection,
    ):
        connection.execute("SELECT audit.set_partitioning('day', 1)")
        for (name,) in connection.execute(FUTURE).fetchall():
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("audit", name)))

        def grow(wanted: int) -> None:
            now = datetime.now(UTC)
            synthetic.create_partitions(connection, now - timedelta(days=wanted - 1), now)
            if (found := connection.execute(PARTITIONS).fetchone()) != (wanted,):
                raise AuditSchemaError(f"wanted {wanted} partitions, found {found}")

        run = partial(_statements, stage, effort, count())
        return _points(lab, stage, "partitions", points, grow, lambda _: run, effort.rounds)


def _by_tables(lab: Lab, points: Sequence[int], effort: Effort) -> list[dict[str, Any]]:
    installed = replace(OURS, setup=lambda connection, _: install(connection))
    shape = ManyTables(max(points))
    with (
        _stage(lab, shape, ROWS_OF_MANY, [BARE, installed]) as (_, stage),
        stage.connect(installed) as connection,
    ):
        attached = [0]

        def grow(wanted: int) -> None:
            attached.append(wanted)
            for name in shape.tables[attached[-2] : wanted]:
                connection.execute("SELECT audit.attach(%s::regclass)", [name])

        def run_at(wanted: int) -> Run:
            return partial(_in_turn, stage, shape.shapes[:wanted], effort)

        return _points(lab, stage, "tables", points, grow, run_at, effort.rounds)


def _by_events(lab: Lab, points: Sequence[int], effort: Effort) -> list[dict[str, Any]]:
    with (
        _stage(lab, ACCOUNT, effort.rows, [BARE, OURS]) as (_, stage),
        stage.connect(OURS) as connection,
    ):
        connection.execute("CREATE EXTENSION pg_prewarm")
        [(start, now)] = connection.execute(RUNNING).fetchall()
        trail = synthetic.Trail(max(points), start, now)
        synthetic.prepare(connection, trail)
        [partition] = synthetic.partitions(connection, trail)
        cycles = [0]

        def grow(wanted: int) -> None:
            cycles.append(wanted // synthetic.CYCLE)
            added = range(cycles[-2], cycles[-1])
            synthetic.fill(partial(stage.connect, OURS), trail, partition, added)
            connection.execute(PREWARM)

        run = partial(_statements, stage, effort, count())
        return _points(lab, stage, "events", points, grow, lambda _: run, effort.rounds)


def _by_clients(lab: Lab, points: Points, effort: Effort) -> list[dict[str, Any]]:
    with _stage(lab, ACCOUNT, 4 * effort.rows, [BARE, OURS]) as (server, stage):

        def run_at(clients: int) -> Run:
            return partial(_with_clients, server, stage, clients, points.seconds)

        return _points(lab, stage, "clients", points.clients, lambda _: None, run_at, effort.rounds)


@contextmanager
def _stage(
    lab: Lab, shape: S, rows: int, variants: Sequence[Variant]
) -> Iterator[tuple[LocalServer, Stage[S]]]:
    """Yield a server of its own and the databases of *variants* on it."""
    with (
        lab.server(SETTINGS) as server,
        staged(sqlalchemy_url(server.url()), shape, rows, variants, lab.console) as stage,
    ):
        yield server, stage


def _points(
    lab: Lab,
    stage: Stage[Any],
    what: str,
    points: Sequence[int],
    grow: Callable[[int], None],
    run_at: Callable[[int], Run],
    rounds: int,
) -> list[dict[str, Any]]:
    """Go to each point and take rounds there."""
    results: list[dict[str, Any]] = []
    for point in points:
        begin = time.monotonic()
        with lab.step(f"{point:,} {what}"):
            grow(point)
        seconds = round(time.monotonic() - begin, 2)
        taken = take_rounds(stage.variants, rounds, run_at(point), lab.console, f"{point:,} {what}")
        figures = summarise(taken, BARE.name)
        results.append({"x": point, "growing_seconds": seconds, "figures": figures})
    return results


def _statements(
    stage: Stage[Shape], effort: Effort, bulks: Iterator[int], variant: Variant, number: int
) -> Round:
    """One round in one session; *bulks* numbers the bulk statements, which need new keys."""
    shape = stage.shape
    first = stage.rows + 1 + next(bulks) * effort.bulk
    update = shape.update(shape.few, one(KEY))
    rng = Random(number)
    with stage.connect(variant) as connection:
        meter = Meter(connection)

        def cost(units: int, statement: sql.Composed) -> Figures:
            return per_unit(meter.measure(lambda: connection.execute(statement)), units)

        return {
            BULK: cost(effort.bulk, shape.insert_bulk(first, first + effort.bulk - 1)),
            INSERT: cost(effort.single, loop(effort.single, sql.NULL, shape.insert(1))),
            UPDATE: cost(effort.single, loop(effort.single, random_key(stage.rows), update)),
            TRANSACTION: _execute(
                connection, meter, [_update(shape, stage.rows, rng)] * effort.transactions
            ),
        }


def _in_turn(
    stage: Stage[ManyTables],
    shapes: Sequence[Shape],
    effort: Effort,
    variant: Variant,
    number: int,
) -> Round:
    """One round in one session that writes to each table of *shapes*, again and again."""
    passes = max(1, effort.single // len(shapes))
    rng = Random(number)
    inserts: list[Prepared] = [(shape.insert(1).as_bytes(None), {}) for shape in shapes]
    updates = [_update(shape, ROWS_OF_MANY, rng) for shape in shapes]
    with stage.connect(variant) as connection:
        connection.prepared_max = None
        connection.execute("SET plan_cache_mode = force_generic_plan")
        meter = Meter(connection)
        first = _execute(connection, meter, [*inserts, *updates])
        with connection.transaction():
            inserting = _execute(connection, meter, inserts * passes)
        with connection.transaction():
            updating = _execute(connection, meter, updates * passes)
        committing = _execute(connection, meter, updates * passes)
        [(megabytes,)] = connection.execute(MEMORY).fetchall()
    return {
        FIRST: {name: 2 * value for name, value in first.items()},
        INSERT: inserting,
        UPDATE: updating,
        TRANSACTION: committing,
        SESSION: {"megabytes": megabytes},
    }


Prepared = tuple[bytes, Mapping[str, Any]]


def _update(shape: Shape, rows: int, rng: Random) -> Prepared:
    """An UPDATE of one row by a parameter."""
    statement = shape.update(shape.few, one(sql.Placeholder("key"))).as_bytes(None)
    return statement, {"key": rng.randint(1, rows)}


def _execute(
    connection: psycopg.Connection[Any], meter: Meter, statements: Sequence[Prepared]
) -> Figures:
    """Execute prepared statements one after the other; return the cost of one."""

    def work() -> None:
        for statement, parameters in statements:
            connection.execute(statement, parameters, prepare=True)

    return per_unit(meter.measure(work), len(statements))


def _with_clients(
    server: LocalServer,
    stage: Stage[Shape],
    clients: int,
    seconds: int,
    variant: Variant,
    number: int,
) -> Round:
    """Run pgbench; round 0, which only warms up, for a second."""
    update = stage.shape.update(stage.shape.few, one(sql.SQL(":key"))).as_string(None)
    load = pgbench.Load(
        [f"\\set key random(1, {stage.rows})\n{update};\n"],
        clients,
        seconds if number else 1,
        variant.session,
    )
    database = stage.database(variant).database
    assert database is not None
    return {PGBENCH: pgbench.run(server, database, load).figures()}


def render(result: dict[str, Any], page: Page) -> None:
    """A table and a plot for each curve, and whether it is flat."""
    page.add(METHOD.format(**result["effort"], flat=FLAT))
    for name, (title, text) in CURVES.items():
        page.heading(title, level=3)
        page.add(text)
        _render_curve(name, result[name], page)
    page.heading("Clients", level=3)
    page.add(CLIENTS.format(**result["effort"]))
    _render_clients(result["clients"], page)


def _render_curve(name: str, points: Sequence[Mapping[str, Any]], page: Page) -> None:
    actions = [
        action for action in (BULK, INSERT, UPDATE, TRANSACTION) if action in _ours(points[0])
    ]
    page.table(
        [f"CPU µs added, by {name}", *actions],
        [
            (f"{point['x']:,}", *(signed(_added(point, action)) for action in actions))
            for point in points
        ],
    )
    page.add(_verdict(points, actions))
    if FIRST in _ours(points[0]):
        page.table(
            [
                *("tables", "attach(), ms a table", "first INSERT and UPDATE, CPU µs added"),
                *("memory of the session, MB", "without capture, MB"),
            ],
            [_session_row(point, previous) for previous, point in pairwise([{"x": 0}, *points])],
        )
    page.plot(
        f"curve-{name}",
        {action: [(point["x"], _added(point, action)) for point in points] for action in actions},
        title=f"What capture adds, by {name}",
        x=name,
        y="CPU µs added",
        log_x=True,
    )


def _render_clients(points: Sequence[Mapping[str, Any]], page: Page) -> None:
    def figure(point: Mapping[str, Any], variant: Variant, name: str) -> float:
        return float(point["figures"][variant.name][PGBENCH][name]["median"])

    def latencies(point: Mapping[str, Any], variant: Variant) -> str:
        names = ("p50_ms", "p95_ms", "p99_ms")
        return " / ".join(number_text(figure(point, variant, name)) for name in names)

    page.table(
        [
            "clients",
            *("bare, tps", "captured, tps", "captured / bare"),
            *("bare, ms: 50 / 95 / 99 %", "captured, ms: 50 / 95 / 99 %", "CPU µs added"),
        ],
        [
            (
                str(point["x"]),
                figure(point, BARE, "tps"),
                figure(point, OURS, "tps"),
                f"{_ours(point)[PGBENCH]['tps']['ratio']:.2f}",
                latencies(point, BARE),
                latencies(point, OURS),
                signed(_ours(point)[PGBENCH]["cpu_us"]["added"]),
            )
            for point in points
        ],
    )
    page.plot(
        "curve-clients",
        {
            variant.title: [(point["x"], figure(point, variant, "tps")) for point in points]
            for variant in (BARE, OURS)
        },
        title="Transactions of one UPDATE, by clients",
        x="clients",
        y="transactions a second",
        log_x=True,
    )


def _ours(point: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = point["figures"][OURS.name]
    return found


def _added(point: Mapping[str, Any], action: str) -> float:
    return float(_ours(point)[action]["cpu_us"]["added"])


def _verdict(points: Sequence[Mapping[str, Any]], actions: Sequence[str]) -> str:
    first, last = points[0], points[-1]
    ratios = {action: _added(last, action) / _added(first, action) for action in actions}
    said = ", ".join(f"{action} {ratio:.2f}×" for action, ratio in ratios.items())
    verdict = "Flat" if max(ratios.values()) <= FLAT else "Not flat"
    return f"{verdict}: from {first['x']:,} to {last['x']:,} what capture adds becomes {said}."


def _session_row(point: Mapping[str, Any], previous: Mapping[str, Any]) -> Sequence[object]:
    megabytes = [
        point["figures"][variant.name][SESSION]["megabytes"]["median"] for variant in (OURS, BARE)
    ]
    attaching = point["growing_seconds"] * 1000 / (point["x"] - previous["x"])
    return (f"{point['x']:,}", attaching, _added(point, FIRST), *megabytes)
