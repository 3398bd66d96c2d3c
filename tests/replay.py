"""Replays the trail of a table from empty, and compares what comes out with the table itself."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import sql
from psycopg.types.json import set_json_loads

from trail import Connection, Row, rows, value

# A column that became SQL NULL is there as null; one that did not change is absent.
Values = dict[str, Any]

EVENTS = """
    SELECT event_id, action, row_key, old_values, new_values FROM audit.change
     WHERE table_schema = %s AND table_name = %s ORDER BY occurred_at, event_id
"""
KEY = """
    SELECT key_columns FROM audit.tracked_table WHERE schema_name = %s AND table_name = %s
"""
# Capture renders values like this, whoever writes.
RENDERING = """
    SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, YMD', false),
           set_config('IntervalStyle', 'postgres', false), set_config('bytea_output', 'hex', false),
           set_config('extra_float_digits', '1', false)
"""


def replayed(connection: Connection, table: str) -> Counter[str]:
    """The rows, as JSON text, that the trail of `schema.table` leads to.

    Each event has to fit the state that the ones before it led to: an update finds its row and the
    old values in it, a delete the whole row. An AssertionError names the first that does not.
    """
    schema, name = table.split(".")
    key_columns = value(connection, KEY, (schema, name))
    with exact_numbers(connection):
        found = rows(connection, EVENTS, (schema, name))
    state: defaultdict[str, deque[Values]] = defaultdict(deque)
    for event in found:
        _apply(event, key_columns, state)
    return Counter(_text(row) for same_key in state.values() for row in same_key)


def actual(connection: Connection, table: str) -> Counter[str]:
    """The rows of `schema.table`, as JSON text."""
    query = sql.SQL("SELECT to_jsonb(t) AS row FROM {} AS t").format(
        sql.Identifier(*table.split("."))
    )
    connection.execute(RENDERING)
    with exact_numbers(connection):
        return Counter(_text(row) for (row,) in connection.execute(query))


def check(connection: Connection, *tables: str) -> None:
    """Assert that the trail of each table, replayed from empty, gives exactly the table."""
    for table in tables:
        expected, found = replayed(connection, table), actual(connection, table)
        assert found - expected == Counter(), f"{table} holds rows that the trail does not"
        assert expected - found == Counter(), f"the trail of {table} holds rows that it does not"


@contextmanager
def exact_numbers(connection: Connection) -> Iterator[None]:
    """Keep the digits of JSON numbers: 1.0 and 1.00 are two values for the trail."""

    def loads(document: str | bytes) -> Any:
        return json.loads(document, parse_int=_Number, parse_float=_Number)

    set_json_loads(loads, connection)
    try:
        yield
    finally:
        set_json_loads(json.loads, connection)


class _Number(str):
    """The digits of a number; no text is equal to it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str(self) == str(other)

    __hash__ = str.__hash__


def _apply(event: Row, key_columns: list[str], state: defaultdict[str, deque[Values]]) -> None:
    action, old, new = event["action"], event["old_values"], event["new_values"]
    if action == "truncate":
        state.clear()
        return
    if action == "insert":
        assert _key(new, key_columns) == event["row_key"], event
        state[_text(event["row_key"])].append(new)
        return
    assert action in ("update", "delete"), event
    before = event["row_key"] | {n: v for n, v in old.items() if n in event["row_key"]}
    # within a statement two rows may have one key for a moment: the older one is meant
    same_key = state[_text(before)]
    fits = (row for row in same_key if {name: row[name] for name in old} == old)
    row = next(fits, None)
    assert row is not None, f"none of {list(same_key)} is what {event} changes"
    same_key.remove(row)
    if action == "delete":
        assert row == old, f"{row} is not what {event} deletes"
        return
    assert old.keys() == new.keys(), event
    row = row | new
    assert _key(row, key_columns) == event["row_key"], event
    state[_text(event["row_key"])].append(row)


def _key(row: Values, key_columns: list[str]) -> Values:
    return {name: row[name] for name in key_columns} if key_columns else row


def _text(document: Values) -> str:
    return json.dumps(_marked(document), sort_keys=True)


def _marked(document: Any) -> Any:
    """Make numbers differ from text with the same digits."""
    if isinstance(document, _Number):
        return {"number": str(document)}
    if isinstance(document, dict):
        return {name: _marked(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_marked(value) for value in document]
    return document
