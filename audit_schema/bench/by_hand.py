"""The same events, written by the statement that makes the change: no trigger.

The floor for capture in the database: what an application could write that knew every column and
forgot no statement. Whatever depends on the columns of the trail is in this module alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from audit_schema.bench.variant import ACTOR, METADATA, Variant, install
from audit_schema.bench.workload import Fragment, Shape
from audit_schema.errors import AuditSchemaError

TABLE_ID: Final = 1
"""The id in the trail of the only table."""

RECORD: Final = sql.SQL("""
    WITH {written},
    first AS MATERIALIZED (SELECT nextval('audit.event_id_seq') AS id)
    INSERT INTO audit.event (
        id, context_id, started_at, occurred_at, xid, tracked_table_id, action, row_key,
        row_hash, old_values, new_values,
        actor, metadata, backend_pid, client_port, client_addr, database_user, database_role,
        application_name)
    SELECT CASE WHEN w.position = 1 THEN f.id ELSE nextval('audit.event_id_seq') END,
           CASE WHEN w.position > 1 THEN f.id END,
           now(), clock_timestamp(), txid_current(), {table_id}, {action},
           w.key, jsonb_hash_extended(w.key, {table_id}), {old}, {new}, {actor}, c.*
      FROM (SELECT r AS row, jsonb_build_object('id', r.id) AS key,
                   row_number() OVER () AS position FROM written AS r OFFSET 0) AS w
     CROSS JOIN first AS f
      LEFT JOIN (SELECT {metadata}::jsonb, pg_backend_pid(), inet_client_port(),
                        inet_client_addr(), session_user::text,
                        NULLIF(current_setting('role'), 'none'),
                        NULLIF(current_setting('application_name'), '')) AS c
             ON w.position = 1""")
WRITTEN: Final = sql.SQL("written AS ({change} RETURNING *)")
UPDATED: Final = sql.SQL("""
    before AS (SELECT id AS old_id, {names} FROM {table} WHERE id {where} FOR NO KEY UPDATE),
    written AS (
        UPDATE {table} AS n SET {assignments} FROM before AS o WHERE n.id = o.old_id
        RETURNING n.id, jsonb_build_object({old}) AS old_values,
                  jsonb_build_object({new}) AS new_values)""")


@dataclass(frozen=True)
class ByHand:
    """The statements of *shape*, each of which records what it changes."""

    shape: Shape

    def insert_bulk(self, first: int, last: int) -> sql.Composed:
        """As Shape.insert_bulk."""
        return self._insert(self.shape.insert_bulk(first, last))

    def insert(self, count: int) -> sql.Composed:
        """As Shape.insert."""
        return self._insert(self.shape.insert(count))

    def delete(self, where: Fragment) -> sql.Composed:
        """As Shape.delete."""
        written = WRITTEN.format(change=self.shape.delete(where))
        return _record("delete", written, old=sql.SQL("to_jsonb(w.row)"))

    def update(self, columns: Sequence[str], where: Fragment) -> sql.Composed:
        """As Shape.update."""
        written = UPDATED.format(
            table=self.shape.identifier,
            where=where,
            names=sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(sql.Identifier(name), sql.Identifier(f"old_{name}"))
                for name in columns
            ),
            assignments=self.shape.assignments(columns),
            old=_pairs(columns, "o", "old_"),
            new=_pairs(columns, "n"),
        )
        return _record(
            "update", written, sql.SQL("(w.row).old_values"), sql.SQL("(w.row).new_values")
        )

    def _insert(self, statement: Fragment) -> sql.Composed:
        written = WRITTEN.format(change=statement)
        return _record("insert", written, new=sql.SQL("to_jsonb(w.row)"))


def _pairs(columns: Sequence[str], alias: str, prefix: str = "") -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(alias, prefix + name))
        for name in columns
    )


def _record(
    action: str,
    written: Fragment,
    old: Fragment = sql.NULL,
    new: Fragment = sql.NULL,
) -> sql.Composed:
    return RECORD.format(
        written=written,
        table_id=TABLE_ID,
        action=sql.Literal(action),
        old=old,
        new=new,
        actor=sql.Literal(ACTOR),
        metadata=sql.Literal(METADATA),
    )


def _prepare(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Make the table known to the trail, without triggers."""
    install(connection)
    for table in tables:
        row = connection.execute("SELECT audit.attach(%s::regclass)", [table]).fetchone()
        if row != (TABLE_ID,):
            raise AuditSchemaError(f"by hand one table can be audited, with id 1; got {row}")
        connection.execute("SELECT audit.detach(%s::regclass)", [table])


BY_HAND: Final = Variant(
    "by-hand",
    "by hand, no trigger",
    _prepare,
    packages=("audit-schema",),
    by_hand=True,
)
