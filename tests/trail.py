"""What the tests of the SQL side ask of a database, as plain rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]
Row = dict[str, Any]
Parameters = Sequence[Any] | Mapping[str, Any] | None

MODES = ("statement", "row")
CHANGED = ("action", "row_key", "old_values", "new_values")


def rows(connection: Connection, query: str, parameters: Parameters = None) -> list[Row]:
    """All rows of a query as dicts."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()


def value(connection: Connection, query: str, parameters: Parameters = None) -> Any:
    """The first column of the only row of a query."""
    [row] = connection.execute(query, parameters).fetchall()
    return row[0]


def events(
    connection: Connection, table: str | None = None, columns: Sequence[str] = CHANGED
) -> list[Row]:
    """The changes of a table (bare name) or of all, in the order in which they were recorded."""
    query = """
        SELECT * FROM audit.change
         WHERE action IN ('insert', 'update', 'delete', 'truncate')
           AND (%s::text IS NULL OR table_name = %s)
         ORDER BY event_id
    """
    return [{name: row[name] for name in columns} for row in rows(connection, query, (table,) * 2)]


def acts(connection: Connection, columns: Sequence[str] = CHANGED) -> list[Row]:
    """What was done to the capture of tables, in the order in which it was recorded."""
    query = """
        SELECT * FROM audit.change
         WHERE action NOT IN ('insert', 'update', 'delete', 'truncate') ORDER BY event_id
    """
    return [{name: row[name] for name in columns} for row in rows(connection, query)]


def event(action: str, row_key: Any = None, old_values: Any = None, new_values: Any = None) -> Row:
    """One expected row of `events`."""
    return dict(zip(CHANGED, (action, row_key, old_values, new_values), strict=True))


def attached(
    connection: Connection, definition: str, mode: str = "statement", name: str = "t"
) -> str:
    """Make the table app_data.NAME of a list of columns, attach it, return its qualified name."""
    table = f"app_data.{name}"
    connection.execute(f"CREATE TABLE {table} ({definition})")
    connection.execute("SELECT audit.attach(%s, %s)", (table, mode))
    return table


def triggers(connection: Connection, table: str) -> list[Row]:
    """The triggers of a table; `version` changes with every touch."""
    query = """
        SELECT tgname, oid, tgenabled, tgtype, xmin::text AS version FROM pg_trigger
        WHERE tgrelid = %s::regclass AND NOT tgisinternal ORDER BY tgname
    """
    return rows(connection, query, (table,))


def refused(
    connection: Connection,
    error: type[psycopg.Error],
    query: str,
    parameters: Parameters = None,
    *,
    message: str = "",
    hint: str = "",
) -> None:
    """Assert that a statement fails with just this error; the transaction goes on."""
    with pytest.raises(error) as caught, connection.transaction():
        connection.execute(query, parameters)
    assert type(caught.value) is error
    assert message in (caught.value.diag.message_primary or "")
    assert hint in (caught.value.diag.message_hint or "")


@contextmanager
def acting_as(connection: Connection, role: str) -> Iterator[None]:
    """SET ROLE for a while; an error rolls back what was done in between."""
    connection.execute("SELECT")  # so that what follows is a savepoint, which commits nothing
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        yield
        connection.execute("RESET ROLE")


def fill(connection: Connection) -> str:
    """Make 20,000 events of as many transactions and rows: plans for an empty trail are chance.

    Returns: the name of the partition that they are in.
    """
    with acting_as(connection, "audit_owner"):
        connection.execute("""
            INSERT INTO audit.event (
                started_at, occurred_at, xid, tracked_table_id, action, row_key, row_hash, actor)
            SELECT now() + i * interval '1 microsecond', now() + i * interval '1 microsecond',
                   i, 1, 'update', jsonb_build_object('id', i),
                   jsonb_hash_extended(jsonb_build_object('id', i), 1), 'actor ' || i % 100
              FROM generate_series(1, 20000) AS i;
            ANALYZE audit.event;
        """)
    filled = value(connection, "SELECT tableoid::regclass::text FROM audit.event LIMIT 1")
    return str(filled).removeprefix("audit.")


def plan(connection: Connection, query: str) -> str:
    """What EXPLAIN says of a query."""
    return "\n".join(line for (line,) in connection.execute(f"EXPLAIN (COSTS OFF) {query}"))


def plans_within(superuser: Connection, query: str, parameters: Parameters = None) -> str:
    """The plans of the statements that the functions of a query run, by auto_explain."""
    found: list[str] = []
    superuser.execute("LOAD 'auto_explain'")
    for name, setting in (
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_nested_statements", "on"),
        ("client_min_messages", "log"),
    ):
        superuser.execute("SELECT set_config(%s, %s, false)", (name, setting))
    superuser.add_notice_handler(lambda notice: found.append(notice.message_primary or ""))
    superuser.execute(query, parameters)
    superuser.execute("SET client_min_messages = warning")
    return "\n".join(found)


def locked_partitions(connection: Connection) -> set[str]:
    """The partitions of the trail that the transaction has locked."""
    query = """
        SELECT relation::regclass::text AS name FROM pg_locks
         WHERE pid = pg_backend_pid() AND locktype = 'relation'
           AND relation IN (SELECT inhrelid FROM pg_inherits
                             WHERE inhparent = 'audit.event'::regclass)
    """
    return {row["name"].removeprefix("audit.") for row in rows(connection, query)}


def indexes(connection: Connection, name: str) -> set[str]:
    """The indexes on partitions that belong to an index of audit.event or of a profile."""
    query = """
        SELECT x.indexrelid::regclass::text AS name
          FROM pg_index AS x
          JOIN pg_inherits AS i ON i.inhrelid = x.indrelid AND i.inhparent = 'audit.event'::regclass
         WHERE x.indexrelid IN (SELECT inhrelid FROM pg_inherits
                                 WHERE inhparent = to_regclass('audit.' || %(name)s))
            OR x.indexrelid::regclass::text = x.indrelid::regclass || substr(%(name)s, 6)
    """
    found = rows(connection, query, {"name": name})
    return {row["name"].removeprefix("audit.") for row in found}


def uses(plan: str, names: set[str]) -> bool:
    """Whether a plan scans one of these indexes."""
    forms = ("{} on ", "Bitmap Index Scan on {} ")
    return any(f" {form.format(name)}" in plan for name in names for form in forms)
