"""What one statement leaves in the trail, the same in both capture modes."""

from __future__ import annotations

from typing import Any

import pytest

from trail import (
    MODES,
    Connection,
    Row,
    attached,
    event,
    events,
    rows,
    value,
)

pytestmark = pytest.mark.parametrize("mode", MODES)

KEYS = {
    "one": "a integer, b integer, c integer, d integer, e integer, n integer, PRIMARY KEY (a)",
    "two": "a integer, b integer, c integer, d integer, e integer, n integer, PRIMARY KEY (b, a)",
    "three": "a integer, b integer, c integer, d integer, e integer, n integer, "
    "PRIMARY KEY (c, a, b)",
    "five": "a integer, b integer, c integer, d integer, e integer, n integer, "
    "PRIMARY KEY (a, b, c, d, e)",
}
KEY_NAMES = {"one": "a", "two": "ab", "three": "abc", "five": "abcde"}
# each is a name that the capture functions use themselves
AWKWARD_NAMES = [
    *("r", "n", "o", "d", "e", "k", "t", "c", "s", "p", "row", "key", "same", "value"),
    *("old", "new", "position", "audit", "old_rows", "new_rows", "v_table", "v_key_columns"),
    *("v_old", "v_new", "v_row", "v_pair", "v_more", "v_first", "v_key", "v_same", "v_context"),
    *("v_omitted", "v_foreign", "tg_op", "tg_argv", "tg_relid", "found", "id", "started_at"),
    *("xid", "action", "row_key", "context_id", "actor", "metadata"),
]

# statement that makes the type, its name, two values as text and as JSON
TYPES: dict[str, tuple[str, str, str, str, Any, Any]] = {
    "enum": ("CREATE TYPE app_data.u AS ENUM ('x', 'y')", "app_data.u", "x", "y", "x", "y"),
    "array": ("CREATE TYPE app_data.u AS ENUM ('x')", "app_data.u[]", "{x}", "{}", ["x"], []),
    "domain": ("CREATE DOMAIN app_data.u AS numeric", "app_data.u", "1", "2", 1, 2),
    "domain of enum": (
        "CREATE TYPE app_data.e AS ENUM ('x', 'y'); CREATE DOMAIN app_data.u AS app_data.e",
        *("app_data.u", "x", "y", "x", "y"),
    ),
    "composite": (
        "CREATE TYPE app_data.u AS (a integer)",
        *("app_data.u", "(1)", "(2)", {"a": 1}, {"a": 2}),
    ),
    "range": (
        "CREATE TYPE app_data.u AS RANGE (subtype = text)",
        *("app_data.u", "[a,b)", "empty", "[a,b)", "empty"),
    ),
    # x and X are equal
    "citext": (
        "CREATE EXTENSION citext SCHEMA app_data",
        *("app_data.citext", "x", "X", "x", "X"),
    ),
    "hstore": (
        "CREATE EXTENSION hstore SCHEMA app_data",
        *("app_data.hstore", "a=>1", "a=>NULL", {"a": "1"}, {"a": None}),
    ),
}


def sorted_events(connection: Connection) -> list[Row]:
    """Within one statement the order of the rows is not promised."""
    return sorted(events(connection), key=repr)


def pairs(found: list[Row]) -> list[tuple[str, Any, Any]]:
    return [(row["action"], row["old_values"], row["new_values"]) for row in found]


def test_one_row(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, name text, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 'a', 1)")
    tx.execute(f"UPDATE {table} SET n = 2")
    tx.execute(f"DELETE FROM {table}")
    assert events(tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "name": "a", "n": 1}),
        event("update", {"id": 1}, {"n": 1}, {"n": 2}),
        event("delete", {"id": 1}, {"id": 1, "name": "a", "n": 2}, None),
    ]


