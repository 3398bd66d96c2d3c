"""Both modes tell the same story of the same work, whatever the work."""

from __future__ import annotations

from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from trail import MODES, Connection, attached, events

COLUMNS = "id integer PRIMARY KEY, n integer, doc json"
keys = st.integers(-2, 6)
numbers = st.integers(0, 3)
documents = st.sampled_from(['{"a":1}', '{"a": 1}', '{"a": 1.0}', "null", None])
new_rows = st.lists(st.tuples(keys, numbers, documents), max_size=5).map(
    lambda found: (
        {"ids": [i for i, _, _ in found], "ns": [n for _, n, _ in found], "doc": None}
        | ({"doc": found[0][2]} if found else {})
    )
)
ROWS = "SELECT i, n, %(doc)s::json FROM unnest(%(ids)s::integer[], %(ns)s::integer[]) AS s (i, n)"
# each kind of statement that changes rows; which keys it takes, to what it changes them
STATEMENTS = {
    f"INSERT INTO {{t}} {ROWS}": new_rows,
    f"INSERT INTO {{t}} {ROWS} ON CONFLICT DO NOTHING": new_rows,
    f"INSERT INTO {{t}} {ROWS} ON CONFLICT (id) DO UPDATE SET n = excluded.n": new_rows,
    f"INSERT INTO {{t}} {ROWS} ON CONFLICT (id) DO UPDATE SET id = {{t}}.id + 7": new_rows,
    f"""
    MERGE INTO {{t}} AS t USING ({ROWS}) AS s (i, n, doc) ON t.id = s.i
     WHEN MATCHED AND s.n = 0 THEN DELETE
     WHEN MATCHED THEN UPDATE SET n = s.n, doc = s.doc
     WHEN NOT MATCHED THEN INSERT VALUES (s.i, s.n, s.doc)
    """: new_rows,
    "UPDATE {t} SET n = %(n)s, doc = %(doc)s WHERE id >= %(id)s": st.fixed_dictionaries(
        {"n": numbers, "doc": documents, "id": keys}
    ),
    "UPDATE {t} SET n = CASE WHEN id %% 2 = %(n)s THEN n + 1 ELSE n END": st.fixed_dictionaries(
        {"n": st.integers(0, 1)}
    ),
    # one step up or down fails or not by the order of the rows; far away and back never does
    "UPDATE {t} SET id = id + %(step)s": st.fixed_dictionaries(
        {"step": st.sampled_from([-1, 1, -100, 100])}
    ),
    "UPDATE {t} SET id = -id, n = n + 1": st.just({}),
    "DELETE FROM {t} WHERE id >= %(id)s": st.fixed_dictionaries({"id": keys}),
    "DELETE FROM {t} WHERE n = %(n)s": st.fixed_dictionaries({"n": numbers}),
    "TRUNCATE {t}": st.just({}),
}
steps = st.sampled_from(list(STATEMENTS)).flatmap(
    lambda text: st.tuples(st.just(text), STATEMENTS[text])
)


def outcome(connection: Connection, table: str, step: tuple[str, Any]) -> tuple[Any, ...]:
    """The error of a statement, its events, and the table afterwards; rows in no order."""
    query, parameters = step
    name, before, error = table.split(".")[1], len(events(connection, table.split(".")[1])), None
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL(query).format(t=sql.Identifier("app_data", name)),
                parameters,
            )
    except psycopg.Error as caught:
        error = type(caught)
    found = events(connection, name)[before:]
    left = connection.execute(f"SELECT id, n, doc::text FROM {table} ORDER BY id").fetchall()
    return error, sorted(found, key=repr), left


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(work=st.lists(steps, min_size=1, max_size=12))
def test_both_modes_tell_the_same_story(tx: Connection, work: list[tuple[str, Any]]) -> None:
    with tx.transaction(force_rollback=True):
        tables = [attached(tx, COLUMNS, mode, f"t_{mode}") for mode in MODES]
        for table in tables:
            tx.execute(
                f"INSERT INTO {table} SELECT i, i %% 3, NULL FROM generate_series(1, 4) AS i", []
            )
        for step in work:
            by_statement, by_row = (outcome(tx, table, step) for table in tables)
            assert by_statement == by_row


@settings(
    max_examples=20,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(work=st.lists(steps, min_size=1, max_size=12))
def test_the_story_leads_from_one_state_of_the_table_to_the_next(
    tx: Connection, work: list[tuple[str, Any]]
) -> None:
    """Of each statement: the events that undo it give back the rows that were there before."""
    with tx.transaction(force_rollback=True):
        table = attached(tx, COLUMNS)
        state: dict[int, Any] = {}
        for step in [("INSERT INTO {t} SELECT 1, 1, NULL", {}), *work]:
            _, found, left = outcome(tx, table, step)
            after = as_json(tx, table)
            assert len(left) == len(after)
            if [one["action"] for one in found] == ["truncate"]:
                assert after == {}
            else:
                assert applied(state, found) == after
            state = after


def as_json(connection: Connection, table: str) -> dict[int, Any]:
    found = connection.execute(f"SELECT t.id, to_jsonb(t) FROM {table} AS t").fetchall()
    return dict(found)


def applied(state: dict[int, Any], found: list[dict[str, Any]]) -> dict[int, Any]:
    """The rows of a table after the events of one statement; each old value must be there."""
    gone: dict[int, Any] = {}
    come: dict[int, Any] = {}
    for one in found:
        old, new = one["old_values"] or {}, one["new_values"] or {}
        key = old.get("id", one["row_key"]["id"])
        if one["action"] != "insert":
            row = state[key]
            assert {name: row[name] for name in old} == old
            gone[key] = row
        if one["action"] != "delete":
            assert one["row_key"]["id"] == new.get("id", key)
            come[one["row_key"]["id"]] = gone.get(key, {}) | new if old else new
    return {key: row for key, row in state.items() if key not in gone} | come
