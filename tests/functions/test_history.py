"""audit.history(): order, pages, windows, keys, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors
from psycopg.types.json import Jsonb

from servers import Database
from trail import (
    Connection,
    Row,
    acting_as,
    attached,
    fill,
    indexes,
    locked_partitions,
    plans_within,
    refused,
    rows,
    uses,
    value,
)

PAGE = """
    SELECT * FROM audit.history('app_data.t', %(key)s, %(from)s, %(to)s, %(limit)s, %(before)s)
"""


def page(
    connection: Connection,
    key: Any = None,
    from_: Any = None,
    to: Any = None,
    limit: int = 100,
    before: str | None = None,
) -> list[Row]:
    parameters = {
        "key": None if key is None else Jsonb(key),
        "from": from_,
        "to": to,
        "limit": limit,
        "before": before,
    }
    return rows(connection, PAGE, parameters)


def all_pages(connection: Connection, sizes: Iterator[int], key: Any = None) -> list[Row]:
    found: list[Row] = []
    before = None
    while got := page(connection, key, limit=next(sizes), before=before):
        found += got
        before = got[-1]["cursor"]
    return found


def past_event(connection: Connection, age: str, row_key: Any = None) -> None:
    """Record an event as of long ago, as only the owner of the trail can."""
    parameters = {"age": age, "key": Jsonb(row_key or {"id": 1})}
    query = """
        INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action, row_key,
                                 row_hash, actor, database_user, backend_pid)
        SELECT now() - %(age)s::interval, now() - %(age)s::interval, 77, max(id), 'update',
               %(key)s, jsonb_hash_extended(%(key)s, max(id)), 'old actor', 'old', 1
          FROM audit.tracked_table
    """
    with acting_as(connection, "audit_owner"):
        connection.execute(query, parameters)


@pytest.fixture
def thirty(tx: Connection) -> Connection:
    """The table app_data.t with 30 changes of row 1 and 10 of row 2."""
    attached(tx, "id integer PRIMARY KEY, n integer")
    tx.execute("INSERT INTO app_data.t VALUES (1, 0), (2, 0)")
    for number in range(1, 30):
        tx.execute("UPDATE app_data.t SET n = %s WHERE id = 1", (number,))
        if number < 10:
            tx.execute("UPDATE app_data.t SET n = %s WHERE id = 2", (number,))
    return tx


def test_the_newest_change_comes_first(thirty: Connection) -> None:
    found = page(thirty, 1)
    assert [row["new_values"]["n"] for row in found] == list(range(29, -1, -1))
    times = [(row["occurred_at"], row["event_id"]) for row in page(thirty)]
    assert times == sorted(times, reverse=True)
    assert len(times) == 40


def test_a_change_carries_all_that_is_known(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("SELECT audit.set_context('7', '{\"ticket\": 1}', 'user', 'Ann')")
    tx.execute("INSERT INTO app_data.t VALUES (1)")
    [found] = page(tx)
    for name in ("event_id", "occurred_at", "started_at", "cursor", "transaction_id", "xid"):
        assert found.pop(name) is not None
    assert found == {
        "actor": "7",
        "actor_type": "user",
        "actor_label": "Ann",
        "action": "insert",
        "table_schema": "app_data",
        "table_name": "t",
        "row_key": {"id": 1},
        "old_values": None,
        "new_values": {"id": 1},
        "metadata": {"ticket": 1},
        "database_user": "deployer",
        "database_role": None,
        "client_addr": None,
        "application_name": None,
        "tracked_table_id": value(tx, "SELECT id FROM audit.tracked_table"),
    }


@settings(
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sizes=st.lists(st.integers(1, 12), min_size=41, max_size=41))
@pytest.mark.parametrize("key", [None, 1, 2])
def test_pages_cover_every_change_exactly_once(
    thirty: Connection, key: int | None, sizes: list[int]
) -> None:
    paged = [row["event_id"] for row in all_pages(thirty, iter(sizes), key)]
    assert paged == [row["event_id"] for row in page(thirty, key)]


def test_pages_stay_put_while_changes_go_on(thirty: Connection) -> None:
    before = page(thirty, 1)
    first = page(thirty, 1, limit=10)
    thirty.execute("UPDATE app_data.t SET n = -1")
    second = page(thirty, 1, limit=100, before=first[-1]["cursor"])
    assert first + second == before


def test_events_of_the_same_moment_are_paged_by_their_id(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    for _ in range(5):
        past_event(tx, "1 hour 1 microsecond")
    found = all_pages(tx, iter([1] * 10))
    assert [row["event_id"] for row in found] == [row["event_id"] for row in page(tx)]
    assert len(found) == 5


def test_the_default_window_ends_where_the_setting_says(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    for age in ("89 days", "91 days", "3 years"):
        past_event(tx, age)
    assert len(page(tx)) == 1
    assert len(page(tx, from_="-infinity")) == 3
    assert len(page(tx, 1, from_="-infinity")) == 3
    with acting_as(tx, "audit_owner"):
        tx.execute("UPDATE audit.setting SET default_window = '100 days'")
    assert len(page(tx)) == 2


def test_from_is_included_and_to_is_not(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    for age in ("3 days", "2 days", "1 day"):
        past_event(tx, age)
    now = value(tx, "SELECT now()")
    three, two, one = (now - timedelta(days=days) for days in (3, 2, 1))
    assert [row["started_at"] for row in page(tx, from_=three, to=one)] == [two, three]
    assert [row["started_at"] for row in page(tx, 1, two, one)] == [two]
    assert page(tx, from_=one, to=three) == []


@pytest.mark.parametrize("age", ["3 years", "-3 years"])
def test_changes_in_a_default_partition_are_found(tx: Connection, age: str) -> None:
    attached(tx, "id integer PRIMARY KEY")
    past_event(tx, age)
    [found] = page(tx, from_="-infinity")
    assert found["actor"] == "old actor"


@pytest.mark.parametrize("key", [1, 2, 3])
def test_each_row_of_a_statement_tells_who_acted_and_why(tx: Connection, key: int) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("SELECT audit.set_context('7', '{\"ticket\": 1}', 'user', 'Ann')")
    tx.execute("INSERT INTO app_data.t VALUES (1), (2), (3)")
    [found] = page(tx, key)
    names = ("actor", "actor_type", "actor_label", "metadata", "database_user")
    assert [found[name] for name in names] == ["7", "user", "Ann", {"ticket": 1}, "deployer"]


def test_a_row_without_its_context_is_still_shown(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("SELECT audit.set_context('7', NULL, 'user')")
    tx.execute("INSERT INTO app_data.t VALUES (1), (2)")
    with acting_as(tx, "audit_owner"):
        tx.execute("ALTER TABLE audit.event DISABLE TRIGGER append_only")
        tx.execute("DELETE FROM audit.event WHERE context_id IS NULL")
    [found] = page(tx)
    assert (found["action"], found["actor"], found["actor_type"]) == ("insert", "7", None)


@pytest.mark.parametrize(
    ("type_", "stored", "keys"),
    [
        ("integer", "17", [17, "17", " 17", "017", {"k": 17}, {"k": "17"}]),
        ("bigint", "9007199254740993", [9007199254740993, "9007199254740993"]),
        ("text", "17", [17, "17", {"k": "17"}, {"k": 17}]),
        ("text", "", ["", {"k": ""}]),
        ("text", "null", ["null"]),
        ("numeric", "1.50", [1.5, "1.5", "1.50", "01.500"]),
        ("numeric(10,2)", "1.5", [1.5, "1.50"]),
        ("boolean", "true", [True, "yes", "t"]),
        (
            "uuid",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"],
        ),
        (
            "timestamptz",
            "2024-07-01 12:00+00",
            ["2024-07-01T14:00:00+02:00", "2024-07-01 12:00Z", "2024-07-01 12:00"],
        ),
        ("date", "2024-07-01", ["2024-07-01", "July 1, 2024"]),
        ("bytea", "\\x00ff", ["\\x00FF"]),
        ("inet", "10.0.0.1", ["10.0.0.1", "10.0.0.1/32"]),
        ("char(5)", "ab", ["ab", "ab   "]),
        ("varchar(5)", "ab", ["ab"]),
    ],
)
def test_a_key_is_found_in_every_way_to_write_it(
    tx: Connection, type_: str, stored: str, keys: list[Any]
) -> None:
    attached(tx, f"k {type_} PRIMARY KEY")
    tx.execute("INSERT INTO app_data.t VALUES (%s)", (stored,))
    tx.execute("SET LOCAL TimeZone = 'Asia/Kolkata'")
    for key in keys:
        assert len(page(tx, key)) == 1, key


@pytest.mark.parametrize(
    ("type_", "stored", "other"),
    [
        ("varchar(3)", "abc", "abcdef"),
        ("char(3)", "abc", "abcdef"),
        ("numeric(10,2)", "1.24", "1.2399"),
        ("text", "17", "017"),
        ("text", "a", "A"),
    ],
)
def test_another_key_is_never_taken_for_this_one(
    tx: Connection, type_: str, stored: str, other: str
) -> None:
    attached(tx, f"k {type_} PRIMARY KEY")
    tx.execute("INSERT INTO app_data.t VALUES (%s)", (stored,))
    assert page(tx, other) == []


def test_a_composite_key_is_an_object_in_any_order(tx: Connection) -> None:
    attached(tx, 'b text, "A" integer, PRIMARY KEY ("A", b)')
    tx.execute("INSERT INTO app_data.t VALUES ('x', 1), ('y', 1)")
    assert len(page(tx, {"b": "x", "A": "1"})) == 1
    assert len(page(tx, {"A": 1, "b": "y"})) == 1
    assert page(tx, {"A": 2, "b": "y"}) == []


def test_the_key_of_a_table_without_one_is_the_whole_row(tx: Connection) -> None:
    attached(tx, "a integer, b text")
    tx.execute("INSERT INTO app_data.t VALUES (1, 'x'), (2, NULL)")
    assert len(page(tx, {"a": 1, "b": "x"})) == 1
    assert len(page(tx, {"a": 2, "b": None})) == 1
    assert page(tx, {"a": 1}) == []


@pytest.mark.parametrize("key", [{"A": 1}, {"A": 1, "b": "x", "c": 1}, {"a": 1, "b": 1}, 1, [1, 2]])
def test_a_key_of_other_columns_is_refused(tx: Connection, key: Any) -> None:
    attached(tx, 'b text, "A" integer, PRIMARY KEY ("A", b)')
    refused(
        tx,
        errors.InvalidParameterValue,
        "SELECT * FROM audit.history('app_data.t', %s)",
        (Jsonb(key),),
        message="the key of app_data.t has the columns A, b, got",
        hint='"A"',
    )


def test_a_key_that_is_no_value_of_the_type_is_refused(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    for key in ("x", "17.5", ""):
        refused(
            tx,
            errors.InvalidTextRepresentation,
            "SELECT * FROM audit.history('app_data.t', %s)",
            (Jsonb(key),),
            message="integer",
        )


@pytest.mark.parametrize(
    "cursor", ["", "x", "1/2", "1/2/3/4", "-1/2/3", "1/2/3\n", "1/2/9999999999999999999", " 1/2/3"]
)
def test_a_bad_cursor_is_refused(thirty: Connection, cursor: str) -> None:
    refused(
        thirty,
        errors.InvalidParameterValue,
        "SELECT * FROM audit.history('app_data.t', p_before => %s)",
        (cursor,),
        message="not a cursor",
        hint='column "cursor"',
    )


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "NULL"])
def test_a_limit_out_of_bounds_is_refused(thirty: Connection, limit: str) -> None:
    refused(
        thirty,
        errors.InvalidParameterValue,
        f"SELECT * FROM audit.history('app_data.t', p_limit => {limit})",
        message="limit must be between 1 and 10000",
        hint="p_before",
    )


def test_a_table_never_attached_is_refused(tx: Connection) -> None:
    tx.execute("CREATE TABLE app_data.t (id integer)")
    refused(
        tx,
        errors.ObjectNotInPrerequisiteState,
        "SELECT * FROM audit.history('app_data.t')",
        message="table app_data.t was never attached",
        hint="audit.attach('app_data.t')",
    )
    refused(
        tx,
        errors.ObjectNotInPrerequisiteState,
        "SELECT * FROM audit.history(NULL)",
        message="NULL",
    )


def test_the_order_is_that_of_the_changes_not_of_the_transactions(database: Database) -> None:
    with database.connect() as early, database.connect() as late:
        attached(early, "id integer PRIMARY KEY, n integer")
        early.execute("INSERT INTO app_data.t VALUES (1, 0)")
        early.commit()
        early.execute("SELECT audit.set_context('early')")  # this one starts first ...
        late.execute("SELECT audit.set_context('late')")
        late.execute("UPDATE app_data.t SET n = 1")
        late.commit()
        early.execute("UPDATE app_data.t SET n = 2")  # ... and writes last
        early.commit()
        found = page(early, 1)
        assert [(row["actor"], row["new_values"]["n"]) for row in found] == [
            ("early", 2),
            ("late", 1),
            (None, 0),
        ]
        assert found[0]["started_at"] < found[1]["started_at"]
        assert all_pages(early, iter([1] * 9), 1) == found


def test_the_functions_show_what_the_view_shows(tx: Connection) -> None:
    """Also the context of events that only point to it."""
    attached(tx, "id integer PRIMARY KEY, n integer")
    tx.execute("SELECT audit.set_context('ann', '{\"ticket\": 1}', 'user', 'Ann')")
    tx.execute("INSERT INTO app_data.t SELECT i, 0 FROM generate_series(1, 3) AS i")
    tx.execute("SET LOCAL ROLE NONE; UPDATE app_data.t SET n = 1; DELETE FROM app_data.t")
    newest_first = "SELECT * FROM audit.change ORDER BY occurred_at DESC, event_id DESC"
    shown = rows(tx, newest_first)
    assert len(shown) == 9
    assert {row["actor_label"] for row in shown} == {"Ann"}
    assert page(tx) == shown
    assert rows(tx, "SELECT * FROM audit.actor_activity('ann')") == shown
    [id_] = {row["transaction_id"] for row in shown}
    assert rows(tx, "SELECT * FROM audit.transaction_changes(%s)", (id_,)) == shown[::-1]


def test_pages_are_read_from_their_index(root_db: Connection) -> None:
    """First the page and then the contexts of its events, each by an index."""
    attached(root_db, "id integer PRIMARY KEY")
    filled = fill(root_db)
    for arguments, index in (("'1'", "event_row_idx"), ("NULL", "event_table_idx")):
        call = f"SELECT * FROM audit.history('app_data.t', {arguments}, p_limit => 10)"
        found = plans_within(root_db, call)
        assert uses(found, indexes(root_db, index)), found
        assert uses(found, indexes(root_db, "event_pkey")), found
        assert f"Seq Scan on {filled}" not in found


def test_only_the_partitions_of_the_window_are_touched(root_db: Connection) -> None:
    attached(root_db, "id integer PRIMARY KEY")
    root_db.commit()
    [this_month] = rows(
        root_db,
        "SELECT partition FROM audit.partition WHERE now() >= from_time AND now() < to_time",
    )
    for key in (None, 1):
        page(root_db, key, from_=datetime.now(UTC), to=datetime.now(UTC))
        assert locked_partitions(root_db) <= {this_month["partition"], "event_default"}
        root_db.rollback()


def test_a_reader_reads_by_the_functions_and_not_the_partitions(root_tx: Connection) -> None:
    attached(root_tx, "id integer PRIMARY KEY")
    root_tx.execute("INSERT INTO app_data.t VALUES (1)")
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO audit_reader")
    with acting_as(root_tx, "audit_reader"):
        assert len(page(root_tx, 1)) == 1
        assert len(page(root_tx)) == 1
        [found] = rows(root_tx, "SELECT * FROM audit.change")
        assert rows(
            root_tx,
            "SELECT * FROM audit.transaction_changes(%s)",
            (found["transaction_id"],),
        ) == [found]
        assert value(root_tx, "SELECT count(*) FROM audit.event") == 1
        refused(root_tx, errors.InsufficientPrivilege, "TABLE audit.event_default", message="event")
