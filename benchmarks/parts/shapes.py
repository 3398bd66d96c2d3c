"""How the cost of capture goes with the shape of the table, of the change and of the context."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import psycopg
import sqlalchemy
from psycopg import sql

from audit_schema.bench.capture import ROW, Action, measure_action
from audit_schema.bench.meter import Meter
from audit_schema.bench.rounds import Round, summarise, take_rounds
from audit_schema.bench.stage import Stage, staged
from audit_schema.bench.variant import BARE, METADATA, OURS, Variant
from audit_schema.bench.workload import ACCOUNT, KEY, Fragment, Shape, loop, one, random_key
from audit_schema.database import sqlalchemy_url
from benchmarks.lab import Lab
from benchmarks.parts import transactions
from benchmarks.report import Page, signed
from benchmarks.shapes import DOCUMENT, NARROW, WIDE

TITLE: Final = "Shapes of tables, changes and contexts"

SHAPES: Final = (NARROW, ACCOUNT, WIDE, DOCUMENT)
CONTEXTS: Final = (0, len(METADATA), 1_000, 4_000)
STORED: Final = ("heap_bytes", "toast_bytes", "index_bytes")
METHOD: Final = """
As in the first part, with tables of other shapes: {bulk:,} rows in bulk, {single:,} statements of
one row in a loop. `few` changes the columns that an application would ({few}), `all` every column
but the key.
"""
CONTEXT_METHOD: Final = """
One-row UPDATE transactions of the 10-column table as in the part before, synchronous_commit = off,
{count:,} a round, with metadata of several sizes; 0 bytes means neither actor nor metadata. The
context of audit_schema travels with each BEGIN, that of the peers is set once for the session. The
metadata compresses badly.
"""


def measure(lab: Lab) -> dict[str, Any]:
    """Measure bare, ours and the strongest peers: first the shapes, then the contexts."""
    variants = [BARE, OURS, *lab.strongest]
    bulk, single, count = lab.amount((4_000, 1_000, 500), (100, 20, 20))
    shapes: dict[str, Any] = {}
    with lab.server() as server:
        url = sqlalchemy_url(server.url())
        for shape in SHAPES:
            shapes[shape.title] = _measure_shape(lab, url, variants, shape, bulk, single)
        contexts = _measure_contexts(lab, url, variants, count)
    return {
        "bulk": bulk,
        "single": single,
        "count": count,
        "titles": {variant.name: variant.title for variant in variants},
        "few": {shape.title: list(shape.few) for shape in SHAPES},
        "shapes": shapes,
        "contexts": contexts,
    }


def _measure_shape(
    lab: Lab,
    url: sqlalchemy.URL,
    variants: Sequence[Variant],
    shape: Shape,
    bulk: int,
    single: int,
) -> dict[str, Any]:
    with staged(url, shape, 2 * bulk, variants, lab.console) as stage:
        run = partial(_run_shape, stage, bulk, single)
        rounds = take_rounds(variants, lab.rounds, run, lab.console, f"{shape.title},")
    return summarise(rounds, BARE.name)


def _run_shape(stage: Stage[Shape], bulk: int, single: int, variant: Variant, number: int) -> Round:
    first = stage.rows + 1 + number * bulk
    with stage.connect(variant) as connection:
        meter = Meter(connection)
        return {
            action.name: measure_action(meter, connection, stage.shape.tables, action)
            for action in _actions(connection, stage, first, bulk, single)
        }


def _actions(
    connection: psycopg.Connection[Any], stage: Stage[Shape], first: int, bulk: int, single: int
) -> list[Action]:
    shape = stage.shape
    rows = sql.SQL("BETWEEN {} AND {}").format(first, first + bulk - 1)
    key = random_key(stage.rows)

    def action(name: str, count: int, statement: Fragment) -> Action:
        return Action(name, ROW, count, count, partial(connection.execute, statement))

    return [
        action("bulk INSERT", bulk, shape.insert_bulk(first, first + bulk - 1)),
        action("bulk UPDATE, few", bulk, shape.update(shape.few, rows)),
        action("bulk UPDATE, all", bulk, shape.update(shape.all, rows)),
        action("bulk DELETE", bulk, shape.delete(rows)),
        *(
            action(f"one-row UPDATE, {name}", single, loop(single, key, statement))
            for name, statement in (
                ("few", shape.update(shape.few, one(KEY))),
                ("all", shape.update(shape.all, one(KEY))),
            )
        ),
    ]


def _measure_contexts(
    lab: Lab, url: sqlalchemy.URL, variants: Sequence[Variant], count: int
) -> dict[str, Any]:
    with staged(url, ACCOUNT, lab.amount(20_000, 200), variants, lab.console) as stage:
        run = partial(_run_contexts, stage, count)
        rounds = take_rounds(variants, lab.rounds, run, lab.console, "contexts,")
    return summarise(rounds, BARE.name)


def _run_contexts(stage: Stage[Shape], count: int, variant: Variant, number: int) -> Round:
    statement = stage.shape.update(stage.shape.few, one(transactions.KEY))
    chosen = Random(number)
    keys = [chosen.randint(1, stage.rows) for _ in range(transactions.WARM_UP + count)]
    figures: dict[str, Mapping[str, float]] = {}
    for size in CONTEXTS:
        with transactions.session(stage, variant, metadata_of(size)) as connection:
            connection.execute("SET synchronous_commit = off")
            figures[f"{size:,} B"] = transactions.transact(connection, statement, keys)
    return figures


def metadata_of(size: int) -> str | None:
    """Return metadata of *size* bytes as JSON, METADATA with a long note; None for none."""
    if size <= len(METADATA):
        return METADATA if size else None
    with_note = json.dumps({**json.loads(METADATA), "note": ""})
    padding = Random(size).randbytes(size).hex()[: size - len(with_note)]
    return json.dumps({**json.loads(METADATA), "note": padding})


def render(result: dict[str, Any], page: Page) -> None:
    """A table of CPU, WAL and bytes by shape and variant, then one by context."""
    few = "; ".join(f"{title}: {', '.join(names)}" for title, names in result["few"].items())
    page.add(METHOD.format(bulk=result["bulk"], single=result["single"], few=few))
    actions = list(next(iter(result["shapes"].values()))[BARE.name])
    page.add("CPU µs a row: of the bare statement, added to it by the others.")
    page.table(["CPU µs", *actions], _rows(result, _cpu))
    page.bars(
        "shapes",
        {
            result["titles"][name]: {
                title: measured[name]["one-row UPDATE, few"]["cpu_us"]["added"]
                for title, measured in result["shapes"].items()
            }
            for name in result["titles"]
            if name != BARE.name
        },
        title="CPU added to a one-row UPDATE of few columns",
        x="µs",
    )
    page.add("WAL bytes a row, with those of the row itself.")
    page.table(["WAL bytes", *actions], _rows(result, _wal))
    page.add("Bytes that tables, TOAST tables and indexes of the log grow by, an event.")
    page.table(["bytes an event", *actions], _rows(result, _stored, skip=(BARE.name,)))
    _render_contexts(result, page)


def _rows(result: Mapping[str, Any], cell: Any, skip: Sequence[str] = ()) -> list[list[object]]:
    return [
        [f"{title}: {result['titles'][name]}", *(cell(name, one) for one in actions.values())]
        for title, measured in result["shapes"].items()
        for name, actions in measured.items()
        if name not in skip
    ]


def _cpu(name: str, action: Mapping[str, Any]) -> object:
    cpu = action["cpu_us"]
    return cpu["median"] if name == BARE.name else signed(cpu["added"])


def _wal(_: str, action: Mapping[str, Any]) -> object:
    return action["wal_bytes"]["median"]


def _stored(_: str, action: Mapping[str, Any]) -> object:
    return sum(action[figure]["median"] for figure in STORED)


def _render_contexts(result: Mapping[str, Any], page: Page) -> None:
    page.heading("Size of the context", level=3)
    page.add(CONTEXT_METHOD.format(count=result["count"]))
    measured, titles = result["contexts"], result["titles"]
    sizes = list(measured[BARE.name])
    page.table(
        ["CPU µs a transaction", *sizes],
        [
            [titles[name], *(_cpu(name, runs[size]) for size in sizes)]
            for name, runs in measured.items()
        ],
    )
    page.table(
        ["WAL bytes a transaction", *sizes],
        [
            [titles[name], *(_wal(name, runs[size]) for size in sizes)]
            for name, runs in measured.items()
        ],
    )