def test_many_rows(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer, note text", mode)
    many = range(1, 301)
    tx.execute(f"INSERT INTO {table} SELECT i, i, 'same' FROM generate_series(1, 300) AS i")
    tx.execute(f"UPDATE {table} SET n = n + 1000")
    tx.execute(f"DELETE FROM {table} WHERE id <= 200")
    inserts = [event("insert", {"id": i}, None, {"id": i, "n": i, "note": "same"}) for i in many]
    updates = [event("update", {"id": i}, {"n": i}, {"n": i + 1000}) for i in many]
    deletes = [
        event("delete", {"id": i}, {"id": i, "n": i + 1000, "note": "same"}) for i in range(1, 201)
    ]
    assert sorted_events(tx) == sorted(inserts + updates + deletes, key=repr)


@pytest.mark.parametrize("width", KEYS)
def test_keys_of_many_columns(tx: Connection, mode: str, width: str) -> None:
    table = attached(tx, KEYS[width], mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 2, 3, 4, 5, 6), (2, 2, 3, 4, 5, 6)")
    tx.execute(f"UPDATE {table} SET n = 7 WHERE a = 1")
    tx.execute(f"DELETE FROM {table} WHERE a = 2")
    first = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "n": 6}
    key = {name: first[name] for name in KEY_NAMES[width]}
    assert events(tx) == [
        event("insert", key, None, first),
        event("insert", key | {"a": 2}, None, first | {"a": 2}),
        event("update", key, {"n": 6}, {"n": 7}),
        event("delete", key | {"a": 2}, first | {"a": 2}, None),
    ]


def test_a_table_without_a_key(tx: Connection, mode: str) -> None:
    table = attached(tx, "a integer, b text", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 'x'), (1, 'x')")
    tx.execute(f"UPDATE {table} SET b = 'y'")
    tx.execute(f"DELETE FROM {table}")
    old, new = {"a": 1, "b": "x"}, {"a": 1, "b": "y"}
    assert events(tx) == [
        *[event("insert", old, None, old)] * 2,
        *[event("update", new, {"b": "x"}, {"b": "y"})] * 2,
        *[event("delete", new, new, None)] * 2,
    ]


def test_a_change_of_the_key(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 10)")
    tx.execute(f"UPDATE {table} SET id = 2")
    tx.execute(f"UPDATE {table} SET id = 3, n = 11")
    assert events(tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "n": 10}),
        event("update", {"id": 2}, {"id": 1}, {"id": 2}),
        event("update", {"id": 3}, {"id": 2, "n": 10}, {"id": 3, "n": 11}),
    ]


def test_a_change_of_all_keys(tx: Connection, mode: str) -> None:
    # the key that one row leaves is the key that another takes, in either direction
    table = attached(
        tx, "id integer, n integer, PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED", mode
    )
    tx.execute(f"INSERT INTO {table} SELECT i, i * 10 FROM generate_series(1, 200) AS i")
    for step in (1, -3):
        before = value(tx, "SELECT max(id) FROM audit.event")
        first = value(tx, f"SELECT min(id) FROM {table}")
        tx.execute(f"UPDATE {table} SET id = id + {step}")
        query = "SELECT action, row_key, old_values, new_values FROM audit.event WHERE id > %s"
        found = rows(tx, query, (before,))
        assert sorted(found, key=lambda row: row["row_key"]["id"]) == [
            event("update", {"id": i + step}, {"id": i}, {"id": i + step})
            for i in range(first, first + 200)
        ]


def test_keys_that_change_places(tx: Connection, mode: str) -> None:
    table = attached(
        tx, "id integer, n integer, PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED", mode
    )
    tx.execute(f"INSERT INTO {table} VALUES (1, 10), (2, 20)")
    tx.execute(f"UPDATE {table} SET id = 3 - id")
    tx.execute(f"UPDATE {table} SET id = 3 - id, n = n + 1")
    assert sorted_events(tx)[2:] == [
        event("update", {"id": 1}, {"id": 2}, {"id": 1}),
        event("update", {"id": 1}, {"id": 2, "n": 10}, {"id": 1, "n": 11}),
        event("update", {"id": 2}, {"id": 1}, {"id": 2}),
        event("update", {"id": 2}, {"id": 1, "n": 20}, {"id": 2, "n": 21}),
    ]


