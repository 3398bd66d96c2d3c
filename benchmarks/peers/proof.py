"""Proof that a peer records: one that captures nothing must not look fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import psycopg
from psycopg import sql

from audit_schema.bench.variant import Setup, Variant
from audit_schema.errors import AuditSchemaError

CHANGES: Final = 3
NEW_KEY: Final = sql.Literal(-1)

KEY: Final = """
    SELECT a.attname
    FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = %s::regclass AND i.indisprimary AND i.indnkeyatts = 1"""
COLUMNS: Final = """
    SELECT a.attname, t.typcategory
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> %s
    ORDER BY t.typcategory = 'N' DESC, t.typcategory = 'S' DESC, a.attnum"""
OTHER_TABLES: Final = """
    SELECT n.nspname, c.relname
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid <> ALL (%s::regclass[])
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')"""
DECODED: Final = """
    SELECT coalesce(sum(jsonb_array_length(data::jsonb -> 'change')), 0)::integer
    FROM pg_replication_slots s, pg_logical_slot_get_changes(s.slot_name, NULL, NULL)
    WHERE s.database = current_database()"""

INSERT: Final = sql.SQL(
    "INSERT INTO {table} ({key}, {columns}) SELECT {new}, {columns} FROM {table} LIMIT 1"
)
UPDATE: Final = sql.SQL("UPDATE {table} SET {column} = {value} WHERE {key} = {new}")
DELETE: Final = sql.SQL("DELETE FROM {table} WHERE {key} = {new}")


def proven(variant: Variant, rows: int | None = None) -> Variant:
    """Return *variant* with a setup that fails unless the peer then records what it should.

    rows: how many rows an insert, an update and a delete of one row add to all tables that are
    not audited; None: at least one for each.
    """
    return replace(variant, setup=_checked(variant, rows))


def _checked(variant: Variant, rows: int | None) -> Setup:
    def setup(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
        variant.setup(connection, tables)
        found = (
            _decoded(connection, tables)
            if variant.logical
            else _stored(variant, connection, tables)
        )
        if found < CHANGES if rows is None else found != rows:
            wanted = f"{CHANGES} or more" if rows is None else str(rows)
            raise AuditSchemaError(
                f"{variant.name} recorded {found} rows of an insert, an update and a delete, "
                f"expected {wanted}; a peer that records nothing must not be measured"
            )

    return setup


def _stored(variant: Variant, connection: psycopg.Connection[Any], tables: Sequence[str]) -> int:
    """Count the new rows that the changes of a scratch row leave; nothing of it stays."""
    with connection.transaction(force_rollback=True):
        for statement in variant.session:
            connection.execute(statement.encode())
        before = _count_others(connection, tables)
        _change(connection, tables)
        return _count_others(connection, tables) - before


def _decoded(connection: psycopg.Connection[Any], tables: Sequence[str]) -> int:
    """Count the changes of a scratch row that come out of the slot."""
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = on")  # decoding reads flushed WAL only
        _change(connection, tables)
    row = connection.execute(DECODED).fetchone()
    return int(row[0]) if row else 0


def _count_others(connection: psycopg.Connection[Any], tables: Sequence[str]) -> int:
    counts = [
        sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(*name))
        for name in connection.execute(OTHER_TABLES, [list(tables)])
    ]
    if not counts:
        return 0
    union = sql.SQL(" UNION ALL ").join(counts)
    row = connection.execute(
        sql.SQL("SELECT sum(n)::bigint FROM ({}) AS counted").format(union)
    ).fetchone()
    return int(row[0]) if row else 0


def _change(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Insert, update and delete a copy of a row, in the first table whose key is one column."""
    table, key = _table_with_key(connection, tables)
    columns = connection.execute(COLUMNS, [table, key]).fetchall()
    column, category = columns[0]
    changed = sql.SQL("{} + 1" if category == "N" else "{} || 'x'").format(sql.Identifier(column))
    parts = {
        "table": sql.Identifier(*table.split(".")),
        "key": sql.Identifier(key),
        "columns": sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
        "new": NEW_KEY,
        "column": sql.Identifier(column),
        "value": changed,
    }
    for statement in (INSERT, UPDATE, DELETE):
        done = connection.execute(statement.format(**parts))
        if done.rowcount != 1:
            raise AuditSchemaError(f"{table} needs a row to try a peer on, it has none")


def _table_with_key(connection: psycopg.Connection[Any], tables: Sequence[str]) -> tuple[str, str]:
    for table in tables:
        if row := connection.execute(KEY, [table]).fetchone():
            return table, str(row[0])
    raise AuditSchemaError(f"no table with a key of one column among {', '.join(tables)}")
