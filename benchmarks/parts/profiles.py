"""What each index profile costs a write, and what it takes to close a partition."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import sql

from audit_schema.bench import capture
from audit_schema.bench.capture import Size
from audit_schema.bench.variant import BARE, OURS, Variant, install
from audit_schema.database import sqlalchemy_url
from audit_schema.errors import AuditSchemaError
from benchmarks import synthetic
from benchmarks.lab import Lab
from benchmarks.report import Page, signed
from benchmarks.synthetic import Connection, Partition, Trail

TITLE: Final = "What index profiles cost"

PROFILES: Final = ("lean", "standard", "search")
SET: Final = "SELECT audit.set_index_profile(%s, %s)"
STEPS: Final = """
    SELECT statement FROM audit._closing_steps()
     WHERE partition = format('audit.%%I', %s::text)::regclass"""
SIZES: Final = """
    SELECT pg_table_size(oid), pg_indexes_size(oid), reltuples::bigint
      FROM pg_class WHERE oid = format('audit.%%I', %s::text)::regclass"""
# As autovacuum does it by the storage parameters of a closed partition.
FREEZE: Final = sql.SQL("VACUUM (FREEZE) {}")

METHOD: Final = """
Capture with the context in each session and with each profile for the partition that is written
to, compared with the bare table as in the first part. The statements of one row and of ten rows are
those of one session after another.
"""
CLOSING: Final = """
Closing a partition of {rows:,} events, of {table_mb:,.0f} MB without indexes, from the profile lean
to search, so that every step is there; maintenance_work_mem = 1GB, one process. The indexes of
standard are there already where that is the profile of partitions that are written to.
"""


def measure(lab: Lab) -> dict[str, Any]:
    """Measure capture under each profile, then each step of closing a partition."""
    variants = [BARE, *map(_profiled, PROFILES)]
    size = Size(lab.amount(lab.rows // 2, 200))
    with lab.server() as server:
        url = sqlalchemy_url(server.url())
        figures = capture.measure(url, variants, size, lab.rounds, lab.console)
    settings = {"wal_level": "minimal", "max_wal_senders": 0}
    with lab.server(settings) as server, server.connect(autocommit=True) as connection:
        closing = _close(lab, connection, partial(server.connect, autocommit=True))
    return {"bulk": size.bulk, "figures": figures, "closing": closing}


def _profiled(profile: str) -> Variant:
    """Return audit_schema whose partitions have the indexes of *profile*."""

    def setup(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
        install(connection)
        connection.execute(SET, [profile, profile])
        synthetic.maintain(connection)
        for table in tables:
            connection.execute("SELECT audit.attach(%s::regclass)", [table])

    return Variant(profile, profile, setup, OURS.session)


def _close(lab: Lab, connection: Connection, connect: synthetic.Connect) -> dict[str, Any]:
    """Fill a trail of two months, then take the steps that close its first whole partition."""
    now = datetime.now(UTC)
    trail = Trail(lab.amount(5_000_000, 10_000), synthetic.months_before(now, 2), now)
    with lab.step("installing"):
        install(connection)
        synthetic.prepare(connection, trail)
    partition = synthetic.partitions(connection, trail)[1]
    with lab.step(f"filling {partition.name}"):
        synthetic.fill(connect, trail, partition)
    connection.execute("SET maintenance_work_mem = '1GB'")
    connection.execute(SET, ["standard", "lean"])
    for _ in range(2):
        synthetic.maintain(connection)
    connection.execute(SET, ["standard", "search"])
    table, _, rows = _sizes(connection, partition)
    statements = [text for (text,) in connection.execute(STEPS, [partition.name])]
    statements.append(FREEZE.format(partition.identifier).as_string(connection))
    if len(statements) < 6:
        raise AuditSchemaError(f"{partition.name} takes only these steps to close: {statements}")
    steps = []
    for statement in statements:
        with lab.step(statement):
            before = _sizes(connection, partition)[1]
            begin = time.monotonic()
            connection.execute(statement)
            seconds = time.monotonic() - begin
        grown = _sizes(connection, partition)[1] - before
        steps.append({"statement": statement, "seconds": round(seconds, 2), "bytes": grown})
    return {"rows": rows, "table_mb": table / 1e6, "steps": steps}


def _sizes(connection: Connection, partition: Partition) -> tuple[int, int, int]:
    """Bytes of the table, bytes of its indexes, and its rows."""
    [(table, indexes, rows)] = connection.execute(SIZES, [partition.name]).fetchall()
    return table, indexes, rows


def render(result: dict[str, Any], page: Page) -> None:
    """CPU, WAL and bytes by profile, then the steps of closing."""
    page.add(METHOD)
    figures = {name: result["figures"][name] for name in PROFILES}
    for figure, unit in (
        ("cpu_us", "CPU µs added"),
        ("wal_bytes", "WAL bytes added"),
        ("index_bytes", "bytes of indexes an event"),
    ):
        page.table(
            [unit, *PROFILES],
            [
                [action, *(signed(runs[action][figure]["added"]) for runs in figures.values())]
                for action in figures[PROFILES[0]]
            ],
        )
    page.heading("Closing a partition", level=3)
    closing = result["closing"]
    page.add(CLOSING.format(**closing))
    page.table(
        ["step", "seconds", "µs an event", "MB", "bytes an event"],
        [
            [
                step["statement"].split(";")[0],
                step["seconds"],
                step["seconds"] * 1e6 / closing["rows"],
                step["bytes"] / 1e6,
                step["bytes"] / closing["rows"],
            ]
            for step in closing["steps"]
        ],
    )
