"""What capture adds to whole transactions of SQLAlchemy's ORM, in the client and in the server."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from psycopg import sql

from audit_schema.bench.machine import describe_packages
from audit_schema.bench.rounds import Rounds, summarise
from audit_schema.local_server import LocalServer
from benchmarks import orm
from benchmarks.lab import Lab
from benchmarks.orm import DELETE, INSERT, INSERT_MANY, UPDATE, Figures, OrmVariant
from benchmarks.peers import audit_trail, continuum, installed, postgresql_audit
from benchmarks.report import Page

TITLE: Final = "Transactions of the ORM"

PEERS: Final = (continuum.ORM, continuum.NATIVE, audit_trail.ORM, postgresql_audit.ORM)
METHOD: Final = """
One client commits transactions of SQLAlchemy's ORM over a socket: it inserts an object, loads and
changes one, loads and deletes one, or inserts {many} at once; {single:,} transactions of each of
the first three and {batches:,} of the last in a round. Client CPU is that of the whole Python
process, server CPU that of its session. Statements are those that SQLAlchemy sends besides BEGIN
and COMMIT. After each run the events are counted: a variant that had missed one would have failed.

Packages that work in the ORM see nothing else: no SQL, no bulk statement, no other program.
"""
COLUMNS: Final = {
    "client_us": "client CPU µs",
    "server_us": "server CPU µs",
    "wal_bytes": "WAL bytes",
    "p50_us": "p50 µs",
    "p95_us": "p95 µs",
    "statements": "statements",
}

Measure = Callable[[str, int], Figures]


def measure(lab: Lab) -> dict[str, Any]:
    """Measure all variants in turn, each in a process and a database of its own."""
    peers = [peer for peer in PEERS if all(map(installed, peer.packages))]
    variants = [orm.BARE, orm.OURS, *peers]
    transactions = {
        **dict.fromkeys((INSERT, UPDATE, DELETE), lab.amount(500, 5)),
        INSERT_MANY: lab.amount(20, 2),
    }
    with lab.server() as server, ExitStack() as processes:
        running = {}
        for number, variant in enumerate(variants):
            with lab.step(f"setting up: {variant.title}"):
                url = _create_database(server, f"orm_{number}")
                running[variant.name] = processes.enter_context(_process(variant, url))
        rounds = _take_rounds(running, transactions, lab)
    return {
        "transactions": transactions,
        "packages": describe_packages(name for peer in peers for name in peer.packages),
        "variants": {one.name: {"title": one.title, "records": one.records} for one in variants},
        "figures": summarise(rounds, orm.BARE.name),
    }


def render(result: dict[str, Any], page: Page) -> None:
    """A table for each kind of transaction, a plot of them all, and what is not recorded."""
    transactions, figures = result["transactions"], result["figures"]
    page.add(
        METHOD.format(many=orm.MANY, single=transactions[INSERT], batches=transactions[INSERT_MANY])
    )
    titles = {name: variant["title"] for name, variant in result["variants"].items()}
    for action in transactions:
        page.heading(action.capitalize(), level=3)
        page.table(
            ["", "p50, times bare", *COLUMNS.values()],
            [_row(titles[name], measured[action]) for name, measured in figures.items()],
        )
    page.bars(
        "orm-latency",
        {
            action: {titles[name]: one[action]["p50_us"]["ratio"] for name, one in figures.items()}
            for action in transactions
        },
        title="Median latency of an ORM transaction",
        x="times that of the same transaction without capture",
    )
    _render_records(result, page)


def _create_database(server: LocalServer, name: str) -> str:
    with server.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return server.url(name, driver="psycopg")


@contextmanager
def _process(variant: OrmVariant, url: str) -> Iterator[Measure]:
    """Start a process for the variant and yield what measures in it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(orm.start, variant, url).result()
        yield lambda action, count: pool.submit(orm.measure, action, count).result()


def _take_rounds(running: Mapping[str, Measure], counts: Mapping[str, int], lab: Lab) -> Rounds:
    """Let each variant run once a round, another one first in each; round 0 warms up."""
    kept: dict[str, list[Mapping[str, Figures]]] = {name: [] for name in running}
    names = list(running)
    for number in range(lab.rounds + 1):
        first = number % len(names)
        with lab.step(f"round {number} of {lab.rounds}"):
            for name in names[first:] + names[:first]:
                taken = {action: running[name](action, count) for action, count in counts.items()}
                if number:
                    kept[name].append(taken)
    return kept


def _row(title: str, measured: Mapping[str, Mapping[str, float]]) -> list[object]:
    ratio = f"{measured['p50_us']['ratio']:.2f}"
    return [title, ratio, *(measured[figure]["median"] for figure in COLUMNS)]


def _render_records(result: Mapping[str, Any], page: Page) -> None:
    rows = [
        (variant["title"], variant["records"])
        for variant in result["variants"].values()
        if variant["records"]
    ]
    if rows:
        page.heading("What the ORM's transactions leave out", level=3)
        page.table(["variant", "leaves out"], rows)
    if versions := result["packages"]:
        page.add("Versions: " + ", ".join(f"{name} {one}" for name, one in versions.items()) + ".")
