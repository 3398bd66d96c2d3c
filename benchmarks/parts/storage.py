"""Where the bytes of an event go, and what each index of the trail costs a write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import URL

from audit_schema.bench.capture import per_unit
from audit_schema.bench.meter import Meter, Sizes, growth, sizes
from audit_schema.bench.rounds import Round, summarise, take_rounds
from audit_schema.bench.stage import Stage, staged
from audit_schema.bench.variant import OURS, Variant
from audit_schema.bench.workload import ACCOUNT, Shape, one
from audit_schema.database import sqlalchemy_url
from benchmarks.lab import Lab
from benchmarks.parts import transactions
from benchmarks.report import Page, signed

TITLE: Final = "Where the bytes go"

TRANSACTIONS: Final = "one-row UPDATE transactions"
INDEXES: Final = """
    SELECT COALESCE(pg_partition_root(i.oid)::regclass::text,
                    'audit.event' || substr(i.relname, length(t.relname) + 1)) AS name,
           string_agg(DISTINCT COALESCE(pg_partition_root(i.oid), i.oid)::regclass::text, ', ')
      FROM pg_partition_tree('audit.event') AS r
      JOIN pg_index AS x ON x.indrelid = r.relid AND NOT x.indisunique
      JOIN pg_class AS i ON i.oid = x.indexrelid
      JOIN pg_class AS t ON t.oid = x.indrelid
     GROUP BY name ORDER BY name"""
METHOD: Final = """
Growth of each table and index of the trail an event, over {rounds} rounds of {bulk:,} rows in bulk
and of {count:,} transactions that update one row each, so that there each event carries a context
of its own (an actor and about 110 bytes of metadata).
"""
INDEX_METHOD: Final = """
The same writes on trails that lack an index: what it costs is the difference to the trail with all
of them, in turn. Primary keys stay.
"""


def measure(lab: Lab) -> dict[str, Any]:
    """Measure the growth of all relations, then trails without each index and without all."""
    bulk, count = lab.amount((10_000, 1_000), (200, 20))
    with lab.server() as server:
        url = sqlalchemy_url(server.url())
        with staged(url, ACCOUNT, 2 * bulk, [OURS], lab.console) as stage:
            with lab.step("growth of each relation"):
                grown = _grow(stage, lab.rounds, bulk, count)
            with stage.connect(OURS) as connection:
                indexes = [name for name, _ in connection.execute(INDEXES)]
        costs = _measure_indexes(lab, url, indexes, bulk, count)
    return {"bulk": bulk, "count": count, "rounds": lab.rounds, "grown": grown, "costs": costs}


def _grow(stage: Stage[Shape], rounds: int, bulk: int, count: int) -> dict[str, dict[str, float]]:
    """Bytes an event by action and relation; round 0 fills the first pages and is not counted."""
    total: dict[str, dict[str, float]] = {}
    with stage.connect(OURS) as connection, transactions.session(stage, OURS) as session:
        for number in range(rounds + 1):
            keys = _keys(stage, count, number)
            works = _bulk_works(connection, stage, bulk, number)
            works[TRANSACTIONS] = (len(keys), partial(_transact, session, stage, keys))
            for action, (events, work) in works.items():
                before = sizes(connection, stage.shape.tables)
                work()
                if number:
                    added = growth(before, sizes(connection, stage.shape.tables))
                    _add(total.setdefault(action, {}), added, events * rounds)
    return total


def _bulk_works(
    connection: psycopg.Connection[Any], stage: Stage[Shape], bulk: int, number: int
) -> dict[str, tuple[int, Callable[[], object]]]:
    """The number of events of each bulk statement, and what runs it."""
    shape, first = stage.shape, stage.rows + 1 + number * bulk
    last = first + bulk - 1
    where = sql.SQL("BETWEEN {} AND {}").format(first, last)
    statements = {
        "bulk INSERT": shape.insert_bulk(first, last),
        "bulk UPDATE": shape.update(shape.few, where),
        "bulk DELETE": shape.delete(where),
    }
    return {
        name: (bulk, partial(connection.execute, statement))
        for name, statement in statements.items()
    }


def _transact(
    connection: psycopg.Connection[Any], stage: Stage[Shape], keys: Sequence[int]
) -> dict[str, float]:
    connection.execute("SET synchronous_commit = off")
    statement = stage.shape.update(stage.shape.few, one(transactions.KEY))
    return transactions.transact(connection, statement, keys)


def _keys(stage: Stage[Shape], count: int, number: int) -> list[int]:
    chosen = Random(number)
    return [chosen.randint(1, stage.rows) for _ in range(transactions.WARM_UP + count)]


def _add(cells: dict[str, float], added: Sizes, events: int) -> None:
    for (kind, name), size in added.items():
        label = f"{kind}: {name}"
        cells[label] = cells.get(label, 0) + size / events


def _measure_indexes(
    lab: Lab, url: URL, indexes: Sequence[str], bulk: int, count: int
) -> dict[str, Any]:
    """Compare trails without an index with the whole one."""
    variants = [OURS, *(_without([index]) for index in indexes), _without(indexes)]
    with staged(url, ACCOUNT, 2 * bulk, variants, lab.console) as stage:
        run = partial(_run, stage, bulk, count)
        rounds = take_rounds(variants, lab.rounds, run, lab.console, "indexes,")
    figures = summarise(rounds, OURS.name)
    return {variant.title: figures[variant.name] for variant in variants}


def _without(indexes: Sequence[str]) -> Variant:
    """Return audit_schema that lacks *indexes*, of all partitions."""

    def setup(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
        OURS.setup(connection, tables)
        for name, present in connection.execute(INDEXES).fetchall():
            if name in indexes:
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.SQL(present)))

    what = indexes[0] if len(indexes) == 1 else "all of these"
    return Variant(f"without {what}".replace(" ", "-"), what, setup, OURS.session)


def _run(stage: Stage[Shape], bulk: int, count: int, variant: Variant, number: int) -> Round:
    figures: dict[str, Mapping[str, float]] = {}
    with stage.connect(variant) as connection:
        meter = Meter(connection)
        for name, (events, work) in _bulk_works(connection, stage, bulk, number).items():
            figures[name] = per_unit(meter.measure(work), events)
    with transactions.session(stage, variant) as connection:
        figures[TRANSACTIONS] = _transact(connection, stage, _keys(stage, count, number))
    return figures


def render(result: dict[str, Any], page: Page) -> None:
    """Bytes by relation, then what each index costs."""
    grown = result["grown"]
    page.add(METHOD.format(**result))
    relations = list(dict.fromkeys(name for cells in grown.values() for name in cells))
    rows = [[name, *(cells.get(name) for cells in grown.values())] for name in relations]
    total = ["total", *(sum(cells.values()) for cells in grown.values())]
    page.table(["bytes an event", *grown], [*rows, total])
    page.bars(
        "storage",
        {
            name: {action: cells.get(name, 0.0) for action, cells in grown.items()}
            for name in relations
        },
        title="Bytes an event, by table and index",
        x="bytes",
        stacked=True,
    )
    page.heading("What each index costs", level=3)
    page.add(INDEX_METHOD)
    costs = {title: runs for title, runs in result["costs"].items() if title != OURS.title}
    actions = list(grown)
    for figure, unit in (("cpu_us", "CPU µs"), ("wal_bytes", "WAL bytes")):
        page.table(
            [f"{unit} an event", *actions],
            [
                [title, *(signed(-runs[action][figure]["added"]) for action in actions)]
                for title, runs in costs.items()
            ],
        )
