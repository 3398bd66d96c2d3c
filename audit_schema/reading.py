"""Read the trail: one call is one SQL function, one row is one Change."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy
    from sqlalchemy.orm import Session, scoped_session

Connection: TypeAlias = (
    "psycopg.Connection[Any] | sqlalchemy.Connection | Session | scoped_session[Any]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One recorded change: a row of the view audit.change.

    old_values and new_values hold the whole row for delete and insert, and only the changed
    columns for update; None where there is no such side. Their values are JSON's, numbers with a
    decimal point as Decimal. cursor continues a list after this row.
    """

    transaction_id: UUID
    event_id: int
    occurred_at: datetime
    actor: str | None
    actor_type: str | None
    actor_label: str | None
    action: str
    table_schema: str | None
    table_name: str | None
    row_key: dict[str, Any] | None
    old_values: dict[str, Any] | None
    new_values: dict[str, Any] | None
    metadata: dict[str, Any] | None
    database_user: str | None
    database_role: str | None
    client_addr: str | None
    application_name: str | None
    started_at: datetime
    xid: int
    tracked_table_id: int | None
    cursor: str

    @property
    def columns(self) -> list[tuple[str, Any, Any]]:
        """(name, old, new) of each column concerned, by name; None on a side without it."""
        old, new = self.old_values or {}, self.new_values or {}
        return [(name, old.get(name), new.get(name)) for name in sorted(old | new)]


def history(
    connection: Connection,
    table: str,
    key: object = None,
    *,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    limit: int = 100,
    before: str | None = None,
) -> list[Change]:
    """Return changes of *table*, newest first: of one row if *key* is given, else of all.

    connection: psycopg Connection, or SQLAlchemy Connection or Session; async ones through
    `await connection.run_sync(history, ...)`. table: as in SQL, 'orders', 'shop."Order"'.
    key: value of a single-column key, or a mapping of column name to value; UUID, datetime and
    Decimal are compared as the column's type. since, until: bounds with time zone, or text as
    PostgreSQL reads it; None for since means the default window of the database (90 days),
    '-infinity' everything. before: `cursor` of the last change of the
    page before. An unknown table raises the driver's UndefinedTable.
    """
    return _read(
        connection,
        _HISTORY,
        table=table,
        key=None if key is None else json.dumps(key, default=_plain),
        since=_time(since),
        until=_time(until),
        limit=limit,
        before=before,
    )


def transaction_changes(connection: Connection, transaction_id: UUID | str) -> list[Change]:
    """Return all changes of one transaction, oldest first; [] when it is unknown."""
    return _read(connection, _TRANSACTION_CHANGES, transaction_id=str(transaction_id))


def actor_activity(
    connection: Connection,
    actor: str,
    *,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    limit: int = 100,
    before: str | None = None,
) -> list[Change]:
    """Return what *actor* changed, newest first; arguments as for history()."""
    return _read(
        connection,
        _ACTOR_ACTIVITY,
        actor=actor,
        since=_time(since),
        until=_time(until),
        limit=limit,
        before=before,
    )


def search(
    connection: Connection,
    new_values: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    limit: int = 100,
    before: str | None = None,
) -> list[Change]:
    """Return the changes that brought *new_values*, were made under *metadata*, or both.

    Each is part of a JSON object to find, values as the trail has them (a timestamp as ISO text in
    UTC). Newest transaction first; other arguments as for history().
    """
    return _read(
        connection,
        _SEARCH,
        new_values=None if new_values is None else json.dumps(new_values),
        metadata=None if metadata is None else json.dumps(metadata),
        since=_time(since),
        until=_time(until),
        limit=limit,
        before=before,
    )


# Documents travel as text, so that numbers arrive exactly whatever the driver. CAST of text:
# asyncpg would otherwise want a table's oid, and parsed JSON.
_SELECT = """
    SELECT transaction_id, event_id, occurred_at, actor, actor_type, actor_label, action,
           table_schema, table_name, CAST(row_key AS text) AS row_key,
           CAST(old_values AS text) AS old_values, CAST(new_values AS text) AS new_values,
           CAST(metadata AS text) AS metadata, database_user, database_role,
           CAST(client_addr AS text) AS client_addr, application_name, started_at, xid,
           tracked_table_id, cursor
      FROM """
_HISTORY = (
    _SELECT
    + """audit.history(
           p_table => CAST(CAST(:table AS text) AS regclass),
           p_key => CAST(CAST(:key AS text) AS jsonb),
           p_from => CAST(CAST(:since AS text) AS timestamptz),
           p_to => CAST(CAST(:until AS text) AS timestamptz),
           p_limit => :limit, p_before => :before)"""
)
_TRANSACTION_CHANGES = (
    _SELECT
    + """audit.transaction_changes(
           p_transaction_id => CAST(CAST(:transaction_id AS text) AS uuid))"""
)
_ACTOR_ACTIVITY = (
    _SELECT
    + """audit.actor_activity(
           p_actor => :actor,
           p_from => CAST(CAST(:since AS text) AS timestamptz),
           p_to => CAST(CAST(:until AS text) AS timestamptz),
           p_limit => :limit, p_before => :before)"""
)
_SEARCH = (
    _SELECT
    + """audit.search(
           p_new_values => CAST(CAST(:new_values AS text) AS jsonb),
           p_metadata => CAST(CAST(:metadata AS text) AS jsonb),
           p_from => CAST(CAST(:since AS text) AS timestamptz),
           p_to => CAST(CAST(:until AS text) AS timestamptz),
           p_limit => :limit, p_before => :before)"""
)
_DOCUMENTS = ("row_key", "old_values", "new_values", "metadata")


def _read(connection: Any, statement: str, **arguments: Any) -> list[Change]:
    import psycopg
    import sqlalchemy
    from psycopg.rows import dict_row

    if isinstance(connection, psycopg.Connection):
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_for_psycopg(statement), arguments).fetchall()
    else:
        rows = connection.execute(sqlalchemy.text(statement), arguments).mappings().all()
    return [_change(row) for row in rows]


@functools.cache
def _for_psycopg(statement: str) -> Any:
    """Return *statement* with psycopg's placeholders, as SQLAlchemy writes them."""
    import sqlalchemy
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    dialect: Any = PGDialect_psycopg  # its constructor is untyped
    return str(sqlalchemy.text(statement).compile(dialect=dialect()))


def _change(row: Mapping[str, Any]) -> Change:
    documents = {name: _document(row[name]) for name in _DOCUMENTS}
    return Change(**{**row, **documents})


def _document(text: str | None) -> Any:
    return None if text is None else json.loads(text, parse_float=Decimal)


def _time(value: datetime | str | None) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else value


def _plain(value: object) -> str:
    """Return a key value as text that PostgreSQL casts to the column's type."""
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value).hex()
    return str(value)
