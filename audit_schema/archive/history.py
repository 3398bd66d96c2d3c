"""The changes of one row from the trail and from archives, as one list.

Files are sorted by table and row, so little of each is read. What is still in the trail, too, is
shown once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pyarrow.parquet
from psycopg.rows import dict_row

from audit_schema import reading
from audit_schema.archive import storage
from audit_schema.reading import Change

# Each verified archive that can hold changes of the row, with the part of its period asked for.
ASKED: Final = """
    SELECT a.url, q.id, q.key, GREATEST(q.since, a.from_time) AS since,
           LEAST(q.until, a.to_time) AS until
      FROM (SELECT k.id,
                   audit._page_start(%(since)s::timestamptz, %(limit)s) AS since,
                   COALESCE(%(until)s::timestamptz, 'infinity') AS until,
                   audit._recorded_key(k.id, audit._cast_key(
                       %(table)s::regclass, k.key_columns, %(key)s::jsonb))::text AS key
              FROM audit.tracked_table AS k
             WHERE k.id = audit._check_tracked(%(table)s::regclass)) AS q
      JOIN audit.archive AS a
        ON a.state = 'verified' AND a.from_time < q.until AND a.to_time > q.since
     ORDER BY a.from_time DESC"""
# The events have their context already.
AS_CHANGES: Final = """(
    SELECT c.*
      FROM jsonb_populate_recordset(NULL::audit.event, CAST(CAST(:events AS text) AS jsonb)) AS e
     CROSS JOIN LATERAL audit._as_change(e, 'infinity', 'infinity') AS c
     CROSS JOIN audit._cursor_parts(:before) AS b
     WHERE (c.occurred_at, c.event_id) < (b.occurred_at, b.event_id)) AS archived"""
DOCUMENTS: Final = ("metadata", "row_key", "old_values", "new_values")
CONTEXT: Final = (
    "actor_type",
    "actor_label",
    "database_user",
    "database_role",
    "application_name",
    "client_addr",
    "metadata",
)


def history(
    connection: psycopg.Connection[Any],
    table: str,
    key: object,
    *,
    since: str | None = None,
    until: str | None = None,
    limit: int = 100,
    before: str | None = None,
) -> list[Change]:
    """Return changes of one row, newest first, as reading.history() does, with those of archives.

    Needs a member of audit_admin, and access to the storage. In archives the key is looked for as
    text, so that little is read: 1 does not find 1.0.
    """
    found = reading.history(
        connection, table, key, since=since, until=until, limit=limit, before=before
    )
    arguments = {
        "table": table,
        "key": json.dumps(key, default=reading._plain),
        "since": since,
        "until": until,
        "limit": limit,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        archives = cursor.execute(ASKED, arguments).fetchall()
    known = {(change.started_at, change.event_id) for change in found}
    for archive in archives:
        text = "[" + ", ".join(map(_as_json, _events(archive))) + "]"
        changes = reading._read(
            connection, reading._SELECT + AS_CHANGES, events=text, before=before
        )
        found += [one for one in changes if (one.started_at, one.event_id) not in known]
    found.sort(key=lambda change: (change.occurred_at, change.event_id), reverse=True)
    return found[:limit]


def _events(archive: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of the row that an archive holds, each with its context."""
    asked = [
        ("tracked_table_id", "=", archive["id"]),
        ("row_key", "=", archive["key"]),
        ("started_at", ">=", archive["since"]),
        ("started_at", "<", archive["until"]),
    ]
    found = _read(archive["url"], asked)
    needed = {event["context_id"] for event in found} - {None}
    carriers = _read(archive["url"], [("id", "in", needed)]) if needed else []
    contexts = {(event["started_at"], event["id"]): event for event in carriers}
    for event in found:
        context = contexts.get((event["started_at"], event["context_id"]), event)
        yield event | {name: context[name] for name in CONTEXT}


def _read(url: str, filters: list[Any]) -> list[dict[str, Any]]:
    try:
        with storage.read(url) as file:
            table = pyarrow.parquet.read_table(file, filters=filters)
    except FileNotFoundError as error:
        raise storage.StorageError(f"the archive {url} is gone") from error
    events: list[dict[str, Any]] = table.to_pylist()
    return events


def _as_json(event: dict[str, Any]) -> str:
    """Return an event as JSON, its documents as they were: numbers keep their digits."""
    values = {
        name: value if name in DOCUMENTS and value is not None else json.dumps(value, default=str)
        for name, value in event.items()
    }
    return "{" + ", ".join(f'"{name}": {value}' for name, value in values.items()) + "}"
