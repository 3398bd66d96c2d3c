"""Rates: paced, as high as they go, and kept up for minutes beside maintenance and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import mean, median
from threading import Barrier, Event
from typing import Any, Final

from psycopg import sql

from audit_schema.bench.stage import Stage, staged
from audit_schema.bench.variant import OURS
from audit_schema.bench.workload import ACCOUNT, Shape, span
from audit_schema.database import sqlalchemy_url
from audit_schema.local_server import LocalServer
from benchmarks import pgbench
from benchmarks.lab import Lab
from benchmarks.report import Page, number_text, signed

TITLE: Final = "Rates"

# Checkpoints come more often than in production, so that a run of minutes meets some.
SETTINGS: Final = {
    "autovacuum": "on",
    "autovacuum_naptime": "30s",
    "checkpoint_timeout": "2min",
    "max_wal_size": "4GB",
    "log_checkpoints": "on",
}
PACES: Final = ((100, 1), (1_000, 1), (10_000, 10))
"""Events a second, and rows of a statement."""
CLIENTS: Final = 4
SHARE: Final = 0.6
"""Part of the highest rate that is kept up, with statements of so many rows:"""
KEPT_UP_ROWS: Final = 10
SLICE: Final = 10
"""Seconds of a slice, and from one maintenance to the next."""
CAPTURED: Final = 50_000
IN_BULK: Final = 100_000
"""Events a second to reach on two cores: with up to 1,000 rows a statement, and in bulk."""
CORES: Final = (4, 8, 16, 64)

MAINTENANCE: Final = """
    SELECT status, extract(epoch FROM finished_at - started_at)::float8 * 1000
      FROM audit.run_maintenance()"""
VACUUMS: Final = "SELECT sum(autovacuum_count)::bigint FROM pg_stat_user_tables"
TRAIL_BYTES: Final = "SELECT sum(total_bytes)::bigint FROM audit.partition"

METHOD: Final = """
    One event for each row. The table is that of the first part, each client writes to rows of its
    own, the context is set once a session. pgbench and the server share the two cores; fsync and
    synchronous_commit are on, autovacuum is on, a checkpoint comes every two minutes or 4 GB, and
    partitions are daily. Cores are those that were busy, on average: 2.0 is the whole machine.
    """
PACED: Final = """
    Transactions of one statement, INSERT and UPDATE by turns, from {clients} clients, {paced}
    seconds each. Latency counts from when the transaction was due, and ends with its commit.
    """
HIGHEST: Final = """
    Transactions of one statement, without a pause, {highest} seconds each. Bulk statements have
    {bulk:,} rows and run in two sessions at the same time; COPY is fed from Python.
    """
MODEL: Final = """
    This is a model, not a measurement: events a second = cores / CPU of an event, with the CPU of
    the whole server at two clients from the table above, INSERT and UPDATE in equal parts. It
    leaves out the clients, which run elsewhere then, waiting for the disk and for each other (WAL
    insertion, extension of tables, the memory bus), and whatever the application itself does. The
    WAL that the rate would make is computed from the WAL of an event, and shows where the disk is
    the limit before the processors are.
    """


@dataclass(frozen=True)
class Effort:
    """Seconds of each run, and how much is written."""

    paced: int = 20
    highest: int = 6
    kept_up: int = 600
    rows: int = 200_000
    sizes: tuple[int, ...] = (1, 10, 100, 1_000)
    clients: tuple[int, ...] = (2, 4)
    bulk: int = 100_000
    bulk_times: int = 5


def measure(lab: Lab, effort: Effort | None = None) -> dict[str, Any]:
    """Measure paced rates, the highest rates, and one that is kept up."""
    how = effort or lab.amount(Effort(), Effort(1, 1, 2, 8_000, (1, 100), (2,), 1_000, 2))
    with _stage(lab, how) as (server, stage):
        paced = [_paced(lab, server, stage, how, *pace) for pace in PACES]
        highest = [
            _highest(lab, server, stage, how, verb, size, clients)
            for size in how.sizes
            for verb in VERBS
            for clients in how.clients
        ]
        bulk = [_bulk(lab, server, stage, how, verb) for verb in ("INSERT", "COPY")]
    with _stage(lab, how) as (server, stage):
        kept_up = _keep_up(lab, server, stage, how)
    return {
        "effort": {**asdict(how), "pgbench_clients": CLIENTS},
        "paced": paced,
        "highest": highest,
        "bulk": bulk,
        "kept_up": kept_up,
    }


@contextmanager
def _stage(lab: Lab, effort: Effort) -> Iterator[tuple[LocalServer, Stage[Shape]]]:
    """Yield a server of its own and the audited table on it, with daily partitions."""
    with (
        lab.server(SETTINGS) as server,
        staged(sqlalchemy_url(server.url()), ACCOUNT, effort.rows, [OURS], lab.console) as stage,
    ):
        with stage.connect(OURS) as connection:
            connection.execute("SELECT audit.set_partitioning('day', 7)")
        yield server, stage


def _insert(effort: Effort, size: int, clients: int) -> str:
    return f"{ACCOUNT.insert(size).as_string(None)};\n"


def _update(effort: Effort, size: int, clients: int) -> str:
    """An UPDATE of *size* neighbouring rows, each client within a part of its own."""
    part = effort.rows // clients
    where = span(sql.SQL(":key"), size)
    statement = ACCOUNT.update(ACCOUNT.few, where).as_string(None)
    last = f"(:client_id + 1) * {part} - {size - 1}"
    return f"\\set key random(:client_id * {part} + 1, {last})\n{statement};\n"


VERBS: Final = {"INSERT": _insert, "UPDATE": _update}


def _load(
    effort: Effort,
    verbs: Sequence[str],
    size: int,
    clients: int,
    seconds: int,
    rate: float | None = None,
) -> pgbench.Load:
    scripts = [VERBS[verb](effort, size, clients) for verb in verbs]
    return pgbench.Load(scripts, clients, seconds, OURS.session, rate)


def _paced(
    lab: Lab, server: LocalServer, stage: Stage[Shape], effort: Effort, events: int, size: int
) -> dict[str, Any]:
    load = _load(effort, list(VERBS), size, CLIENTS, effort.paced, events / size)
    with lab.step(f"{events:,} events a second, {size} a statement"):
        figures = pgbench.run(server, _database(stage), load).figures()
    return {"wanted": events, "size": size, **figures}


def _highest(
    lab: Lab,
    server: LocalServer,
    stage: Stage[Shape],
    effort: Effort,
    verb: str,
    size: int,
    clients: int,
) -> dict[str, Any]:
    load = _load(effort, [verb], size, clients, effort.highest)
    with lab.step(f"{verb} of {size:,} rows, {clients} clients"):
        figures = pgbench.run(server, _database(stage), load).figures()
    return {"verb": verb, "size": size, "clients": clients, **figures}


def _bulk(
    lab: Lab, server: LocalServer, stage: Stage[Shape], effort: Effort, verb: str
) -> dict[str, Any]:
    """Bulk statements in two sessions at the same time, several times; the median counts."""
    first = (10 if verb == "COPY" else 20) * 1_000_000_000
    starts = [first + session * 1_000_000 for session in range(2)]
    seconds: list[float] = []
    cpu: list[float] = []
    with lab.step(f"{verb} of {effort.bulk:,} rows"):
        for number in range(effort.bulk_times):
            firsts = [start + number * effort.bulk for start in starts]
            took, used = _bulk_once(server, stage, effort, verb, firsts)
            seconds.append(took)
            cpu.append(used)
    events = len(starts) * effort.bulk
    return {
        "verb": verb,
        "size": effort.bulk,
        "sessions": len(starts),
        "events_per_second": events / median(seconds),
        "cpu_us": median(cpu) / events * 1e6,
    }


def _bulk_once(
    server: LocalServer, stage: Stage[Shape], effort: Effort, verb: str, firsts: Sequence[int]
) -> tuple[float, float]:
    """Seconds until all sessions were through, and seconds of CPU of the server."""
    barrier = Barrier(len(firsts) + 1)

    def write(first: int) -> None:
        last = first + effort.bulk - 1
        with stage.connect(OURS) as connection, connection.cursor() as cursor:
            blocks: list[bytes] = []
            if verb == "COPY":
                rows = sql.SQL("COPY ({}) TO STDOUT").format(stage.shape.rows(first, last))
                with cursor.copy(rows) as copy:
                    blocks = [bytes(block) for block in copy]
            barrier.wait()
            if verb == "INSERT":
                cursor.execute(stage.shape.insert_bulk(first, last))
                return
            into = sql.SQL("COPY {} FROM STDIN").format(stage.shape.identifier)
            with cursor.copy(into) as copy:
                for block in blocks:
                    copy.write(block)

    with ThreadPoolExecutor(len(firsts)) as pool:
        done = [pool.submit(write, first) for first in firsts]
        barrier.wait()
        begin, before = time.perf_counter(), pgbench.server_cpu(server)
        for future in done:
            future.result()
        return time.perf_counter() - begin, pgbench.server_cpu(server) - before


def _keep_up(lab: Lab, server: LocalServer, stage: Stage[Shape], effort: Effort) -> dict[str, Any]:
    """Keep up a part of the highest rate for minutes, with maintenance all the time."""
    database = _database(stage)
    load = _load(effort, list(VERBS), KEPT_UP_ROWS, CLIENTS, effort.highest)
    with lab.step("the highest rate"):
        highest = pgbench.run(server, database, load).tps
    rate = SHARE * highest
    load = _load(effort, list(VERBS), KEPT_UP_ROWS, CLIENTS, effort.kept_up, rate)
    stop = Event()
    with (
        stage.connect(OURS) as watcher,
        ThreadPoolExecutor(1) as pool,
        lab.step(f"{rate * KEPT_UP_ROWS:,.0f} events a second for {effort.kept_up} seconds"),
    ):
        vacuums, checkpoints = _number(watcher, VACUUMS), _checkpoints(server)
        maintenance = pool.submit(_maintain, stage, stop)
        try:
            outcome = pgbench.run(server, database, load)
        finally:
            stop.set()
        runs = maintenance.result()
        return {
            "highest": highest * KEPT_UP_ROWS,
            "wanted": rate * KEPT_UP_ROWS,
            "size": KEPT_UP_ROWS,
            **outcome.figures(),
            "slices": outcome.slices(min(SLICE, effort.kept_up / 4)),
            "maintenance": runs,
            "autovacuums": _number(watcher, VACUUMS) - vacuums,
            "checkpoints": _checkpoints(server) - checkpoints,
            "trail_bytes": _number(watcher, TRAIL_BYTES),
        }


def _maintain(stage: Stage[Shape], stop: Event) -> dict[str, Any]:
    """Run the maintenance again and again until told to stop; say how it went."""
    milliseconds: list[float] = []
    statuses: list[str] = []
    with stage.connect(OURS) as connection:
        while not stop.wait(SLICE if milliseconds else 0):
            [(status, took)] = connection.execute(MAINTENANCE).fetchall()
            statuses.append(status)
            milliseconds.append(took)
    return {
        "runs": len(statuses),
        "not_ok": len([status for status in statuses if status != "ok"]),
        "max_ms": max(milliseconds),
    }


def _database(stage: Stage[Shape]) -> str:
    name = stage.database(OURS).database
    assert name is not None
    return name


def _number(connection: Any, query: str) -> int:
    [(value,)] = connection.execute(query).fetchall()
    return int(value or 0)


def _checkpoints(server: LocalServer) -> int:
    return server.log.read_text(encoding="utf-8", errors="replace").count("checkpoint complete")


def render(result: dict[str, Any], page: Page) -> None:
    """Paced, highest and kept-up rates, then the model."""
    page.add(METHOD)
    page.heading("Paced", level=3)
    page.add(PACED.format(**{**result["effort"], "clients": result["effort"]["pgbench_clients"]}))
    page.table(
        [
            *("events a second", "a statement", "reached", "p50, ms", "p95, ms", "p99, ms"),
            *("server, cores", "pgbench, cores"),
        ],
        [_paced_row(run) for run in result["paced"]],
    )
    page.heading("Highest", level=3)
    page.add(HIGHEST.format(**result["effort"]))
    page.table(
        [
            *("statement", "clients", "events a second", "p50, ms", "p95, ms"),
            *("CPU µs an event", "WAL bytes an event", "server, cores"),
        ],
        [_highest_row(run) for run in result["highest"]],
    )
    page.table(
        ["two sessions", "events a second", "CPU µs an event"],
        [
            (f"{run['verb']} of {run['size']:,} rows", run["events_per_second"], run["cpu_us"])
            for run in result["bulk"]
        ],
    )
    page.add(_claims(result))
    page.heading("Kept up", level=3)
    _render_kept_up(result["kept_up"], page)
    page.heading("A model for more cores", level=3)
    page.add(MODEL)
    page.table(
        [
            *("rows a statement", "CPU µs an event"),
            *(f"{cores} cores, events a second" for cores in CORES),
            f"WAL at {CORES[-1]} cores, MB a second",
        ],
        [_model_row(result, size) for size in result["effort"]["sizes"]],
    )


def _paced_row(run: Mapping[str, Any]) -> Sequence[object]:
    return (
        f"{run['wanted']:,}",
        f"{run['size']}",
        run["tps"] * run["size"],
        *(run[name] for name in ("p50_ms", "p95_ms", "p99_ms", "server_cores", "client_cores")),
    )


def _highest_row(run: Mapping[str, Any]) -> Sequence[object]:
    size = run["size"]
    return (
        f"{run['verb']} of {size:,} row{'s' * (size > 1)}",
        f"{run['clients']}",
        run["tps"] * size,
        *(run["p50_ms"], run["p95_ms"]),
        *(run["cpu_us"] / size, run["wal_bytes"] / size),
        run["server_cores"],
    )


def _claims(result: Mapping[str, Any]) -> str:
    bulk = max(run["events_per_second"] for run in result["bulk"])
    best = {
        verb: max(run["tps"] * run["size"] for run in result["highest"] if run["verb"] == verb)
        for verb in VERBS
    }
    captured = "; ".join(f"{verb} {_met(rate, CAPTURED)}" for verb, rate in best.items())
    return (
        f"To reach on two cores, {CAPTURED:,} events a second with up to 1,000 rows a statement: "
        f"{captured}. {IN_BULK:,} in bulk: {_met(bulk, IN_BULK)}."
    )


def _met(reached: float, wanted: float) -> str:
    return f"{reached:,.0f}, {'reached' if reached >= wanted else '**not reached**'}"


def _render_kept_up(run: Mapping[str, Any], page: Page) -> None:
    slices = run["slices"]
    minutes = (slices[-1]["second"] - slices[0]["second"]) / 60
    maintenance = run["maintenance"]
    page.add(f"""
        {SHARE:.0%} of the highest rate with statements of {run["size"]} rows, which was
        {run["highest"]:,.0f} events a second: {run["wanted"]:,.0f} wanted,
        {run["tps"] * run["size"]:,.0f} reached, {run["transactions"]:,} transactions. Meanwhile
        audit.run_maintenance() ran {maintenance["runs"]} times, once every {SLICE} seconds
        ({maintenance["not_ok"]} not ok, at most {maintenance["max_ms"]:.0f} ms), with
        {run["checkpoints"]} checkpoints and {run["autovacuums"]} tables vacuumed. The trail grew to
        {run["trail_bytes"] / 1e9:.1f} GB. The server kept {run["server_cores"]:.2f} cores busy,
        pgbench {run["client_cores"]:.2f}. Over all: p50 {number_text(run["p50_ms"])} ms, p95
        {number_text(run["p95_ms"])} ms, p99 {number_text(run["p99_ms"])} ms.
        """)
    page.plot(
        "kept-up",
        {
            name: [(part["second"] / 60, part[figure]) for part in slices]
            for name, figure in (("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms"))
        },
        title=f"Latency of each {SLICE} seconds at {run['wanted']:,.0f} events a second",
        x="minutes",
        y="ms",
        log_y=True,
    )
    drifts = [
        _drift([(part["second"] / 60, part[f"{name}_ms"]) for part in slices], minutes, name)
        for name in ("p50", "p95")
    ]
    page.add(
        "Drift, by the median of the slopes between any two slices (Theil and Sen), which single "
        f"slices with a checkpoint cannot bend: {'; '.join(drifts)}."
    )


def _drift(points: Sequence[tuple[float, float]], minutes: float, name: str) -> str:
    slope = median(
        (late[1] - early[1]) / (late[0] - early[0]) for early, late in combinations(points, 2)
    )
    change = slope * minutes / median(latency for _, latency in points)
    return (
        f"{name} {signed(slope * 1000)} µs a minute, {change:+.0%} of its median over "
        f"{minutes:.0f} minutes"
    )


def _model_row(result: Mapping[str, Any], size: int) -> Sequence[object]:
    runs = [
        run
        for run in result["highest"]
        if run["size"] == size and run["clients"] == result["effort"]["clients"][0]
    ]
    cpu = mean(run["cpu_us"] / size for run in runs)
    wal = mean(run["wal_bytes"] / size for run in runs)
    rates = [cores * 1e6 / cpu for cores in CORES]
    return (f"{size:,}", cpu, *rates, rates[-1] * wal / 1e6)
