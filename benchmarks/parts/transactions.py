"""What a short transaction costs from BEGIN to COMMIT: CPU of the server, WAL and latency."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from random import Random
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.types.numeric import Int8

import audit_schema
from audit_schema.bench.by_hand import BY_HAND, ByHand
from audit_schema.bench.capture import TEN, per_unit
from audit_schema.bench.meter import Meter, percentiles
from audit_schema.bench.rounds import Round, summarise, take_rounds
from audit_schema.bench.stage import Stage, staged
from audit_schema.bench.variant import ACTOR, BARE, METADATA, OURS, Variant
from audit_schema.bench.workload import ACCOUNT, Shape, Writer, one, span
from audit_schema.database import sqlalchemy_url
from benchmarks.lab import Lab
from benchmarks.report import Page, number_text

TITLE: Final = "What a short transaction costs"

COMMITS: Final = ("on", "off")
ACTIONS: Final = ("one-row INSERT", "one-row UPDATE", "one-row DELETE", "ten-row UPDATE")
SINGLE: Final = ACTIONS[:3]
LIMIT: Final = 1.5
WARM_UP: Final = 20
METHOD: Final = """
Whole transactions over a Unix-domain socket: BEGIN, one prepared statement, COMMIT, one after the
other in one session of psycopg; a round has {on:,} of each kind with synchronous_commit = on and
{off:,} with off. The table is that of the part before, with {rows:,} rows, so that the first round
touches nearly all pages and WAL holds few whole pages later. With audit_schema the context travels
with each BEGIN, as `audit_schema.install()` has it; the peers get theirs once for the session,
which costs them nothing here. Latency is that of the client, in Python on the same machine.
"""
KEY: Final = sql.Placeholder("key")


def measure(lab: Lab) -> dict[str, Any]:
    """Measure all variants that record in the database, under both kinds of commit."""
    variants = [BARE, OURS, BY_HAND, *(peer for peer in lab.peers if not peer.logical)]
    counts = lab.amount({"on": 300, "off": 1_000}, dict.fromkeys(COMMITS, 20))
    rows = lab.amount(20_000, 2_000)
    with lab.server() as server:
        url = sqlalchemy_url(server.url())
        with staged(url, ACCOUNT, rows, variants, lab.console) as stage:
            run = partial(_run, stage, counts)
            rounds = take_rounds(variants, lab.rounds, run, lab.console)
    return {
        "rows": rows,
        "counts": counts,
        "titles": {variant.name: variant.title for variant in variants},
        "figures": summarise(rounds, BARE.name),
    }


def _run(stage: Stage[Shape], counts: Mapping[str, int], variant: Variant, number: int) -> Round:
    writer: Writer = ByHand(stage.shape) if variant.by_hand else stage.shape
    figures: dict[str, Mapping[str, float]] = {}
    for commit, count in counts.items():
        with session(stage, variant) as connection:
            connection.execute("SELECT set_config('synchronous_commit', %s, false)", [commit])
            for action in ACTIONS:
                keys = _keys(connection, stage, action, WARM_UP + count, number)
                statement = _statement(writer, stage.shape, action)
                figures[_named(action, commit)] = transact(connection, statement, keys)
    return figures


@contextmanager
def session(
    stage: Stage[Shape], variant: Variant, metadata: str | None = METADATA
) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection under a context with *metadata*; None: without actor and context.

    Ours goes with each BEGIN; that of the others is set once, with the metadata replaced.
    """
    context: AbstractContextManager[object] = nullcontext()
    if metadata is not None and variant.session == OURS.session:
        context = audit_schema.context(ACTOR, **json.loads(metadata))
    with context, stage.connect(variant, session=False) as connection:
        if variant.session == OURS.session:
            audit_schema.install(connection)
        elif metadata is not None:
            for statement in variant.session:
                connection.execute(statement.replace(METADATA[1:-1], metadata[1:-1]).encode())
        yield connection


def transact(
    connection: psycopg.Connection[Any], statement: sql.Composed, keys: Sequence[int]
) -> dict[str, float]:
    """Run *statement* once for each key, in transactions of their own; return their figures.

    The first WARM_UP keys prepare it and are not counted.
    """
    query = statement.as_bytes(connection)
    latencies: list[int] = []

    def work(some: Sequence[int]) -> None:
        for key in some:
            begin = time.perf_counter_ns()
            with connection.transaction():
                connection.execute(query, {"key": Int8(key)}, prepare=True)
            latencies.append(time.perf_counter_ns() - begin)

    work(keys[:WARM_UP])
    latencies.clear()
    cost = Meter(connection).measure(partial(work, keys[WARM_UP:]))
    p50, p95, p99 = (latency / 1000 for latency in percentiles(latencies))
    return {**per_unit(cost, len(latencies)), "p50_us": p50, "p95_us": p95, "p99_us": p99}