def test_an_update_that_changes_nothing_leaves_no_event(tx: Connection, mode: str) -> None:
    # json has no equality operator, point no hash function
    table = attached(tx, "id integer PRIMARY KEY, doc json, place point, big text, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, '[1]', '(1,2)', repeat('x', 100000), NULL)")
    same = "id = id, doc = '[1]', n = NULL, big = repeat('x', 100000)"
    tx.execute(f"UPDATE {table} SET {same}")
    assert [row["action"] for row in events(tx)] == ["insert"]
    tx.execute(f"INSERT INTO {table} SELECT id + 1, doc, place, big, n FROM {table}")
    tx.execute(f"UPDATE {table} SET {same}")
    assert [row["action"] for row in events(tx)] == ["insert", "insert"]


def test_of_many_rows_only_those_that_changed_leave_an_event(tx: Connection, mode: str) -> None:
    # json '{"a":1}' and '{"a": 1}' differ, and are the same for the trail
    table = attached(tx, "id integer PRIMARY KEY, n integer, doc json", mode)
    tx.execute(f"INSERT INTO {table} SELECT i, i, '{{\"a\":1}}' FROM generate_series(1, 9) AS i")
    tx.execute(f"""
        UPDATE {table} SET n = CASE WHEN id IN (4, 8) THEN -n ELSE n END,
                           doc = CASE WHEN id = 2 THEN '{{"a": 1}}' ELSE doc END
    """)
    assert sorted_events(tx)[9:] == [
        event("update", {"id": 4}, {"n": 4}, {"n": -4}),
        event("update", {"id": 8}, {"n": 8}, {"n": -8}),
    ]


