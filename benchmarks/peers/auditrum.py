"""auditrum: one partitioned log with whole rows and a diff, by a generated trigger per table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from audit_schema.bench.variant import Variant
from benchmarks.peers import engine_for, installed
from benchmarks.peers.proof import proven
from benchmarks.peers.session import context_settings

PACKAGE = "auditrum"


def variant() -> Variant:
    """Return the peer, with its context sent as its Django integration does."""
    return proven(
        Variant(
            PACKAGE,
            PACKAGE,
            _setup,
            context_settings("auditrum"),
            (PACKAGE,),
            records="schema, role, application, address, keys but id, actors but numbers",
        ),
        rows=4,
    )


def _setup(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    from auditrum.executor import PsycopgExecutor
    from auditrum.integrations.sqlalchemy import bootstrap_schema
    from auditrum.tracking import TrackSpec, TriggerManager

    bootstrap_schema(engine_for(connection))
    manager = TriggerManager(PsycopgExecutor(connection))
    manager.bootstrap()
    manager.sync([TrackSpec(table=table.rpartition(".")[2]) for table in tables])


if installed(PACKAGE):
    AUDITRUM = variant()
