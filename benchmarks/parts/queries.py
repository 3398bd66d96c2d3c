"""Latencies of the documented queries on a year of events, and what GIN indexes would add."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final, LiteralString

from psycopg import sql

from audit_schema.bench.meter import on_cpu, percentiles, schedstat
from audit_schema.bench.variant import install
from audit_schema.local_server import LocalServer
from benchmarks import synthetic
from benchmarks.lab import Lab
from benchmarks.plan import explain
from benchmarks.report import Page
from benchmarks.synthetic import Connection, Partition, Trail

TITLE: Final = "Queries on a full trail"

# Reading is measured: the load need not survive a crash. The planner settings are those of
# docker/postgresql.conf.
SETTINGS: Final = {
    "fsync": "off",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "max_wal_size": "2GB",
    "random_page_cost": 1.1,
    "effective_cache_size": "12GB",
}
KEYED_MS: Final = 10
DASHBOARD_MS: Final = 100
DAYS: Final = 30
"""How far back the searches look."""

ROW: Final = "SELECT * FROM audit.history(%(table)s::regclass, %(key)s::jsonb)"
ROW_ALL_TIME: Final = """
    SELECT * FROM audit.history(%(table)s::regclass, %(key)s::jsonb, p_from => '-infinity')"""
ROW_ALL_EVENTS: Final = """
    SELECT * FROM audit.history(
        %(table)s::regclass, %(key)s::jsonb, p_from => '-infinity', p_limit => 10000)"""
TABLE: Final = "SELECT * FROM audit.history(%(table)s::regclass)"
TABLE_PAGE: Final = "SELECT * FROM audit.history(%(table)s::regclass, p_before => %(cursor)s)"
TABLE_WEEK: Final = """
    SELECT * FROM audit.history(%(table)s::regclass, p_from => now() - interval '1 week')"""
ACTOR: Final = "SELECT * FROM audit.actor_activity(%(actor)s, now() - interval '1 month')"
TRANSACTION: Final = "SELECT * FROM audit.transaction_changes(%(transaction)s)"
METADATA: Final = """
    SELECT * FROM audit.change
     WHERE started_at >= now() - %(days)s * interval '1 day'
       AND metadata @> jsonb_build_object('request_id', %(request)s::text)
     ORDER BY occurred_at DESC LIMIT 100"""
METADATA_SEARCHED: Final = """
    SELECT * FROM audit.search(
        p_metadata => jsonb_build_object('request_id', %(request)s::text),
        p_from => now() - %(days)s * interval '1 day')"""
VALUE_SEARCHED: Final = """
    SELECT * FROM audit.search(
        p_new_values => jsonb_build_object('email', %(email)s::text),
        p_from => now() - %(days)s * interval '1 day')"""
VALUE: Final = """
    SELECT * FROM audit.change
     WHERE started_at >= now() - %(days)s * interval '1 day'
       AND new_values @> jsonb_build_object('email', %(email)s::text)
     ORDER BY occurred_at DESC LIMIT 100"""
ACTIONS: Final = """
    SELECT table_schema, table_name, action, sum(events)
      FROM audit.event_counts(now() - %(window)s::interval)
     GROUP BY table_schema, table_name, action"""
HOURS: Final = """
    SELECT hour, sum(events) FROM audit.event_counts(now() - %(window)s::interval)
     GROUP BY hour ORDER BY hour"""
ACTORS: Final = """
    SELECT * FROM audit.actor_counts(now() - %(window)s::interval)
     ORDER BY events DESC LIMIT 10"""
SCANNED: Final = """
    SELECT table_schema, table_name, action, count(*) FROM audit.change
     WHERE started_at >= now() - %(window)s::interval
     GROUP BY table_schema, table_name, action"""

READER: Final = "audit_reader"
CLERK: Final = "clerk"
"""Reads the busiest table only, by audit.grant_read()."""
ROLES: Final = """
    CREATE ROLE clerk;
    GRANT USAGE ON SCHEMA synthetic TO audit_reader, clerk"""
GRANT: Final = "SELECT audit.grant_read(%s::regclass, 'clerk')"
BEHIND: Final = "SELECT settled_to > counted_to FROM audit.counting"

SLOW_MS: Final = 2_000
"""A query that takes longer is not executed in new sessions and with empty buffers."""
PREPARED: Final = 12
"""After so many executions driver and server have prepared a statement and chosen its plan."""
EVICT: Final = "SELECT count(pg_buffercache_evict(bufferid)) FROM pg_buffercache"
CAN_EVICT: Final = "SELECT to_regproc('pg_buffercache_evict') IS NOT NULL"
SIZE: Final = "SELECT sum(total_bytes)::bigint FROM audit.partition"
GIN: Final = ("new_values", "metadata")
GIN_SIZE: Final = """
    SELECT pg_relation_size(format('audit.%%I', %s::text)::regclass), reltuples::bigint
      FROM pg_class WHERE oid = format('audit.%%I', %s::text)::regclass"""

SEARCHING: Final = """
    With the profile standard nothing helps to find a value inside of JSON: all of the window is
    read. The GIN indexes of the profile search find it. This benchmark builds them on the
    partitions that are searched; the minutes are those of one session after the other. The view
    audit.change puts the metadata of a statement together from two events, which hides them from an
    index; audit.search() looks for the transactions first.
    """
FIRST_EXECUTIONS: Final = """
    The first execution in a new session loads the catalog and plans. The first one after the
    shared buffers were emptied (from PostgreSQL 17 on) fetches its pages from the kernel's cache
    or the disk. Queries that take more than two seconds are left out.
    """

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Query:
    """One documented query; *arguments* draws its parameters anew for each execution."""

    name: str
    statement: LiteralString
    arguments: Callable[[], Arguments]
    target_ms: int
    role: str = READER


@dataclass(frozen=True)
class Effort:
    """How long to measure one query: executions and seconds at most, and first executions."""

    executions: int = 500
    seconds: float = 8.0
    first: int = 20


class Draw:
    """Draws parameters at random from what the trail holds."""

    def __init__(self, connection: Connection, trail: Trail) -> None:
        self._trail = trail
        self._rng = Random(3)
        self._transactions = [
            synthetic.transaction_id(connection, trail, trail.transaction(self._rng))
            for _ in range(500)
        ]
        self._cursors = list(self._find_cursors(connection, 100))

    def row(self) -> Arguments:
        table, key = self._trail.row(self._rng)
        return {"table": table, "key": str(key)}

    def busy_row(self) -> Arguments:
        table, key = self._trail.busy_row(self._rng)
        return {"table": table, "key": str(key)}

    def table(self) -> Arguments:
        return {"table": self._rng.choice(synthetic.NAMES)}

    def page(self) -> Arguments:
        return self._rng.choice(self._cursors)

    def actor(self) -> Arguments:
        return {"actor": self._trail.actor(self._rng)}

    def transaction(self) -> Arguments:
        return {"transaction": self._rng.choice(self._transactions)}

    def request(self) -> Arguments:
        return {"request": self._trail.request(self._rng, self._since()), "days": DAYS}

    def email(self) -> Arguments:
        return {"email": self._trail.email(self._rng, self._since()), "days": DAYS}

    def _since(self) -> datetime:
        return self._trail.end - timedelta(days=DAYS - 1)

    def _find_cursors(self, connection: Connection, wanted: int) -> list[Arguments]:
        """Positions within the tables at any time of the last 80 days."""
        found: list[Arguments] = []
        while len(found) < wanted:
            table = self._rng.choice(synthetic.NAMES)
            until = self._trail.end - timedelta(days=80) * self._rng.random()
            row = connection.execute(
                "SELECT cursor FROM audit.history(%s::regclass, p_to => %s, p_limit => 1)",
                [table, until],
            ).fetchone()
            found += [{"table": table, "cursor": row[0]}] if row else []
        return found


def measure(
    lab: Lab,
    events: int = 50_000_000,
    months: int = 12,
    effort: Effort | None = None,
) -> dict[str, Any]:
    """Load *events* events over *months* months, then time each query."""
    chosen = effort or lab.amount(Effort(), Effort(20, 0.2, 1))
    now = datetime.now(UTC)
    start = synthetic.months_before(now, lab.amount(months, 3))
    trail = Trail(lab.amount(events, 10_000), start, now)
    with lab.server(SETTINGS) as server, server.connect(autocommit=True) as connection:
        with lab.step("installing"):
            install(connection)
            connection.execute("CREATE EXTENSION pg_buffercache")
        loaded = _load(lab, server, connection, trail)
        loaded |= _count(lab, connection)
        bench = _Bench(lab, server, connection, chosen)
        draw = Draw(connection, trail)
        queries = [*_keyed(draw), *_restricted(draw), *_dashboards()]
        timed = [bench.time(query) for query in queries]
        plain = [bench.time(query) for query in _searches(draw)]
        searched = range(max(0, trail.cycle_at(now - timedelta(days=DAYS))), trail.cycles)
        gin = _build_gin(lab, server, synthetic.partitions(connection, trail, searched))
        indexed = [bench.time(query) for query in _searches(draw)]
    return {
        **loaded,
        "executions": chosen.executions,
        "seconds": chosen.seconds,
        "queries": timed,
        "searches": {"without": plain, "with": indexed},
        "gin": gin,
    }


def render(result: dict[str, Any], page: Page) -> None:
    """Add the tables and the plans."""
    page.add(_introduction(result))
    page.table(*_latencies(result["queries"]))
    page.heading("Search in metadata and values", level=3)
    page.add(SEARCHING)
    searches = [
        {**query, "name": f"{query['name']}, {label}"}
        for queries, label in (
            (result["searches"]["without"], "as installed"),
            (result["searches"]["with"], "with GIN"),
        )
        for query in queries
    ]
    page.table(*_latencies(searches))
    page.table(
        ["GIN, jsonb_path_ops", "rows", "MB", "bytes a row", "minutes", "µs a row"],
        [_gin_row(column, result["gin"]) for column in GIN],
    )
    page.heading("First executions", level=3)
    page.add(FIRST_EXECUTIONS)
    page.table(
        [
            "ms",
            *("new session, p50", "new session, max"),
            *("empty buffers, p50", "empty buffers, max"),
        ],
        [_first_row(query) for query in [*result["queries"], *searches]],
    )
    page.heading("Statements and plans", level=3)
    for query in [*result["queries"], *searches]:
        page.code(f"{_dedent(query['statement'])}\n\n{query['plan']}", title=query["name"])


def _keyed(draw: Draw) -> list[Query]:
    return [
        Query("any row, last 90 days", ROW, draw.row, KEYED_MS),
        Query("any row, all time", ROW_ALL_TIME, draw.row, KEYED_MS),
        Query("busy row, last 90 days, 100 events", ROW, draw.busy_row, KEYED_MS),
        Query("busy row, all time, 100 events", ROW_ALL_TIME, draw.busy_row, KEYED_MS),
        Query("busy row, all its events", ROW_ALL_EVENTS, draw.busy_row, DASHBOARD_MS),
        Query("table, newest 100 events", TABLE, draw.table, KEYED_MS),
        Query("table, deep page by cursor", TABLE_PAGE, draw.page, KEYED_MS),
        Query("table, last week", TABLE_WEEK, draw.table, KEYED_MS),
        Query("actor, last month", ACTOR, draw.actor, KEYED_MS),
        Query("changes of a transaction", TRANSACTION, draw.transaction, KEYED_MS),
    ]


def _restricted(draw: Draw) -> list[Query]:
    """Look-ups by somebody to whom row security shows one table."""
    mine = {"table": synthetic.NAMES[0]}
    return [
        Query(
            "reader of one table: busy row, all time", ROW_ALL_TIME, draw.busy_row, KEYED_MS, CLERK
        ),
        Query("reader of one table: its newest events", TABLE, lambda: mine, KEYED_MS, CLERK),
        Query("reader of one table: actor, last month", ACTOR, draw.actor, KEYED_MS, CLERK),
    ]


def _searches(draw: Draw) -> list[Query]:
    value, request = f"e-mail address, last {DAYS} days", f"request id, last {DAYS} days"
    return [
        Query(f"{request}, by the view", METADATA, draw.request, DASHBOARD_MS),
        Query(f"{request}, by audit.search", METADATA_SEARCHED, draw.request, DASHBOARD_MS),
        Query(f"{value}, by the view", VALUE, draw.email, DASHBOARD_MS),
        Query(f"{value}, by audit.search", VALUE_SEARCHED, draw.email, DASHBOARD_MS),
    ]


def _dashboards() -> list[Query]:
    def over(window: str) -> Callable[[], Arguments]:
        return lambda: {"window": window}

    return [
        Query("events by table and action, 24 hours", ACTIONS, over("24 hours"), DASHBOARD_MS),
        Query("events by table and action, 7 days", ACTIONS, over("7 days"), DASHBOARD_MS),
        Query("events by table and action, 30 days", ACTIONS, over("30 days"), DASHBOARD_MS),
        Query("events by hour, 24 hours", HOURS, over("24 hours"), DASHBOARD_MS),
        Query("events by hour, 7 days", HOURS, over("7 days"), DASHBOARD_MS),
        Query("ten busiest actors, 7 days", ACTORS, over("7 days"), DASHBOARD_MS),
        Query("for comparison: 7 days, from audit.change", SCANNED, over("7 days"), DASHBOARD_MS),
    ]


def _load(lab: Lab, server: LocalServer, connection: Connection, trail: Trail) -> dict[str, Any]:
    begin = time.monotonic()
    synthetic.prepare(connection, trail)
    connect = partial(server.connect, autocommit=True)
    partitions = synthetic.partitions(connection, trail)
    for partition in partitions:
        with lab.step(f"filling {partition.name}"):
            synthetic.fill(connect, trail, partition)
    seconds = time.monotonic() - begin
    synthetic.check(connection, trail)
    [(size,)] = connection.execute(SIZE).fetchall()
    return {
        "events": trail.cycles * synthetic.CYCLE,
        "transactions": trail.cycles * trail.transactions,
        "partitions": len(partitions),
        "load_seconds": round(seconds, 1),
        "bytes": size,
    }


def _count(lab: Lab, connection: Connection) -> dict[str, Any]:
    """Count the events as maintenance does, until it is up to date."""
    connection.execute(ROLES)
    connection.execute(GRANT, [synthetic.NAMES[0]])
    seconds = 0.0
    with lab.step("closing partitions, counting events"):
        synthetic.maintain(connection)  # counts nothing yet
        while connection.execute(BEHIND).fetchone() == (True,):
            seconds += synthetic.maintain(connection)
        connection.execute("VACUUM (ANALYZE) audit.event_count, audit.actor_count")
    return {"count_seconds": round(seconds, 1)}


def _act_as(connection: Connection, role: str) -> None:
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))


@dataclass
class _Bench:
    """Times queries on one loaded database."""

    lab: Lab
    server: LocalServer
    connection: Connection
    effort: Effort

    def time(self, query: Query) -> dict[str, Any]:
        """Latencies in milliseconds: warm, in new sessions, with empty buffers; and the plan."""
        with self.lab.step(query.name):
            warm = self._warm(query)
            slow = warm["p50"] > SLOW_MS
            session = None if slow else self._first(query, evict=False)
            evicted = None if slow or not self._can_evict() else self._first(query, evict=True)
            plan = self._plan(query, 0 if slow else PREPARED)
        return {
            "name": query.name,
            "statement": query.statement,
            "target_ms": query.target_ms,
            "warm": warm,
            "new_session": session,
            "empty_buffers": evicted,
            "plan": plan,
        }

    def _warm(self, query: Query) -> dict[str, float]:
        """Execute it again and again in one session; the first tenth only warms up."""
        effort = self.effort
        with self.server.connect(autocommit=True) as connection:
            _act_as(connection, query.role)
            warming = max(PREPARED, effort.executions // 10)
            _repeat(connection, query, warming, effort.seconds / 5)
            file = schedstat(connection)
            before = on_cpu(file) if file else 0
            times, rows = _repeat(connection, query, effort.executions, effort.seconds)
            used = on_cpu(file) - before if file else 0
        p50, p95, p99 = percentiles(times)
        return {
            "executions": len(times),
            "rows": round(rows / len(times), 1),
            "p50": round(p50, 3),
            "p95": round(p95, 3),
            "p99": round(p99, 3),
            "max": round(max(times), 3),
            "cpu": round(used / len(times) / 1e6, 3),
        }

    def _first(self, query: Query, *, evict: bool) -> dict[str, float]:
        """Execute it once in each of several new sessions, or after the buffers were emptied."""
        times: list[float] = []
        until = time.monotonic() + self.effort.seconds / 2
        while len(times) < self.effort.first and (time.monotonic() < until or not times):
            with self.server.connect(autocommit=True) as connection:
                if evict:
                    _act_as(connection, query.role)
                    _execute(connection, query)
                    connection.execute("RESET ROLE")
                    connection.execute(EVICT)
                _act_as(connection, query.role)
                times.append(_execute(connection, query)[0])
        [p50] = percentiles(times, [50])
        return {"executions": len(times), "p50": round(p50, 3), "max": round(max(times), 3)}

    def _can_evict(self) -> bool:
        return self.connection.execute(CAN_EVICT).fetchone() == (True,)

    def _plan(self, query: Query, before: int) -> str:
        """The plan of the statement that reads the trail, after so many executions *before*."""
        with self.server.connect(autocommit=True) as connection:
            _act_as(connection, query.role)
            _repeat(connection, query, before, self.effort.seconds / 5)
            connection.execute("RESET ROLE")

            def work() -> None:
                _act_as(connection, query.role)
                _execute(connection, query)

            return explain(connection, work)


def _repeat(
    connection: Connection, query: Query, executions: int, seconds: float
) -> tuple[list[float], int]:
    """Times of so many executions, or of as many as so many seconds allow; and the rows of all."""
    times: list[float] = []
    rows = 0
    until = time.monotonic() + seconds
    while len(times) < executions and (time.monotonic() < until or not times):
        elapsed, got = _execute(connection, query)
        times.append(elapsed)
        rows += got
    return times, rows


def _execute(connection: Connection, query: Query) -> tuple[float, int]:
    """Milliseconds until all rows have arrived, and their number; nothing is decoded."""
    arguments = query.arguments()
    begin = time.perf_counter()
    cursor = connection.execute(query.statement, arguments)
    return (time.perf_counter() - begin) * 1000, cursor.rowcount


def _build_gin(
    lab: Lab, server: LocalServer, partitions: Sequence[Partition]
) -> list[dict[str, Any]]:
    """Build the GIN indexes of each partition, two at the same time."""
    wanted = [(partition, column) for partition in partitions for column in GIN]
    with lab.step("building GIN indexes"), ThreadPoolExecutor(synthetic.SESSIONS) as pool:
        return list(pool.map(lambda one: _build_one(server, *one), wanted))


def _build_one(server: LocalServer, partition: Partition, column: str) -> dict[str, Any]:
    index = f"{partition.name}_{column}_idx"
    with server.connect(autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        begin = time.monotonic()
        connection.execute(
            sql.SQL("CREATE INDEX {} ON {} USING gin ({} jsonb_path_ops)").format(
                sql.Identifier(index), partition.identifier, sql.Identifier(column)
            )
        )
        seconds = time.monotonic() - begin
        row = connection.execute(GIN_SIZE, [index, partition.name]).fetchone()
    assert row is not None
    return {
        "column": column,
        "partition": partition.name,
        "rows": row[1],
        "bytes": row[0],
        "seconds": round(seconds, 2),
    }


def _introduction(result: Mapping[str, Any]) -> str:
    gigabytes = result["bytes"] / 1e9
    return f"""
    {result["events"]:,} events in {result["transactions"]:,} transactions of 1,000 actors, over 20
    tables and {result["partitions"]} monthly partitions: {gigabytes:.1f} GB with indexes.
    `benchmarks/synthetic.py` generates them on the server, here at
    {result["events"] / result["load_seconds"]:,.0f} events a second with indexes and VACUUM. Of ten
    events three are inserts, six updates, one a delete; the busiest rows have some thousand events,
    most rows a few.

    Each query runs up to {result["executions"]} times in one session, as long as
    {result["seconds"]:.0f} seconds allow, each time with other parameters drawn at random; before
    that it runs to warm up. Times are the client's, until all rows have arrived; CPU is what the
    session's server process used for one execution, without that of parallel workers. All are asked
    as a reader of the trail, some as one whom row security shows one table only. Maintenance counts
    the events hour by hour, which took {result["count_seconds"] / result["events"] * 1e6:.2f} µs an
    event; counts are read from there, and those of the last three hours, which are not counted
    yet, from the events. Look-ups by
    a key shall take at most {KEYED_MS} ms at p95, counts and searches at most {DASHBOARD_MS} ms.
    Since only reading is measured, this server runs with fsync off; random_page_cost and
    effective_cache_size are set as docker/postgresql.conf advises.
    """


def _latencies(
    queries: Sequence[Mapping[str, Any]],
) -> tuple[Sequence[str], list[Sequence[object]]]:
    columns = ["query", "runs", "rows", "p50, ms", "p95, ms", "p99, ms", "CPU, ms", "target", "met"]
    return columns, [
        (
            query["name"],
            f"{query['warm']['executions']}",
            *(query["warm"][figure] for figure in ("rows", "p50", "p95", "p99", "cpu")),
            f"{query['target_ms']} ms",
            "yes" if query["warm"]["p95"] <= query["target_ms"] else "**no**",
        )
        for query in queries
    ]


def _first_row(query: Mapping[str, Any]) -> Sequence[object]:
    nothing = {"p50": None, "max": None}
    found = [query[name] or nothing for name in ("new_session", "empty_buffers")]
    return (query["name"], *(one[figure] for one in found for figure in ("p50", "max")))


def _gin_row(column: str, built: Sequence[Mapping[str, Any]]) -> Sequence[object]:
    indexes = [index for index in built if index["column"] == column]
    rows, size, seconds = (
        sum(index[figure] for index in indexes) for figure in ("rows", "bytes", "seconds")
    )
    return (column, rows, size / 1e6, size / rows, seconds / 60, seconds * 1e6 / rows)


def _dedent(statement: str) -> str:
    lines = [line for line in statement.splitlines() if line.strip()]
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[margin:] for line in lines)