def test_a_statement_without_rows_leaves_no_event(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    for statement in (
        f"INSERT INTO {table} SELECT 2, 2 WHERE false",
        f"INSERT INTO {table} VALUES (1, 2), (1, 3) ON CONFLICT DO NOTHING",
        f"INSERT INTO {table} VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET n = 2 WHERE false",
        f"UPDATE {table} SET n = 2 WHERE id = 2",
        f"DELETE FROM {table} WHERE id = 2",
        f"MERGE INTO {table} USING (SELECT 1) AS s (i) ON i = id WHEN MATCHED THEN DO NOTHING",
    ):
        tx.execute(statement)
    assert [row["action"] for row in events(tx)] == ["insert"]


@pytest.mark.parametrize(
    ("type_", "old", "new"),
    [
        ("json", '{"a":1}', '{"a": 1}'),
        ("float8", "0", "-0"),
        ("integer[]", "{1}", "[0:0]={1}"),
        ("json", "null", None),
    ],
)
def test_a_change_that_jsonb_cannot_show_is_treated_alike_in_every_mode(
    tx: Connection, mode: str, type_: str, old: str, new: str | None
) -> None:
    table = attached(tx, f"id integer PRIMARY KEY, x {type_}", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, %s)", (old,))
    tx.execute(f"UPDATE {table} SET x = %s", (new,))
    # no event says "update" and then names no column
    assert pairs(events(tx))[1:] == []
    tx.execute(f"INSERT INTO {table} SELECT i, %s FROM generate_series(2, 4) AS i", (old,))
    tx.execute(f"UPDATE {table} SET x = %s WHERE id > 1", (new,))
    assert pairs(events(tx))[4:] == []


@pytest.mark.parametrize(
    ("type_", "old", "new", "old_json", "new_json"),
    [
        ("numeric", "1.0", "1.00", "1.0", "1.00"),
        ("jsonb", '"1"', "1", '"1"', "1"),
        ("jsonb", "1.0", "1.00", "1.0", "1.00"),
        ("jsonb", '{"a": 1.0}', '{"a": 1.00}', '{"a": 1.0}', '{"a": 1.00}'),
        ("jsonb", '["null"]', "[null]", '["null"]', "[null]"),
        ("text", "a", "a ", '"a"', '"a "'),
        ("text", "", None, '""', "null"),
        ("text", "null", None, '"null"', "null"),
        ("text", None, "", "null", '""'),
        ("interval", "1 day", "24:00", '"1 day"', '"24:00:00"'),
        ("boolean", "false", None, "false", "null"),
        ("integer[]", "{NULL}", "{}", "[null]", "[]"),
        ("float8", "NaN", "infinity", '"NaN"', '"Infinity"'),
    ],
)
def test_a_change_of_form_is_a_change(
    tx: Connection,
    mode: str,
    type_: str,
    old: str | None,
    new: str | None,
    old_json: str,
    new_json: str,
) -> None:
    table = attached(tx, f"id integer PRIMARY KEY, x {type_}", mode)
    tx.execute(f"INSERT INTO {table} SELECT i, %s FROM generate_series(1, 3) AS i", (old,))
    tx.execute(f"UPDATE {table} SET x = %s WHERE id = 1", (new,))
    tx.execute(f"UPDATE {table} SET x = %s WHERE id > 1", (new,))
    # as text, for Python would take 1.0 and 1.00 for the same
    query = """
        SELECT (old_values -> 'x')::text AS old, (new_values -> 'x')::text AS new
          FROM audit.change WHERE action = 'update'
    """
    assert rows(tx, query) == [{"old": old_json, "new": new_json}] * 3


def test_null_and_absent_stay_different(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, a integer, b integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1, NULL)")
    tx.execute(f"UPDATE {table} SET a = NULL")
    tx.execute(f"UPDATE {table} SET b = 2")
    assert pairs(events(tx)) == [
        ("insert", None, {"id": 1, "a": 1, "b": None}),
        ("update", {"a": 1}, {"a": None}),
        ("update", {"b": None}, {"b": 2}),
    ]


def test_columns_may_have_any_name(tx: Connection, mode: str) -> None:
    columns = ", ".join(f'"{name}" integer' for name in AWKWARD_NAMES)
    table = attached(tx, f"pk integer PRIMARY KEY, {columns}", mode)
    for keys in ([1], [2, 3]):  # one row, and many
        before = len(events(tx))
        tx.execute(f"INSERT INTO {table} (pk) SELECT unnest(%s::integer[])", (keys,))
        for name in AWKWARD_NAMES:
            tx.execute(f'UPDATE {table} SET "{name}" = 7')
        tx.execute(f"DELETE FROM {table}")
        empty, full = (dict.fromkeys(AWKWARD_NAMES, n) for n in (None, 7))
        assert sorted(events(tx)[before:], key=repr) == sorted(
            [event("insert", {"pk": key}, None, {"pk": key} | empty) for key in keys]
            + [
                event("update", {"pk": key}, {name: None}, {name: 7})
                for key in keys
                for name in AWKWARD_NAMES
            ]
            + [event("delete", {"pk": key}, {"pk": key} | full) for key in keys],
            key=repr,
        )


def test_generated_columns_are_recorded_with_their_value(tx: Connection, mode: str) -> None:
    virtual = ", v integer GENERATED ALWAYS AS (n * 3) VIRTUAL"
    table = attached(
        tx,
        "id integer PRIMARY KEY, n integer, s integer GENERATED ALWAYS AS (n * 2) STORED"
        + (virtual if tx.info.server_version >= 180000 else ""),
        mode,
    )
    for keys in ([1], [2, 3]):  # one row, and many
        before = len(events(tx))
        tx.execute(f"INSERT INTO {table} (id, n) SELECT unnest(%s::integer[]), 5", (keys,))
        tx.execute(f"UPDATE {table} SET n = 6")
        tx.execute(f"UPDATE {table} SET n = 6")
        tx.execute(f"DELETE FROM {table}")
        # a virtual column is not stored: it is absent, never a false null
        assert sorted(events(tx)[before:], key=repr) == [
            *[event("delete", {"id": i}, {"id": i, "n": 6, "s": 12}) for i in keys],
            *[event("insert", {"id": i}, None, {"id": i, "n": 5, "s": 10}) for i in keys],
            *[event("update", {"id": i}, {"n": 5, "s": 10}, {"n": 6, "s": 12}) for i in keys],
        ]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("type_", TYPES)
def test_types_that_are_not_of_postgresql_itself(
    tx: Connection, mode: str, type_: str, late: bool
) -> None:
    create, name, old, new, old_json, new_json = TYPES[type_]
    if "EXTENSION" in create and not rows(
        tx, "SELECT FROM pg_available_extensions WHERE name = %s", (type_,)
    ):
        pytest.skip(f"the server has no {type_}")
    tx.execute(create)
    table = attached(
        tx, "id integer PRIMARY KEY" if late else f"id integer PRIMARY KEY, x {name}", mode
    )
    if late:  # the session has captured the table before
        tx.execute(f"INSERT INTO {table} VALUES (8), (9); UPDATE {table} SET id = id + 10")
        tx.execute(f"DELETE FROM {table}; ALTER TABLE {table} ADD COLUMN x {name}")
    for keys in ([1], [2, 3]):  # one row, and many
        before = len(events(tx))
        tx.execute(f"INSERT INTO {table} SELECT unnest(%s::integer[]), %s", (keys, old))
        tx.execute(f"UPDATE {table} SET x = %s", (new,))
        tx.execute(f"UPDATE {table} SET x = %s", (new,))
        tx.execute(f"DELETE FROM {table}")
        assert sorted(events(tx)[before:], key=repr) == [
            *[event("delete", {"id": i}, {"id": i, "x": new_json}) for i in keys],
            *[event("insert", {"id": i}, None, {"id": i, "x": old_json}) for i in keys],
            *[event("update", {"id": i}, {"x": old_json}, {"x": new_json}) for i in keys],
        ]


def test_what_a_before_trigger_made_of_the_row_is_recorded(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute("""
        CREATE FUNCTION app_data.add_one() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN NEW.n := NEW.n + 1; RETURN NEW; END'
    """)
    tx.execute(f"""
        CREATE TRIGGER add_one BEFORE INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION app_data.add_one()
    """)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute(f"UPDATE {table} SET n = 5")
    assert pairs(events(tx)) == [
        ("insert", None, {"id": 1, "n": 2}),
        ("update", {"n": 2}, {"n": 6}),
    ]


def test_capture_follows_alter_table_in_the_same_session(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, a integer, b integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1, 1)")
    tx.execute(f"UPDATE {table} SET a = 2")
    tx.execute(f"ALTER TABLE {table} DROP COLUMN b, ADD COLUMN c text DEFAULT 'new'")
    tx.execute(f"UPDATE {table} SET a = 3")
    tx.execute(f"ALTER TABLE {table} ALTER COLUMN a TYPE text")
    tx.execute(f"UPDATE {table} SET a = '4'")
    tx.execute(f"ALTER TABLE {table} RENAME COLUMN a TO z")
    tx.execute(f"UPDATE {table} SET z = '5'")
    tx.execute(f"INSERT INTO {table} VALUES (2, '2')")
    tx.execute(f"DELETE FROM {table} WHERE id = 1")
    assert pairs(events(tx))[1:] == [
        ("update", {"a": 1}, {"a": 2}),
        ("update", {"a": 2}, {"a": 3}),
        ("update", {"a": "3"}, {"a": "4"}),
        ("update", {"z": "4"}, {"z": "5"}),
        ("insert", None, {"id": 2, "z": "2", "c": "new"}),
        ("delete", {"id": 1, "z": "5", "c": "new"}, None),
    ]


def test_copy(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    with tx.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        for i in range(3):
            copy.write_row((i, i))
    assert events(tx) == [event("insert", {"id": i}, None, {"id": i, "n": i}) for i in range(3)]


def test_insert_on_conflict_do_update(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute(f"""
        INSERT INTO {table} VALUES (1, 10), (2, 20)
        ON CONFLICT (id) DO UPDATE SET n = excluded.n
    """)
    tx.execute(f"INSERT INTO {table} VALUES (1, 99) ON CONFLICT DO NOTHING")
    assert sorted_events(tx) == sorted(
        [
            event("insert", {"id": 1}, None, {"id": 1, "n": 1}),
            event("update", {"id": 1}, {"n": 1}, {"n": 10}),
            event("insert", {"id": 2}, None, {"id": 2, "n": 20}),
        ],
        key=repr,
    )
    tx.execute(f"""
        INSERT INTO {table} SELECT i, 7 FROM generate_series(0, 5) AS i
        ON CONFLICT (id) DO UPDATE SET n = {table}.n + excluded.n, id = {table}.id + 10
    """)
    assert sorted(events(tx)[3:], key=repr) == [
        *[event("insert", {"id": i}, None, {"id": i, "n": 7}) for i in (0, 3, 4, 5)],
        event("update", {"id": 11}, {"id": 1, "n": 10}, {"id": 11, "n": 17}),
        event("update", {"id": 12}, {"id": 2, "n": 20}, {"id": 12, "n": 27}),
    ]


def test_merge(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2), (3, 3), (5, 5), (6, 6)")
    merge = f"""
        MERGE INTO {table} AS t USING unnest(%s::integer[], %s::integer[]) AS s (id, n)
           ON s.id = t.id
         WHEN MATCHED AND s.n IS NULL THEN DELETE
         WHEN MATCHED THEN UPDATE SET n = s.n
         WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.n)
    """
    tx.execute(merge, ([1, 2, 4], [10, None, 40]))
    assert sorted(events(tx)[5:], key=repr) == [
        event("delete", {"id": 2}, {"id": 2, "n": 2}),
        event("insert", {"id": 4}, None, {"id": 4, "n": 40}),
        event("update", {"id": 1}, {"n": 1}, {"n": 10}),
    ]
    tx.execute(merge, ([1, 3, 4, 5, 6, 7, 8], [11, 3, 41, None, None, 70, 80]))
    assert sorted(events(tx)[8:], key=repr) == [
        event("delete", {"id": 5}, {"id": 5, "n": 5}),
        event("delete", {"id": 6}, {"id": 6, "n": 6}),
        event("insert", {"id": 7}, None, {"id": 7, "n": 70}),
        event("insert", {"id": 8}, None, {"id": 8, "n": 80}),
        event("update", {"id": 1}, {"n": 10}, {"n": 11}),
        event("update", {"id": 4}, {"n": 40}, {"n": 41}),
    ]


def test_writable_cte(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    other = attached(tx, "id integer PRIMARY KEY, n integer", mode, "other")
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
    tx.execute(f"""
        WITH gone AS (DELETE FROM {table} WHERE id = 1 RETURNING *),
             changed AS (UPDATE {table} SET n = 20 WHERE id = 2),
             more AS (INSERT INTO {table} VALUES (3, 3))
        INSERT INTO {other} SELECT * FROM gone
    """)
    assert sorted(events(tx)[2:], key=repr) == [
        event("delete", {"id": 1}, {"id": 1, "n": 1}),
        event("insert", {"id": 1}, None, {"id": 1, "n": 1}),
        event("insert", {"id": 3}, None, {"id": 3, "n": 3}),
        event("update", {"id": 2}, {"n": 2}, {"n": 20}),
    ]
    assert [row["action"] for row in events(tx, "other")] == ["insert"]


def test_update_from_and_delete_using(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
    tx.execute(
        f"UPDATE {table} AS t SET n = s.n FROM (VALUES (1, 10)) AS s (id, n) WHERE s.id=t.id"
    )
    tx.execute(f"DELETE FROM {table} AS t USING (VALUES (2)) AS s (id) WHERE s.id = t.id")
    assert pairs(events(tx))[2:] == [
        ("update", {"n": 1}, {"n": 10}),
        ("delete", {"id": 2, "n": 2}, None),
    ]


def test_cascades_of_foreign_keys(tx: Connection, mode: str) -> None:
    parent = attached(tx, "id integer PRIMARY KEY", mode)
    attached(
        tx,
        "id integer PRIMARY KEY, "
        f"p integer REFERENCES {parent} ON UPDATE CASCADE ON DELETE CASCADE",
        mode,
        "child",
    )
    tx.execute(f"INSERT INTO {parent} VALUES (1)")
    tx.execute("INSERT INTO app_data.child VALUES (7, 1)")
    tx.execute(f"UPDATE {parent} SET id = 2")
    tx.execute(f"DELETE FROM {parent}")
    assert events(tx, "child")[1:] == [
        event("update", {"id": 7}, {"p": 1}, {"p": 2}),
        event("delete", {"id": 7}, {"id": 7, "p": 2}),
    ]


def test_writes_of_the_users_own_triggers(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    attached(tx, "id integer PRIMARY KEY", mode, "copy")
    tx.execute(f"""
        CREATE FUNCTION app_data.spread() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO app_data.copy VALUES (NEW.id);
            IF NEW.n < 3 THEN INSERT INTO {table} VALUES (NEW.id + 1, NEW.n + 1); END IF;
            RETURN NULL;
        END $$
    """)
    tx.execute(f"""
        CREATE TRIGGER spread AFTER INSERT ON {table}
        FOR EACH ROW EXECUTE FUNCTION app_data.spread()
    """)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    keys = [{"id": 1}, {"id": 2}, {"id": 3}]
    for name in ("t", "copy"):
        assert sorted((row["row_key"] for row in events(tx, name)), key=repr) == keys
    assert value(tx, "SELECT count(DISTINCT transaction_id) FROM audit.change") == 1


def test_rows_of_partitions(tx: Connection, mode: str) -> None:
    tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY, n text) PARTITION BY RANGE (id)")
    tx.execute("CREATE TABLE app_data.low PARTITION OF app_data.t FOR VALUES FROM (0) TO (10)")
    tx.execute("CREATE TABLE app_data.high (n text, id integer PRIMARY KEY)")
    tx.execute("ALTER TABLE app_data.t ATTACH PARTITION app_data.high FOR VALUES FROM (10) TO (20)")
    tx.execute("SELECT audit.attach('app_data.t', %s)", (mode,))
    tx.execute("INSERT INTO app_data.t VALUES (1, 'a')")
    tx.execute("UPDATE app_data.t SET n = 'b'")
    tx.execute("UPDATE app_data.t SET id = 11")
    tx.execute("UPDATE app_data.high SET n = 'c'")
    tx.execute("DELETE FROM app_data.t")
    assert events(tx, "t") == [
        event("insert", {"id": 1}, None, {"id": 1, "n": "a"}),
        event("update", {"id": 1}, {"n": "a"}, {"n": "b"}),
        # PostgreSQL moves a row from partition to partition by a delete and an insert
        event("delete", {"id": 1}, {"id": 1, "n": "b"}),
        event("insert", {"id": 11}, None, {"id": 11, "n": "b"}),
        event("update", {"id": 11}, {"n": "b"}, {"n": "c"}),
        event("delete", {"id": 11}, {"id": 11, "n": "c"}),
    ]


def test_two_statements_in_one_string(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1); UPDATE {table} SET n = 2; DELETE FROM {table}")
    assert [row["action"] for row in events(tx)] == ["insert", "update", "delete"]


def test_truncate_is_recorded(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1)")
    tx.execute(f"TRUNCATE {table}")
    assert events(tx)[1:] == [event("truncate")]


def test_occurred_at_is_the_clock_and_started_at_the_transaction(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY", mode)
    before = value(tx, "SELECT clock_timestamp()")
    tx.execute(f"INSERT INTO {table} VALUES (1)")
    [found] = events(tx, columns=("started_at", "occurred_at"))
    assert found["started_at"] == value(tx, "SELECT now()")
    assert before < found["occurred_at"] < value(tx, "SELECT clock_timestamp()")
