"""What `audit-schema bench` does: the capture workload on a server of its own or a given one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import sqlalchemy
from rich.console import Console
from rich.table import Table

from audit_schema.bench import capture, machine, meter
from audit_schema.bench.variant import BARE, OURS, Variant, parse_peer
from audit_schema.database import connect, sqlalchemy_url
from audit_schema.display import dumps, printable
from audit_schema.local_server import LocalServer

# As demanding as in production; the embedded server is built without lz4.
SETTINGS: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_wal_size": "4GB",
    "autovacuum": "off",
}


def run(
    url: str | None, *, rows: int, rounds: int, peers: Sequence[str] = (), as_json: bool = False
) -> None:
    """Measure bare tables, audit_schema and *peers* (each name=file.sql), and print the figures.

    url: server on which to make databases audit_schema_bench_*, dropped afterwards; None for
    DATABASE_URL, and without that for a server of its own. rows: of a bulk statement.
    Raises AuditSchemaError when there is no server, a database exists already, or a script fails.
    """
    console = Console(stderr=as_json)
    variants = [BARE, OURS, *map(parse_peer, peers)]
    with ExitStack() as cleanup:
        target = _target(url or os.environ.get("DATABASE_URL"), cleanup, console)
        with connect(target) as connection:
            environment = {
                "machine": machine.describe_machine(),
                "server": machine.describe_server(connection),
                "packages": machine.describe_packages(OURS.packages),
            }
        result = capture.measure(target, variants, capture.Size(rows), rounds, console)
    if as_json:
        figures = {**environment, "rounds": rounds, "rows": rows, "result": result}
        print(dumps(figures, indent=2))
    else:
        _show(result, variants, console)


def _target(url: str | None, cleanup: ExitStack, console: Console) -> sqlalchemy.URL:
    if url is not None:
        return sqlalchemy_url(url)
    server = LocalServer(settings=SETTINGS)
    with console.status("starting a PostgreSQL server"):
        cleanup.enter_context(server)
    return sqlalchemy_url(server.url())


def _show(result: Mapping[str, Any], variants: Sequence[Variant], console: Console) -> None:
    titles = [printable(variant.title) for variant in variants]
    per_unit = "a row, or a statement of ten rows"
    if all("cpu_us" in figures for figures in result[BARE.name].values()):
        rows = _compared(result, "cpu_us")
        _print_table(f"CPU µs {per_unit}", titles, rows, console)
    else:
        console.print(meter.NOT_HERE, style="yellow")
        rows = _compared(result, "elapsed_us")
        _print_table(f"Elapsed µs {per_unit}", titles, rows, console)
    rows = _compared(result, "wal_bytes")
    _print_table(f"WAL bytes {per_unit}", titles, rows, console)
    rows = _stored({name: figures for name, figures in result.items() if name != BARE.name})
    _print_table("Bytes on disk an event: tables + indexes", titles[1:], rows, console)


def _print_table(
    title: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]], console: Console
) -> None:
    """Print *rows*, cells by action; a variant has a column."""
    table = Table(title=title, title_justify="left")
    table.add_column()
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for action, cells in rows.items():
        table.add_row(action, *cells)
    console.print(table)


def _compared(result: Mapping[str, Any], figure: str) -> dict[str, list[str]]:
    """The bare figure of each action, then what each variant adds to it."""
    return {
        action: [
            _difference(figures[action][figure]) if name != BARE.name else _plain(bare[figure])
            for name, figures in result.items()
        ]
        for action, bare in result[BARE.name].items()
    }


def _plain(summary: Mapping[str, float]) -> str:
    return f"{summary['median']:,.1f}"


def _difference(summary: Mapping[str, float]) -> str:
    ratio = f" ({summary['ratio']:.2f}×)" if "ratio" in summary else ""
    return f"{summary['added']:+,.1f}{ratio}"


def _stored(result: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        action: [_bytes(figures[action]) for figures in result.values()]
        for action in next(iter(result.values()))
    }


def _bytes(figures: Mapping[str, Mapping[str, float]]) -> str:
    tables = figures["heap_bytes"]["median"] + figures["toast_bytes"]["median"]
    return f"{tables:,.0f} + {figures['index_bytes']['median']:,.0f}"
