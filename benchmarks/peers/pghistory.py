"""django-pghistory: an event table per table, by three row triggers that its migrations make."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import psycopg

from audit_schema.bench.variant import Variant
from audit_schema.errors import AuditSchemaError
from benchmarks.peers import installed
from benchmarks.peers.proof import proven
from benchmarks.peers.session import context_settings

PACKAGE = "django-pghistory"


def variant() -> Variant:
    """Return the peer, which tracks inserts, updates and deletes with its default settings."""
    return proven(
        Variant(
            PACKAGE,
            PACKAGE,
            _setup,
            context_settings("pghistory"),
            (PACKAGE, "django-pgtrigger", "Django"),
            records="old values of an UPDATE, transaction, role, application, address",
        ),
        rows=4,
    )


def _setup(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Run Django in a process of its own: it can be configured only once in each."""
    info = connection.info
    database = {
        "NAME": info.dbname,
        "USER": info.user,
        "PASSWORD": info.password,
        "HOST": info.host,
        "PORT": str(info.port),
    }
    names = [table.rpartition(".")[2] for table in tables]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.django_project"],
        input=json.dumps({"database": database, "tables": names}),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise AuditSchemaError(f"{PACKAGE} could not be set up:\n{done.stderr}")


if installed(PACKAGE):
    PGHISTORY = variant()
