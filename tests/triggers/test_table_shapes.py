"""Every shape of table that can be attached is captured as the documentation says."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from servers import ROOT, Database
from trail import MODES, Connection, Row, attached, event, events, refused, rows, value

pytestmark = pytest.mark.parametrize("mode", MODES)

NUMBERS = "id integer PRIMARY KEY, n integer"
# names of 63 bytes, of several scripts, and those that SQL would read otherwise
NAMES = [
    "n" * 63,
    "ß" * 31,
    "表" * 21,
    "😀" * 15,
    "Größe x",
    "UPPER",
    'say "x"',
    "it's",
    "back\\slash",
    "{a,b}",
    "a.b",
    "%s",
    " ",
    "$1",
    "null",
    "e\u0301",
    "select",
]


def attach(connection: Connection, table: str, mode: str) -> None:
    connection.execute("SELECT audit.attach(%s, %s)", (table, mode))


def captures(connection: Connection) -> Row:
    """What audit.status() says of the attached tables."""
    [row] = rows(
        connection, "SELECT state, value FROM audit.status() WHERE item = 'attached tables'"
    )
    return row


def history(connection: Connection, table: str, key: Any) -> list[tuple[str, Any]]:
    """Action and key of each change of a row, newest first."""
    query = "SELECT action, row_key FROM audit.history(%s, %s)"
    return connection.execute(query, (table, Jsonb(key))).fetchall()


def in_any_order(found: list[Row]) -> list[Row]:
    return sorted(found, key=lambda row: json.dumps(row, sort_keys=True))


# --- keys ---------------------------------------------------------------------------------------


def test_the_history_of_a_row_that_changed_its_key_is_under_both_keys(
    tx: Connection, mode: str
) -> None:
    table = attached(tx, "a integer, b text, n integer, PRIMARY KEY (b, a)", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 'x', 0), (2, 'y', 0)")
    tx.execute(f"UPDATE {table} SET b = 'z' WHERE a = 1")
    tx.execute(f"UPDATE {table} SET n = 1, a = 3 WHERE a = 1")
    tx.execute(f"DELETE FROM {table} WHERE a = 3")
    assert events(tx)[2:] == [
        event("update", {"a": 1, "b": "z"}, {"b": "x"}, {"b": "z"}),
        event("update", {"a": 3, "b": "z"}, {"a": 1, "n": 0}, {"a": 3, "n": 1}),
        event("delete", {"a": 3, "b": "z"}, {"a": 3, "b": "z", "n": 1}),
    ]
    # each step stands under the key that it led to
    for key, actions in (
        ({"a": 1, "b": "x"}, ["insert"]),
        ({"a": 1, "b": "z"}, ["update"]),
        ({"a": 3, "b": "z"}, ["delete", "update"]),
    ):
        assert history(tx, table, key) == [(action, key) for action in actions]


def test_the_history_of_a_table_without_a_key_is_found_by_the_whole_row(
    tx: Connection, mode: str
) -> None:
    table = attached(tx, "a integer, b numeric, c jsonb", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1.50, NULL), (2, NULL, '[]')")
    tx.execute(f"UPDATE {table} SET b = 2 WHERE a = 1")
    assert history(tx, table, {"a": 1, "b": 1.50, "c": None}) == [
        ("insert", {"a": 1, "b": 1.50, "c": None})
    ]
    assert history(tx, table, {"a": 1, "b": 2, "c": None}) == [
        ("update", {"a": 1, "b": 2, "c": None})
    ]


@pytest.mark.parametrize(
    ("type_", "literal", "recorded"),
    [
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("timestamptz", "2024-07-01 12:00+02", "2024-07-01T10:00:00+00:00"),
        ("bigint", "9223372036854775807", 9223372036854775807),
        ("char(4)", "ab", "ab  "),
        ("bytea", "\\x00ff", "\\x00ff"),
        ("text[]", "{b,NULL,a}", ["b", None, "a"]),
        ("app_data.mood[]", "{bad,good}", ["bad", "good"]),
        ("jsonb", '"x"', "x"),
        ("jsonb", '{"a": [1]}', {"a": [1]}),
        ("int4range", "[1,3]", "[1,4)"),
        ("app_data.mood", "good", "good"),
        ("app_data.code", "7", 7),
        ("app_data.pair", "(1,x)", {"a": 1, "b": "x"}),
    ],
)
def test_keys_of_any_type(
    tx: Connection, mode: str, type_: str, literal: str, recorded: Any
) -> None:
    tx.execute("""
        CREATE TYPE app_data.mood AS ENUM ('good', 'bad');
        CREATE DOMAIN app_data.code AS integer;
        CREATE TYPE app_data.pair AS (a integer, b text)
    """)
    table = attached(tx, f"id {type_} PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (%s, 1)", (literal,))
    tx.execute(f"UPDATE {table} SET n = 2")
    assert [row["row_key"] for row in events(tx)] == [{"id": recorded}] * 2
    assert [action for action, _ in history(tx, table, {"id": recorded})] == ["update", "insert"]


def test_an_identity_column(tx: Connection, mode: str) -> None:
    table = attached(tx, "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer", mode)
    tx.execute(f"INSERT INTO {table} (n) VALUES (1), (2)")
    tx.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES (77, 3)")
    tx.execute(f"UPDATE {table} SET id = DEFAULT WHERE id = 77")
    assert [row["row_key"]["id"] for row in events(tx)] == [1, 2, 77, 3]


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_schema_table_and_columns(tx: Connection, mode: str, name: str) -> None:
    quoted, table = sql.Identifier(name), sql.Identifier(name, name)
    other = sql.Identifier(name[:-1] + "k" if name.isascii() else name[:-1])
    tx.execute(sql.SQL("CREATE SCHEMA {}").format(quoted))
    tx.execute(
        sql.SQL("CREATE TABLE {} ({} integer, {} integer, v text, PRIMARY KEY ({}, {}))").format(
            table, quoted, other, other, quoted
        )
    )
    attach(tx, table.as_string(tx), mode)
    key = {name: 1, other.as_string(tx)[1:-1].replace('""', '"'): 2}
    for values in ("(1, 2, 'a')", "(1, 3, 'a'), (1, 4, 'a')"):  # one row, and many
        tx.execute(sql.SQL("INSERT INTO {} VALUES " + values).format(table))
    tx.execute(sql.SQL("UPDATE {} SET v = 'b' WHERE {} = 2").format(table, other))
    tx.execute(sql.SQL("TRUNCATE {}").format(table))
    found = events(tx, columns=("table_schema", "table_name", "action", "row_key"))
    assert {(row["table_schema"], row["table_name"]) for row in found} == {(name, name)}
    assert [row["action"] for row in found] == [*["insert"] * 3, "update", "truncate"]
    assert [row["row_key"] for row in found if row["action"] == "update"] == [key]
    changes = history(tx, table.as_string(tx), key)
    assert [action for action, _ in changes] == ["update", "insert"]
    assert captures(tx)["state"] == "ok"


# --- columns ------------------------------------------------------------------------------------


def test_a_table_of_1600_columns(tx: Connection, mode: str) -> None:
    columns = [f"c{number}" for number in range(1, 1600)]
    table = attached(
        tx, "id integer PRIMARY KEY, " + ", ".join(f"{name} smallint" for name in columns), mode
    )
    empty = dict.fromkeys(columns)
    for keys in ([1], [2, 3]):
        before = len(events(tx))
        tx.execute(f"INSERT INTO {table} (id) SELECT unnest(%s::integer[])", (keys,))
        tx.execute(f"UPDATE {table} SET c1 = 1, c1599 = 2 WHERE id = ANY (%s)", (keys,))
        tx.execute(f"DELETE FROM {table}")
        changed, nothing = {"c1": 1, "c1599": 2}, {"c1": None, "c1599": None}
        assert events(tx)[before:] == [
            *[event("insert", {"id": key}, None, {"id": key} | empty) for key in keys],
            *[event("update", {"id": key}, nothing, changed) for key in keys],
            *[event("delete", {"id": key}, {"id": key} | empty | changed) for key in keys],
        ]


@pytest.mark.slow
def test_large_values(tx: Connection, mode: str) -> None:
    """A row of more than 100 MB, of which half is compressed well."""
    table = attached(tx, "id integer PRIMARY KEY, t text, raw bytea, n integer", mode)
    random = b"".join(hashlib.sha512(bytes([i])).digest() for i in range(256))
    size = 52 * 2**20
    tx.execute(
        f"INSERT INTO {table} SELECT 1, repeat('ü\"\\', {size // 4}), repeat('x', 7)::bytea, 1"
    )
    tx.execute(
        f"UPDATE {table} SET raw = decode(repeat(%s, {size // 2 // len(random)}), 'hex')",
        (random.hex(),),
    )
    tx.execute(f"UPDATE {table} SET n = 2")
    tx.execute(f"INSERT INTO {table} SELECT id + 1, t, raw, n FROM {table}")
    tx.execute(f"UPDATE {table} SET t = t || '!'")
    tx.execute(f"DELETE FROM {table} WHERE id = 2")
    query = """
        SELECT action, row_key ->> 'id' AS id, (SELECT array_agg(k ORDER BY k)
                 FROM jsonb_object_keys(COALESCE(new_values, old_values)) AS k) AS columns,
               length(COALESCE(new_values, old_values) ->> 't') AS length
          FROM audit.event ORDER BY id, audit.event.id
    """
    length = size // 4 * 3
    assert rows(tx, query) == [
        {"action": "insert", "id": "1", "columns": ["id", "n", "raw", "t"], "length": length},
        {"action": "update", "id": "1", "columns": ["raw"], "length": None},
        {"action": "update", "id": "1", "columns": ["n"], "length": None},
        {"action": "update", "id": "1", "columns": ["t"], "length": length + 1},
        {"action": "insert", "id": "2", "columns": ["id", "n", "raw", "t"], "length": length},
        {"action": "update", "id": "2", "columns": ["t"], "length": length + 1},
        {"action": "delete", "id": "2", "columns": ["id", "n", "raw", "t"], "length": length + 1},
    ]
    same = f"""
        SELECT bool_and(md5((e.new_values ->> 'raw')::bytea) = md5(t.raw)) AS raw
          FROM audit.event AS e, {table} AS t WHERE e.action = 'update' AND e.new_values ? 'raw'
    """
    assert value(tx, same) is True


@pytest.mark.slow
def test_values_above_256_megabytes_fail_the_write(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, a text, b text", mode)
    # one value, or all of the row together
    length, copies = (268435456, "NULL") if mode == "row" else (140000000, "x")
    refused(
        tx,
        errors.ProgramLimitExceeded,
        f"INSERT INTO {table} SELECT 1, x, {copies} FROM repeat('x', {length}) AS x",
    )
    assert events(tx) == []
    page = (ROOT / "docs" / "concepts.md").read_text()
    assert "above 256 MB" in page


def test_a_virtual_column_added_later_is_a_warning_until_attached_again(
    tx: Connection, mode: str
) -> None:
    if tx.info.server_version < 180000:
        pytest.skip("virtual generated columns came with PostgreSQL 18")
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"ALTER TABLE {table} ADD COLUMN v integer GENERATED ALWAYS AS (n * 2) VIRTUAL")
    assert captures(tx) == {"state": "warning", "value": "1 of 1 not captured properly"}
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    attach(tx, table, mode)
    assert captures(tx) == {"state": "ok", "value": "1 captured"}
    tx.execute(f"INSERT INTO {table} VALUES (2, 2)")
    assert [row["new_values"] for row in events(tx)] == [
        {"id": 1, "n": 1, "v": None},  # a trigger sees no more
        {"id": 2, "n": 2},
    ]
    page = (ROOT / "docs" / "concepts.md").read_text()
    assert "One added later is recorded as null until the table is attached again" in page


# --- kinds of tables ----------------------------------------------------------------------------


def test_an_unlogged_table(tx: Connection, mode: str) -> None:
    tx.execute(f"CREATE UNLOGGED TABLE app_data.t ({NUMBERS})")
    attach(tx, "app_data.t", mode)
    tx.execute("INSERT INTO app_data.t VALUES (1, 1)")
    tx.execute("ALTER TABLE app_data.t SET LOGGED")
    tx.execute("UPDATE app_data.t SET n = 2")
    assert [row["action"] for row in events(tx)] == ["insert", "update"]


def test_a_table_of_a_type(tx: Connection, mode: str) -> None:
    tx.execute("CREATE TYPE app_data.pair AS (id integer, n integer)")
    tx.execute("CREATE TABLE app_data.t OF app_data.pair (PRIMARY KEY (id))")
    attach(tx, "app_data.t", mode)
    tx.execute("INSERT INTO app_data.t VALUES (1, 1), (2, 2)")
    tx.execute("ALTER TYPE app_data.pair ADD ATTRIBUTE more text CASCADE")
    tx.execute("UPDATE app_data.t SET more = 'x' WHERE id = 1")
    assert events(tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "n": 1}),
        event("insert", {"id": 2}, None, {"id": 2, "n": 2}),
        event("update", {"id": 1}, {"more": None}, {"more": "x"}),
    ]


def test_a_column_that_holds_rows_of_another_table(tx: Connection, mode: str) -> None:
    tx.execute("CREATE TABLE app_data.other (a integer, b text)")
    table = attached(tx, "id integer PRIMARY KEY, o app_data.other, many app_data.other[]", mode)
    tx.execute(f"""INSERT INTO {table} VALUES (1, '(1,x)', '{{"(2,y)",NULL}}')""")
    tx.execute("ALTER TABLE app_data.other ADD COLUMN c boolean")
    tx.execute(f"UPDATE {table} SET o = NULL")
    assert events(tx) == [
        event(
            "insert",
            {"id": 1},
            None,
            {"id": 1, "o": {"a": 1, "b": "x"}, "many": [{"a": 2, "b": "y"}, None]},
        ),
        event("update", {"id": 1}, {"o": {"a": 1, "b": "x", "c": None}}, {"o": None}),
    ]


def test_tables_that_cannot_be_attached_say_why(root_tx: Connection, mode: str) -> None:
    root_tx.execute("""
        CREATE TEMPORARY TABLE passing (id integer PRIMARY KEY);
        CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
        CREATE FOREIGN TABLE app_data.far (id integer) SERVER nowhere
    """)
    for table, message, hint in (
        ("passing", "passing is a temporary table", "the tables they go to"),
        ("app_data.far", "app_data.far is a foreign table", "the table that holds the rows"),
    ):
        refused(
            root_tx,
            errors.WrongObjectType,
            "SELECT audit.attach(%s, %s)",
            (table, mode),
            message=message,
            hint=hint,
        )


# --- partitions ---------------------------------------------------------------------------------


def partitioned(connection: Connection, mode: str, rest: str = "") -> None:
    """app_data.t by regions, of which `eu` is parted by numbers again; attached."""
    connection.execute(f"""
        CREATE TABLE app_data.t (region text, id integer, n integer{rest})
            PARTITION BY LIST (region);
        CREATE TABLE app_data.us PARTITION OF app_data.t FOR VALUES IN ('us');
        CREATE TABLE app_data.eu PARTITION OF app_data.t FOR VALUES IN ('eu')
            PARTITION BY RANGE (id);
        CREATE TABLE app_data.eu_low PARTITION OF app_data.eu FOR VALUES FROM (0) TO (10);
        CREATE TABLE app_data.eu_rest PARTITION OF app_data.eu DEFAULT;
    """)
    attach(connection, "app_data.t", mode)


def test_partitions_of_partitions(tx: Connection, mode: str) -> None:
    partitioned(tx, mode, ", PRIMARY KEY (region, id)")
    tx.execute("INSERT INTO app_data.t VALUES ('us', 1, 1), ('eu', 2, 2), ('eu', 20, 3)")
    tx.execute("INSERT INTO app_data.eu VALUES ('eu', 3, 4)")
    with tx.cursor().copy("COPY app_data.t FROM STDIN") as copy:
        copy.write_row(("us", 5, 5))
        copy.write_row(("eu", 50, 5))
    tx.execute("""
        MERGE INTO app_data.t USING (VALUES ('us', 1), ('us', 9)) AS s (region, id)
           ON t.region = s.region AND t.id = s.id
         WHEN MATCHED THEN UPDATE SET n = 10
         WHEN NOT MATCHED THEN INSERT VALUES (s.region, s.id, 9)
    """)
    tx.execute("""
        INSERT INTO app_data.t VALUES ('eu', 2, 0), ('eu', 4, 4)
            ON CONFLICT (region, id) DO UPDATE SET n = 20
    """)
    tx.execute("DELETE FROM app_data.t WHERE id IN (3, 50)")

    def key(region: str, id_: int) -> Row:
        return {"region": region, "id": id_}

    inserted = [
        *(("us", 1, 1), ("eu", 2, 2), ("eu", 20, 3), ("eu", 3, 4), ("us", 5, 5), ("eu", 50, 5)),
        *(("us", 9, 9), ("eu", 4, 4)),
    ]
    expected = [event("insert", key(r, i), None, key(r, i) | {"n": n}) for r, i, n in inserted]
    expected += [
        event("update", key("us", 1), {"n": 1}, {"n": 10}),
        event("update", key("eu", 2), {"n": 2}, {"n": 20}),
        event("delete", key("eu", 3), key("eu", 3) | {"n": 4}),
        event("delete", key("eu", 50), key("eu", 50) | {"n": 5}),
    ]
    assert in_any_order(events(tx)) == in_any_order(expected)
    assert {row["table_name"] for row in events(tx, columns=("table_name",))} == {"t"}


def test_rows_that_move_between_partitions_are_a_delete_and_an_insert(
    tx: Connection, mode: str
) -> None:
    partitioned(tx, mode, ", PRIMARY KEY (region, id)")
    tx.execute("INSERT INTO app_data.t VALUES ('us', 1, 1), ('eu', 2, 2), ('eu', 3, 3)")
    before = len(events(tx))
    tx.execute("UPDATE app_data.t SET region = 'eu', n = -n WHERE id < 3")
    tx.execute("UPDATE app_data.eu SET id = 30 WHERE id = 3")
    assert in_any_order(events(tx)[before:]) == in_any_order(
        [
            event("delete", {"region": "us", "id": 1}, {"region": "us", "id": 1, "n": 1}),
            event("insert", {"region": "eu", "id": 1}, None, {"region": "eu", "id": 1, "n": -1}),
            event("update", {"region": "eu", "id": 2}, {"n": 2}, {"n": -2}),
            event("delete", {"region": "eu", "id": 3}, {"region": "eu", "id": 3, "n": 3}),
            event("insert", {"region": "eu", "id": 30}, None, {"region": "eu", "id": 30, "n": 3}),
        ],
    )


def test_a_partitioned_table_without_a_key(tx: Connection, mode: str) -> None:
    partitioned(tx, mode)
    tx.execute("INSERT INTO app_data.t VALUES ('us', 1, 1), ('eu', 2, 2)")
    tx.execute("UPDATE app_data.t SET n = 9 WHERE id = 2")
    tx.execute("TRUNCATE app_data.t")
    whole = {"region": "eu", "id": 2, "n": 2}
    assert events(tx)[1:] == [
        event("insert", whole, None, whole),
        event("update", whole | {"n": 9}, {"n": 2}, {"n": 9}),
        event("truncate"),
    ]


@pytest.mark.parametrize("shape", ["plain", "with other columns", "itself parted"])
def test_a_partition_that_is_attached_later_is_captured(
    tx: Connection, mode: str, shape: str
) -> None:
    partitioned(tx, mode, ", PRIMARY KEY (region, id)")
    columns = "region text, id integer, n integer, PRIMARY KEY (region, id)"
    if shape == "with other columns":
        columns = "gone text, n integer, id integer, region text, PRIMARY KEY (region, id)"
    parted = " PARTITION BY HASH (id)" if shape == "itself parted" else ""
    tx.execute(f"CREATE TABLE app_data.asia ({columns}){parted}")
    if parted:
        tx.execute("""
            CREATE TABLE app_data.asia_0 PARTITION OF app_data.asia
                FOR VALUES WITH (MODULUS 1, REMAINDER 0)
        """)
    if shape == "with other columns":
        tx.execute("ALTER TABLE app_data.asia DROP COLUMN gone")
    tx.execute("INSERT INTO app_data.asia (region, id, n) VALUES ('asia', 1, 1)")
    tx.execute("ALTER TABLE app_data.t ATTACH PARTITION app_data.asia FOR VALUES IN ('asia')")
    assert events(tx) == []  # rows that were there are no change
    tx.execute("UPDATE app_data.t SET n = 2")
    tx.execute("INSERT INTO app_data.asia (region, id, n) VALUES ('asia', 2, 2)")
    assert events(tx) == [
        event("update", {"region": "asia", "id": 1}, {"n": 1}, {"n": 2}),
        event("insert", {"region": "asia", "id": 2}, None, {"region": "asia", "id": 2, "n": 2}),
    ]
    assert captures(tx) == {"state": "ok", "value": "1 captured"}


def test_a_detached_partition_is_captured_no_more_until_it_is_attached_itself(
    tx: Connection, mode: str
) -> None:
    partitioned(tx, mode, ", PRIMARY KEY (region, id)")
    tx.execute("ALTER TABLE app_data.t DETACH PARTITION app_data.us")
    tx.execute("INSERT INTO app_data.us VALUES ('us', 1, 1)")
    assert events(tx) == []
    assert captures(tx) == {"state": "ok", "value": "1 captured"}
    attach(tx, "app_data.us", mode)
    tx.execute("UPDATE app_data.us SET n = 2")
    assert [row["action"] for row in events(tx, "us")] == ["update"]
    # back again it must leave its own capture behind, or be captured twice
    back = "ALTER TABLE app_data.t ATTACH PARTITION app_data.us FOR VALUES IN ('us')"
    refused(tx, errors.DuplicateObject, back, message="_audit_")
    tx.execute("SELECT audit.detach('app_data.us')")
    tx.execute(back)
    tx.execute("UPDATE app_data.t SET n = 3")
    assert [row["action"] for row in events(tx, "us")] == ["update"]
    assert events(tx, "t") == [event("update", {"region": "us", "id": 1}, {"n": 2}, {"n": 3})]


def test_an_attached_table_that_becomes_a_partition_is_a_warning(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"CREATE TABLE app_data.whole ({NUMBERS}) PARTITION BY RANGE (id)")
    tx.execute(f"ALTER TABLE app_data.whole ATTACH PARTITION {table} DEFAULT")
    assert captures(tx)["state"] == "warning"
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    assert len(events(tx)) == 1
    page = (ROOT / "docs" / "concepts.md").read_text()
    assert "detach it first, attach the parent" in page.replace("\n", " ").replace("  ", " ")


def test_columns_of_partitions_of_foreign_types(tx: Connection, mode: str) -> None:
    tx.execute("CREATE TYPE app_data.mood AS ENUM ('good', 'bad')")
    partitioned(tx, mode, ", mood app_data.mood DEFAULT 'good', PRIMARY KEY (region, id)")
    tx.execute("INSERT INTO app_data.t VALUES ('us', 1, 1)")
    tx.execute("UPDATE app_data.t SET mood = 'bad', region = 'eu'")
    assert [(row["action"], row["new_values"] or row["old_values"]) for row in events(tx)] == [
        ("insert", {"region": "us", "id": 1, "n": 1, "mood": "good"}),
        ("delete", {"region": "us", "id": 1, "n": 1, "mood": "good"}),
        ("insert", {"region": "eu", "id": 1, "n": 1, "mood": "bad"}),
    ]


# --- inheritance --------------------------------------------------------------------------------


def test_a_child_that_is_added_later_is_a_warning_until_both_are_attached_again(
    tx: Connection, mode: str
) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"CREATE TABLE app_data.child (extra text, PRIMARY KEY (id)) INHERITS ({table})")
    if mode == "statement":
        assert captures(tx) == {"state": "warning", "value": "1 of 1 not captured properly"}
    attach(tx, "app_data.child", mode)
    attach(tx, table, mode)
    assert captures(tx) == {"state": "ok", "value": "2 captured"}
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute("INSERT INTO app_data.child VALUES (2, 2, 'x')")
    tx.execute(f"UPDATE {table} SET n = n + 10")
    tx.execute(f"DELETE FROM {table}")
    assert events(tx, "t") == [
        event("insert", {"id": 1}, None, {"id": 1, "n": 1}),
        event("update", {"id": 1}, {"n": 1}, {"n": 11}),
        event("delete", {"id": 1}, {"id": 1, "n": 11}),
    ]
    assert events(tx, "child") == [
        event("insert", {"id": 2}, None, {"id": 2, "n": 2, "extra": "x"}),
        event("update", {"id": 2}, {"n": 2}, {"n": 12}),
        event("delete", {"id": 2}, {"id": 2, "n": 12, "extra": "x"}),
    ]


def test_until_a_parent_is_attached_again_it_records_the_rows_of_a_later_child(
    tx: Connection, mode: str
) -> None:
    """By statement: what PostgreSQL hands to the trigger has the rows of all children."""
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"CREATE TABLE app_data.child (PRIMARY KEY (id)) INHERITS ({table})")
    tx.execute("INSERT INTO app_data.child VALUES (1, 1)")
    tx.execute(f"UPDATE {table} SET n = 2")
    before = [event("update", {"id": 1}, {"n": 1}, {"n": 2})] if mode == "statement" else []
    assert events(tx) == before
    attach(tx, table, mode)
    tx.execute(f"UPDATE {table} SET n = 3")
    assert events(tx) == before


def test_rows_of_a_child_that_is_not_attached_are_those_of_another_table(
    tx: Connection, mode: str
) -> None:
    """Also after it was added to a table that is captured already, once that is attached again."""
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"CREATE TABLE app_data.child (PRIMARY KEY (id)) INHERITS ({table})")
    attach(tx, table, mode)
    tx.execute("INSERT INTO app_data.child VALUES (1, 1)")
    tx.execute(f"UPDATE {table} SET n = 2")
    tx.execute(f"DELETE FROM {table}")
    assert events(tx) == []
    tx.execute(f"TRUNCATE {table}")
    assert events(tx) == [event("truncate")]
    page = (ROOT / "docs" / "concepts.md").read_text()
    assert "Rows of a table that inherits from an attached one: attach it, too" in page


def test_a_child_of_two_parents_is_recorded_once(tx: Connection, mode: str) -> None:
    tx.execute(f"""
        CREATE TABLE app_data.a ({NUMBERS});
        CREATE TABLE app_data.b (id integer, m integer);
        CREATE TABLE app_data.t (PRIMARY KEY (id)) INHERITS (app_data.a, app_data.b)
    """)
    for table in ("app_data.a", "app_data.b", "app_data.t"):
        attach(tx, table, mode)
    tx.execute("INSERT INTO app_data.t VALUES (1, 1, 1)")
    tx.execute("UPDATE app_data.a SET n = 2; UPDATE app_data.b SET m = 2")
    tx.execute("ALTER TABLE app_data.t NO INHERIT app_data.b")
    tx.execute("DELETE FROM app_data.a")
    assert events(tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "n": 1, "m": 1}),
        event("update", {"id": 1}, {"n": 1}, {"n": 2}),
        event("update", {"id": 1}, {"m": 1}, {"m": 2}),
        event("delete", {"id": 1}, {"id": 1, "n": 2, "m": 2}),
    ]


def test_capture_of_a_schema_that_the_writer_cannot_list(database: Database, mode: str) -> None:
    """A writer needs no right on the schema of a type or of anything else but its table."""
    with database.connect() as deployer, database.connect("app") as app:
        deployer.execute("""
            CREATE SCHEMA hidden;
            CREATE TYPE hidden.mood AS ENUM ('good', 'bad');
        """)
        table = attached(deployer, "id integer PRIMARY KEY, mood hidden.mood", mode)
        deployer.commit()
        app.execute(f"INSERT INTO {table} VALUES (1, 'good'), (2, 'bad')")
        app.execute(f"DELETE FROM {table} WHERE id = 2")
        app.commit()
        assert [row["action"] for row in events(deployer)] == ["insert", "insert", "delete"]
