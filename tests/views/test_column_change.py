"""audit.column_change: one row for each changed column."""

from __future__ import annotations

from trail import Connection, Row, acting_as, attached, rows


def changes(connection: Connection) -> list[Row]:
    query = """
        SELECT action, row_key, column_name, old_value, new_value FROM audit.column_change
         ORDER BY event_id, column_name
    """
    return rows(connection, query)


def change(action: str, column: str, old: object, new: object) -> Row:
    return {
        "action": action,
        "row_key": {"id": 1},
        "column_name": column,
        "old_value": old,
        "new_value": new,
    }


def test_each_column_is_one_row_with_old_and_new(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY, a text, b jsonb")
    tx.execute(f"INSERT INTO {table} VALUES (1, 'x', NULL)")
    tx.execute(f"UPDATE {table} SET a = 'y', b = '[1]'")
    tx.execute(f"DELETE FROM {table}")
    assert changes(tx) == [
        change("insert", "a", None, "x"),
        change("insert", "b", None, None),
        change("insert", "id", None, 1),
        change("update", "a", "x", "y"),
        change("update", "b", None, [1]),
        change("delete", "a", "y", None),
        change("delete", "b", [1], None),
        change("delete", "id", 1, None),
    ]


def test_json_null_is_a_value_and_sql_null_is_none(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY, a text")
    tx.execute(f"INSERT INTO {table} VALUES (1, 'x')")
    tx.execute(f"UPDATE {table} SET a = NULL")
    query = """
        SELECT action, old_value IS NULL AS no_old, new_value IS NULL AS no_new
          FROM audit.column_change WHERE column_name = 'a' ORDER BY event_id
    """
    assert rows(tx, query) == [
        {"action": "insert", "no_old": True, "no_new": False},
        {"action": "update", "no_old": False, "no_new": False},
    ]


def test_a_truncate_has_no_columns(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    tx.execute(f"TRUNCATE {table}")
    assert changes(tx) == []


def test_a_reader_may_read_it(root_tx: Connection) -> None:
    table = attached(root_tx, "id integer PRIMARY KEY")
    root_tx.execute(f"INSERT INTO {table} VALUES (1)")
    with acting_as(root_tx, "audit_reader"):
        assert changes(root_tx) == [change("insert", "id", None, 1)]
