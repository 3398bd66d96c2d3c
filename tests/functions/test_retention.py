"""Retention and legal hold: what is older than it is kept goes, all of it, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from psycopg import errors

from partitions import bounds
from servers import Database
from trail import Connection, Row, acting_as, acts, attached, refused, rows, value

MONTHS = 6
PARTITIONS = """
    SELECT audit._create_partition(month, month + interval '1 month')
      FROM generate_series(date_trunc('month', now(), 'UTC') - %s * interval '1 month',
                           date_trunc('month', now(), 'UTC') - interval '1 month',
                           '1 month') AS month
"""
# Each month, table and row: a statement of three events, of which the first has the context.
EVENTS = """
    INSERT INTO audit.event (
        id, context_id, started_at, occurred_at, xid, tracked_table_id, action, row_key, row_hash,
        new_values, actor, actor_type, metadata, client_addr, database_user)
    SELECT n.first + i, CASE WHEN i > 0 THEN n.first END, t, t, n.first, k,
           'insert', row_key, jsonb_hash_extended(row_key, k), row_key, 'ann',
           CASE WHEN i = 0 THEN 'user' END,
           CASE WHEN i = 0 THEN jsonb_build_object('ticket', n.first) END,
           CASE WHEN i = 0 THEN inet '10.0.0.1' END, CASE WHEN i = 0 THEN 'shop' END
      FROM generate_series(1, %(months)s) AS m
     CROSS JOIN generate_series(1, 3) AS k
     CROSS JOIN generate_series(0, 2) AS i
     CROSS JOIN LATERAL (SELECT date_trunc('month', now(), 'UTC') - m * interval '1 month'
                                + interval '10 days 11:22:33.456789' AS t) AS moment
     CROSS JOIN LATERAL (SELECT 1000 * m + 10 * k AS first) AS n
     CROSS JOIN LATERAL (SELECT jsonb_build_object('id', i) AS row_key) AS key
"""
COUNT = """
    SELECT audit._count_period('2000-01-01', date_trunc('hour', now(), 'UTC'), 'audit.event');
    UPDATE audit.counting SET settled_to = date_trunc('hour', now(), 'UTC'),
                              counted_to = date_trunc('hour', now(), 'UTC');
"""
HELD = """
    SELECT tracked_table_id AS id, count(*)::int AS events FROM audit.event
     WHERE action = 'insert' GROUP BY 1 ORDER BY 1
"""
COUNTED = """
    SELECT (SELECT sum(events) FROM audit.event_counts('-infinity'))
           = (SELECT count(*) FROM audit.event) AS by_table,
           (SELECT sum(events) FROM audit.actor_counts('-infinity'))
           = (SELECT count(*) FROM audit.event) AS by_actor
