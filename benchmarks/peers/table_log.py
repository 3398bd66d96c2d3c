"""table_log of Debian: a log table per table with the old and the new row, by a trigger in C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from audit_schema.bench.variant import Variant
from benchmarks.peers.proof import proven

LEVEL_WITH_USER = 5


def variant() -> Variant:
    """Return the peer, which needs the extension table_log (Debian: postgresql-17-tablelog)."""
    return proven(
        Variant(
            "table_log",
            "table_log (C)",
            _setup,
            packages=("table_log",),
            records="actor (but the database user), metadata, transaction, application, address",
        ),
        rows=4,
    )


def _setup(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    connection.execute("CREATE EXTENSION table_log")
    for table in tables:
        schema, _, name = table.rpartition(".")
        connection.execute(
            "SELECT table_log_init(%s, %s, %s, 'public', %s)",
            [LEVEL_WITH_USER, schema, name, f"{name}_log"],
        )


TABLE_LOG = variant()
