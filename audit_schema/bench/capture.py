"""What capture adds to one statement: bulk, COPY, one row and ten rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import sql
from rich.console import Console
from sqlalchemy import URL

from audit_schema.bench import by_hand
from audit_schema.bench.meter import Cost, Meter, by_kind, growth, sizes
from audit_schema.bench.rounds import Figures, Round, summarise, take_rounds
from audit_schema.bench.stage import Stage, staged
from audit_schema.bench.variant import BARE, Variant
from audit_schema.bench.workload import (
    ACCOUNT,
    KEY,
    Fragment,
    Shape,
    Writer,
    loop,
    one,
    random_key,
    span,
)

TEN: Final = 10
ROW: Final = "row"
STATEMENT: Final = "statement of ten rows"


@dataclass(frozen=True)
class Size:
    """How much one round does.

    bulk: rows of a bulk statement; the other numbers go with it: rows that the table holds
    before, statements of one row, statements of ten rows.
    """

    bulk: int = 40_000

    @property
    def rows(self) -> int:
        return 5 * self.bulk

    @property
    def single(self) -> int:
        return self.bulk // 5

    @property
    def ten(self) -> int:
        return self.bulk // 40


@dataclass(frozen=True)
class Action:
    """Something to measure: *work* makes so many *events* in so many *units*."""

    name: str
    unit: str
    units: int
    events: int
    work: Callable[[], object]


def measure(
    url: URL,
    variants: Sequence[Variant],
    size: Size,
    rounds: int,
    console: Console,
    shape: Shape = ACCOUNT,
) -> dict[str, Any]:
    """Return the figures of each variant and action, compared with BARE, one of *variants*.

    Figures for each unit: cpu_us (with reader_us, what the reader of a slot used, in it),
    elapsed_us and wal_bytes; for each event: heap_bytes, toast_bytes and index_bytes.
    """
    with staged(url, shape, size.rows, variants, console) as stage:
        rounds_taken = take_rounds(variants, rounds, partial(_run, stage, size), console)
    return summarise(rounds_taken, BARE.name)


def _run(stage: Stage[Shape], size: Size, variant: Variant, number: int) -> Round:
    """Do one round of all actions with a variant."""
    with ExitStack() as open_connections:
        connection = open_connections.enter_context(stage.connect(variant))
        reader = None
        if variant.logical:
            reader = open_connections.enter_context(stage.connect(variant, session=False))
        meter = Meter(connection, reader)
        return {
            action.name: measure_action(meter, connection, stage.shape.tables, action)
            for action in actions(connection, stage.shape, size, number, variant)
        }


def measure_action(
    meter: Meter, connection: psycopg.Connection[Any], tables: Sequence[str], action: Action
) -> Figures:
    """Do *action*, a change of *tables*, and return its figures."""
    before = sizes(connection, tables)
    cost = meter.measure(action.work)
    grown = by_kind(growth(before, sizes(connection, tables)))
    bytes_per_event = {f"{kind}_bytes": grew / action.events for kind, grew in grown.items()}
    return {**per_unit(cost, action.units), **bytes_per_event}


def per_unit(cost: Cost, units: int) -> dict[str, float]:
    """Return CPU, elapsed time and WAL of each unit."""
    figures = {"elapsed_us": cost.elapsed_ns / units / 1000, "wal_bytes": cost.wal_bytes / units}
    if cost.cpu_ns is not None:
        figures["cpu_us"] = (cost.cpu_ns + (cost.reader_ns or 0)) / units / 1000
    if cost.reader_ns is not None:
        figures["reader_us"] = cost.reader_ns / units / 1000
    return figures


def actions(
    connection: psycopg.Connection[Any], shape: Shape, size: Size, number: int, variant: Variant
) -> list[Action]:
    """The actions of round *number*; each round has other rows for its bulk statements."""
    first = size.rows + 1 + number * size.bulk
    last = first + size.bulk - 1
    writer: Writer = by_hand.ByHand(shape) if variant.by_hand else shape
    found = _bulk_actions(connection, writer, shape, first, last)
    if not variant.by_hand:
        copy = partial(_copy_in, connection, shape, _copy_out(connection, shape, first, last))
        found.append(Action("COPY", ROW, size.bulk, size.bulk, copy))
    for label, unit, count, times in (
        ("one-row", ROW, 1, size.single),
        ("ten-row", STATEMENT, TEN, size.ten),
    ):
        for verb, key, statement in _looped(writer, shape, size.rows, count):
            work = partial(connection.execute, loop(times, key, statement))
            found.append(Action(f"{label} {verb}", unit, times, times * count, work))
    return found


def _bulk_actions(
    connection: psycopg.Connection[Any], writer: Writer, shape: Shape, first: int, last: int
) -> list[Action]:
    rows = sql.SQL("BETWEEN {} AND {}").format(first, last)
    count = last - first + 1
    return [
        Action(f"bulk {verb}", ROW, count, count, partial(connection.execute, statement))
        for verb, statement in (
            ("INSERT", writer.insert_bulk(first, last)),
            ("UPDATE", writer.update(shape.few, rows)),
            ("DELETE", writer.delete(rows)),
        )
    ]


def _looped(
    writer: Writer, shape: Shape, rows: int, count: int
) -> list[tuple[str, Fragment, Fragment]]:
    """Verb, key and statement; the DELETE takes what the INSERT before it has brought."""
    where = one(KEY) if count == 1 else span(KEY, count)
    return [
        ("INSERT", sql.NULL, writer.insert(count)),
        ("DELETE", shape.inserted(count), writer.delete(where)),
        ("UPDATE", random_key(rows - count), writer.update(shape.few, where)),
    ]


def _copy_out(
    connection: psycopg.Connection[Any], shape: Shape, first: int, last: int
) -> list[bytes]:
    statement = sql.SQL("COPY ({}) TO STDOUT").format(shape.rows(first, last))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        return [bytes(block) for block in copy]


def _copy_in(connection: psycopg.Connection[Any], shape: Shape, blocks: Sequence[bytes]) -> None:
    statement = sql.SQL("COPY {} FROM STDIN").format(shape.identifier)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in blocks:
            copy.write(block)