"""


@pytest.fixture
def trail(backend_database: Database) -> Iterator[Connection]:
    """Six months of three tables, nine events a month, all of them counted."""
    with backend_database.connect(autocommit=True) as connection:
        for name in ("orders", "payments", "logins"):
            attached(connection, "id integer PRIMARY KEY", name=name)
        connection.execute("SET ROLE audit_owner")
        connection.execute(PARTITIONS, [MONTHS])
        connection.execute(EVENTS, {"months": MONTHS})
        connection.execute(COUNT)
        connection.execute("RESET ROLE")
        yield connection


def run(connection: Connection) -> Row:
    [found] = rows(connection, "SELECT * FROM audit.run_maintenance()")
    return found


def run_all(connection: Connection) -> list[int]:
    """Maintain until nothing expires; how much each run removed."""
    removed: list[int] = []
    while True:
        found = run(connection)
        assert (found["status"], found["message"]) == ("ok", None)
        assert rows(connection, "SELECT audit._unguarded()") == []
        if not found["events_expired"]:
            return removed
        removed.append(found["events_expired"])


def test_a_run_that_makes_partitions_leaves_what_expired_to_the_next(trail: Connection) -> None:
    """Both take locks to the end of the run, and prepare for it what takes long."""
    trail.execute("SELECT audit.set_retention('1 month')")
    trail.execute(
        "SET ROLE audit_owner; UPDATE audit.setting SET premake = premake + 1; RESET ROLE"
    )
    first, second = run(trail), run(trail)
    assert (first["status"], first["partitions_created"], first["events_expired"]) == (
        "ok",
        1,
        None,
    )
    assert (second["status"], second["partitions_created"], second["events_expired"]) == (
        "ok",
        0,
        9,
    )


def months_held(connection: Connection) -> dict[int, int]:
    """How many events of each table are there."""
    return {row["id"]: row["events"] for row in rows(connection, HELD)}


def contents(connection: Connection, condition: str = "true") -> list[Row]:
    return rows(connection, f"SELECT * FROM audit.change WHERE {condition} ORDER BY event_id")


def test_without_retention_everything_is_kept(trail: Connection) -> None:
    assert run_all(trail) == []
    assert months_held(trail) == {1: 18, 2: 18, 3: 18}


def test_what_is_older_is_dropped_a_partition_a_run(trail: Connection) -> None:
    before = bounds(trail)
    since = "date_trunc('month', now(), 'UTC') - interval '2 months'"
    newer = contents(trail, f"started_at >= {since}")
    trail.execute("SELECT audit.set_retention('2 months')")
    # a partition that ended two months ago or more: 3, 4, 5 and 6 months back by their start
    assert run_all(trail) == [9, 9, 9, 9]
    assert bounds(trail) == before[4:]
    assert contents(trail, "action = 'insert'") == newer
    assert rows(trail, COUNTED) == [{"by_table": True, "by_actor": True}]
    expired = [act for act in acts(trail) if act["action"] == "expire"]
    assert len(expired) == 12
    assert {act["old_values"]["events"] for act in expired} == {3}
    assert rows(trail, "SELECT * FROM audit.check() WHERE subject <> 'role audit_owner'") == []


def test_a_table_may_be_kept_longer_than_the_others(trail: Connection) -> None:
    before = contents(trail, "table_name = 'payments' AND action = 'insert'")
    names = rows(trail, "SELECT partition FROM audit.partition ORDER BY 1")
    trail.execute("SELECT audit.set_retention('1 day')")
    trail.execute("SELECT audit.set_retention('7 years', 'app_data.payments')")
    assert run_all(trail) == [6] * MONTHS
    assert months_held(trail) == {2: 18}
    assert contents(trail, "table_name = 'payments' AND action = 'insert'") == before
    assert rows(trail, "SELECT partition FROM audit.partition ORDER BY 1") == names
    assert rows(trail, COUNTED) == [{"by_table": True, "by_actor": True}]
    history = "SELECT * FROM audit.history('app_data.payments', '1', '-infinity')"
    assert [row["action"] for row in rows(trail, history)] == ["insert"] * MONTHS


def test_a_table_may_be_kept_shorter_than_the_others(trail: Connection) -> None:
    trail.execute("SELECT audit.set_retention('4 months')")
    trail.execute("SELECT audit.set_retention('1 day', 'app_data.logins')")
    assert run_all(trail) == [9, 9, 3, 3, 3, 3]
    assert months_held(trail) == {1: 12, 2: 12}
    assert rows(trail, COUNTED) == [{"by_table": True, "by_actor": True}]


@pytest.mark.parametrize(("seconds", "removed"), [(-1, [9]), (3600, [])])
def test_nothing_goes_before_its_term(trail: Connection, seconds: int, removed: list[int]) -> None:
    trail.execute(
        """
        SELECT audit.set_retention(now() - min(to_time) + %s * interval '1 second')
          FROM audit.partition WHERE NOT is_default
        """,
        [seconds],
    )
    assert run_all(trail) == removed


def test_what_an_open_transaction_might_write_to_is_kept(
    trail: Connection, backend_database: Database
) -> None:
    trail.execute("SELECT audit.set_retention('1 day')")
    with backend_database.connect() as long:
        long.execute("SELECT 1")
        with acting_as(trail, "audit_owner"):
            trail.execute("""
                UPDATE audit.counting SET settled_to = t, counted_to = t, observed_at = NULL
                  FROM (SELECT date_trunc('month', now(), 'UTC') - interval '3 months 1 hour')
                       AS v (t)
            """)
        assert run_all(trail) == [9, 9]


@pytest.mark.parametrize(
    ("hold", "kept"),
    [
        ("'case 1'", {1: 18, 2: 18, 3: 18}),
        ("'case 1', 'app_data.orders'", {1: 18}),
        ("'case 1', 'app_data.orders', '1'", {1: 6}),
        ("'case 1', 'app_data.orders', '{\"id\": 2}'", {1: 6}),
        ("'case 1', p_from => now() - interval '100 days'", None),
        (
            "'case 1', 'app_data.orders', '1', "
            "date_trunc('month', now(), 'UTC') - interval '3 months', "
            "date_trunc('month', now(), 'UTC') - interval '1 month'",
            {1: 2},
        ),
    ],
)
def test_a_legal_hold_keeps_what_it_names_until_it_is_released(
    trail: Connection, hold: str, kept: dict[int, int] | None
) -> None:
    if kept is None:
        query = """
            SELECT count(DISTINCT started_at)::int FROM audit.event
             WHERE action = 'insert' AND started_at >= now() - interval '100 days'
        """
        kept = dict.fromkeys((1, 2, 3), 3 * value(trail, query))
    before = contents(trail, "action = 'insert'")
    trail.execute("SELECT audit.set_retention('1 day')")
    hold_id = value(trail, f"SELECT audit.place_hold({hold})")
    run_all(trail)
    assert months_held(trail) == kept
    # with the context that they had
    for row in contents(trail, "action = 'insert'"):
        assert row in before
        assert row["metadata"]["ticket"]
        assert row["database_user"] == "shop"
    assert rows(trail, COUNTED) == [{"by_table": True, "by_actor": True}]
    assert run_all(trail) == []
    assert value(trail, "SELECT audit.release_hold(%s)", [hold_id]) is True
    assert value(trail, "SELECT audit.release_hold(%s)", [hold_id]) is False
    run_all(trail)
    assert months_held(trail) == {}


def test_a_hold_of_a_row_keeps_nothing_of_others(trail: Connection) -> None:
    """Also not of the row whose event has the context of the statement."""
    trail.execute("SELECT audit.set_retention('1 day')")
    trail.execute("SELECT audit.place_hold('case 1', 'app_data.orders', '2')")
    run_all(trail)
    kept = rows(trail, "SELECT row_key, context_id FROM audit.event WHERE action = 'insert'")
    assert kept == [{"row_key": {"id": 2}, "context_id": None}] * MONTHS


def test_a_hold_finds_a_row_by_its_hashed_key(trail: Connection) -> None:
    trail.execute("SELECT audit.attach('app_data.orders', p_hash => '{id}')")
    trail.execute("SELECT audit.place_hold('case 1', 'app_data.orders', '17')")
    [hold] = rows(trail, "SELECT row_key FROM audit.legal_hold")
    assert hold["row_key"]["id"].startswith("hmac-sha256:")


def test_what_was_set_is_in_the_trail(trail: Connection) -> None:
    trail.execute("SELECT audit.set_retention('7 years', 'app_data.orders')")
    trail.execute("SELECT audit.set_retention('7 years', 'app_data.orders')")
    trail.execute("SELECT audit.set_retention('1 year')")
    trail.execute("SELECT audit.set_retention(NULL, 'app_data.orders')")
    hold = value(trail, "SELECT audit.place_hold('case 1', 'app_data.orders', '1')")
    trail.execute("SELECT audit.release_hold(%s)", [hold])
    columns = ("action", "table_name", "old_values", "new_values")
    found = acts(trail, columns)
    assert [tuple(act[name] for name in columns) for act in found[:4]] == [
        ("retention", "orders", {"keep": None}, {"keep": "7 years"}),
        ("retention", "payments", {"default": None}, {"default": "1 year"}),
        ("retention", "logins", {"default": None}, {"default": "1 year"}),
        ("retention", "orders", {"keep": "7 years"}, {"keep": None}),
    ]
    assert [act["action"] for act in found[4:]] == ["hold", "release"]
    assert found[4]["new_values"]["reason"] == "case 1"
    assert found[5]["old_values"]["released_by"] == "deployer"


def test_writers_wait_for_an_expiry_no_longer_than_the_lock_timeout(
    trail: Connection, backend_database: Database
) -> None:
    trail.execute("SELECT audit.set_retention('1 day')")
    stop = Event()

    def write() -> float:
        """The longest time that a writer waited."""
        longest = 0.0
        with backend_database.connect(autocommit=True) as writer:
            for number in range(1_000_000):
                if stop.is_set():
                    break
                begin = time.monotonic()
                writer.execute("INSERT INTO app_data.orders VALUES (%s)", [number + 1000])
                longest = max(longest, time.monotonic() - begin)
                time.sleep(0.005)
        return longest

    with backend_database.connect() as long, ThreadPoolExecutor(1) as pool:
        long.execute("INSERT INTO app_data.logins VALUES (1)")  # and stays open
        waited = pool.submit(write)
        found = run(trail)
        stop.set()
        assert waited.result() < 0.6
        assert found["status"] == "failed"
        assert found["message"].startswith("events did not expire: audit.event or its DEFAULT")
        assert sum(months_held(trail).values()) >= 54
        long.commit()
    assert run(trail)["events_expired"] == 9


CASES: list[tuple[str, type[errors.Error], str, str]] = [
    (
        "set_retention('1 hour')",
        errors.InvalidParameterValue,
        "events must be kept for a day at least and 10000 years at most, got 01:00:00",
        "7 years",
    ),
    ("set_retention('-1 year')", errors.InvalidParameterValue, "got -1 years", "7 years"),
    (
        "set_retention('1 year', 'pg_class')",
        errors.ObjectNotInPrerequisiteState,
        "table pg_class was never attached",
        "",
    ),
    ("place_hold(NULL)", errors.InvalidParameterValue, "a legal hold needs a reason", "case"),
    ("place_hold('  ')", errors.InvalidParameterValue, "a legal hold needs a reason", "case"),
    (
        "place_hold('x', p_key => '1')",
        errors.InvalidParameterValue,
        "a legal hold on the row 1 needs its table",
        "public.orders",
    ),
    (
        "place_hold('x', 'app_data.orders', '{\"no\": 1}')",
        errors.InvalidParameterValue,
        "the key of app_data.orders has the columns id, got",
        "Pass an object",
    ),
    (
        "place_hold('x', p_from => '2026-01-02Z', p_to => '2026-01-01Z')",
        errors.InvalidParameterValue,
        "the period of a legal hold ends before it begins",
        "p_from before p_to",
    ),
    ("release_hold(99)", errors.InvalidParameterValue, "there is no legal hold 99", "legal_hold"),
    ("release_hold(NULL)", errors.InvalidParameterValue, "there is no legal hold", "legal_hold"),
]


@pytest.mark.parametrize(("call", "error", "message", "hint"), CASES)
def test_wrong_input_says_what_is_wrong_and_changes_nothing(
    tx: Connection, call: str, error: type[errors.Error], message: str, hint: str
) -> None:
    attached(tx, "id integer PRIMARY KEY", name="orders")
    refused(tx, error, f"SELECT audit.{call}", message=message, hint=hint)
    assert acts(tx) == []
    settings: list[Any] = rows(tx, "SELECT keep FROM audit.setting")
    assert settings == [{"keep": None}]
