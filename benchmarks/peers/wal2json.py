"""wal2json of Debian: changes as JSON out of the WAL, read from a logical replication slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from audit_schema.bench.variant import Variant
from audit_schema.errors import AuditSchemaError
from benchmarks.peers.proof import proven

PLUGIN = "wal2json"
LIBRARIES = "output_plugin_libraries"


def variant() -> Variant:
    """Return the peer, for a server with wal_level=logical (Debian: postgresql-17-wal2json)."""
    return proven(
        Variant(
            PLUGIN,
            "wal2json (logical decoding)",
            _setup,
            packages=(PLUGIN,),
            logical=True,
            records="actor, metadata, role, application, address; it stores nothing",
        ),
        rows=3,
    )


def _setup(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Create the slot; the tables give their whole old rows, which an audit trail needs."""
    row = connection.execute("SELECT current_setting('wal_level')").fetchone()
    if row != ("logical",):
        raise AuditSchemaError(f"{PLUGIN} needs a server with wal_level=logical, it is {row}")
    _allow_plugin(connection)
    for table in tables:
        name = sql.Identifier(*table.split("."))
        connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(name))
    # slots belong to the server: the name of the database keeps them apart
    connection.execute(
        "SELECT pg_create_logical_replication_slot(current_database(), %s)", [PLUGIN]
    )


def _allow_plugin(connection: psycopg.Connection[Any]) -> None:
    """Newer minor versions decode by listed libraries only: list this one for the database."""
    row = connection.execute("SELECT current_setting(%s, true)", [LIBRARIES]).fetchone()
    listed = row[0] if row else None
    if listed is None or PLUGIN in listed:
        return
    libraries = sql.SQL(", ").join(map(sql.Identifier, [*listed.split(", "), PLUGIN]))
    setting = sql.Identifier(LIBRARIES)
    database = sql.Identifier(connection.info.dbname)
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET {} = {}").format(database, setting, libraries)
    )
    connection.execute(sql.SQL("SET {} = {}").format(setting, libraries))


WAL2JSON = variant()