def render(result: dict[str, Any], page: Page) -> None:
    """CPU and its ratio to the bare transaction, then WAL, then latencies."""
    figures, titles = result["figures"], result["titles"]
    page.add(METHOD.format(rows=result["rows"], **result["counts"]))
    page.add(_budget(figures[OURS.name]))
    for commit in COMMITS:
        page.heading(f"CPU, synchronous_commit = {commit}", level=3)
        page.table(
            ["CPU µs a transaction (ratio to bare)", *ACTIONS], _cpu_rows(figures, titles, commit)
        )
    page.bars(
        "transactions",
        {action: _ratios(figures, titles, action) for action in ACTIONS},
        title="CPU of a transaction, synchronous_commit = on",
        x="times that of the bare transaction",
    )
    page.heading("WAL of a transaction", level=3)
    page.table(["WAL bytes a transaction", *ACTIONS], _wal_rows(figures, titles))
    page.heading("Latency of a transaction", level=3)
    for commit in COMMITS:
        page.table(
            [f"µs: median / 95 % / 99 %, synchronous_commit = {commit}", *ACTIONS],
            _latency_rows(figures, titles, commit),
        )


def _budget(own: Mapping[str, Any]) -> str:
    ratios = {action: own[_named(action, "on")]["cpu_us"]["ratio"] for action in SINGLE}
    met = "kept" if max(ratios.values()) <= LIMIT else "not kept"
    said = ", ".join(f"{action} {ratio:.2f}×" for action, ratio in ratios.items())
    return f"Budget: a one-row transaction takes at most {LIMIT}× the CPU. {said}: {met}."


def _cpu_rows(
    figures: Mapping[str, Any], titles: Mapping[str, str], commit: str
) -> list[list[object]]:
    return [
        [titles[name], *(_with_ratio(actions[_named(action, commit)]) for action in ACTIONS)]
        for name, actions in figures.items()
    ]


def _with_ratio(action: Mapping[str, Any]) -> str:
    cpu = action["cpu_us"]
    return f"{number_text(cpu['median'])} ({cpu['ratio']:.2f}×)"


def _ratios(figures: Mapping[str, Any], titles: Mapping[str, str], action: str) -> dict[str, float]:
    return {
        titles[name]: actions[_named(action, "on")]["cpu_us"]["ratio"]
        for name, actions in figures.items()
        if name != BARE.name
    }


def _wal_rows(figures: Mapping[str, Any], titles: Mapping[str, str]) -> list[list[object]]:
    return [
        [titles[name], *(actions[_named(one, "on")]["wal_bytes"]["median"] for one in ACTIONS)]
        for name, actions in figures.items()
    ]


def _latency_rows(
    figures: Mapping[str, Any], titles: Mapping[str, str], commit: str
) -> list[list[object]]:
    return [
        [titles[name], *(_latencies(actions[_named(action, commit)]) for action in ACTIONS)]
        for name, actions in figures.items()
    ]


def _latencies(action: Mapping[str, Any]) -> str:
    wanted = ("p50_us", "p95_us", "p99_us")
    return " / ".join(number_text(action[name]["median"]) for name in wanted)


def _statement(writer: Writer, shape: Shape, action: str) -> sql.Composed:
    return {
        "one-row INSERT": lambda: writer.insert(1),
        "one-row UPDATE": lambda: writer.update(shape.few, one(KEY)),
        "one-row DELETE": lambda: writer.delete(one(KEY)),
        "ten-row UPDATE": lambda: writer.update(shape.few, span(KEY, TEN)),
    }[action]()


def _keys(
    connection: psycopg.Connection[Any], stage: Stage[Shape], action: str, count: int, number: int
) -> list[int]:
    """The keys of *count* transactions; a DELETE takes the rows that were just inserted."""
    if action == "one-row DELETE":
        row = connection.execute("SELECT currval(%s)", [stage.shape.sequence]).fetchone()
        return [row[0] - back for back in range(count)] if row else []
    chosen = Random(number)
    return [chosen.randint(1, stage.rows - TEN) for _ in range(count)]


def _named(action: str, commit: str) -> str:
    return f"{action}, {commit}"
