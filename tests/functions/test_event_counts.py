"""Counts of events: those of the events themselves, whatever maintenance has counted of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import errors

from servers import Database, Server
from trail import Connection, acting_as, attached, locked_partitions, refused, rows, value

COUNTED = "SELECT * FROM audit.event_counts(%(from)s, %(to)s) ORDER BY 1, 3, 4"
EVENTS = """
    SELECT date_trunc('hour', started_at, 'UTC') AS hour, table_schema, table_name, action,
           count(*) AS events
      FROM audit.change
     WHERE started_at >= %(from)s AND started_at < %(to)s GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 4
"""
ACTORS = "SELECT * FROM audit.actor_counts(%(from)s, %(to)s) ORDER BY actor"
EVENTS_OF_ACTORS = """
    SELECT actor, count(*) AS events FROM audit.change
     WHERE started_at >= %(from)s AND started_at < %(to)s GROUP BY actor ORDER BY actor
"""
EVER = {"from": "-infinity", "to": "infinity"}
HOUR = "SELECT date_trunc('hour', clock_timestamp() - %s::interval, 'UTC')"
KEPT = "SELECT COALESCE(sum(events), 0)::int FROM audit.event_count"
COUNTED_TO = "SELECT counted_to FROM audit.counting"


def write(connection: Connection, events: int, seconds: float = 2, table: int = 1) -> None:
    """Write events as capture would have, ever further back in time, by five actors and none."""
    with acting_as(connection, "audit_owner"):
        connection.execute(
            """
            INSERT INTO audit.event (
                started_at, occurred_at, xid, tracked_table_id, action, row_key, actor)
            SELECT t, t, i, %(table)s, (ARRAY['insert', 'update', 'delete'])[1 + i %% 3],
                   jsonb_build_object('id', i), (ARRAY['a', 'b', 'c', 'd', 'é'])[1 + i %% 6]
              FROM generate_series(1, %(events)s) AS i
             CROSS JOIN LATERAL (
                   SELECT now() - i * i * %(step)s AS t) AS moment
            """,
            {"events": events, "table": table, "step": timedelta(seconds=seconds)},
        )
    connection.commit()


def maintain(connection: Connection, runs: int = 1) -> None:
    """Let maintenance run, each time an hour after its last look at open transactions."""
    for _ in range(runs):
        with acting_as(connection, "audit_owner"):
            connection.execute(
                "UPDATE audit.counting SET observed_at = observed_at - '1h'::interval"
            )
        assert value(connection, "SELECT (audit.run_maintenance()).status") == "ok"
        connection.commit()


def start_anew(connection: Connection) -> None:
    """Forget the look at open transactions that the installation took."""
    with acting_as(connection, "audit_owner"):
        connection.execute("DELETE FROM audit.counting; INSERT INTO audit.counting DEFAULT VALUES")
    connection.commit()


def assert_exact(connection: Connection, bounds: dict[str, Any]) -> None:
    """Assert that the counts and the events say the same."""
    assert rows(connection, COUNTED, bounds) == rows(connection, EVENTS, bounds)
    assert rows(connection, ACTORS, bounds) == rows(connection, EVENTS_OF_ACTORS, bounds)


@pytest.fixture
def counted(db: Connection) -> Connection:
    """A trail of 300 events in two days, counted but for the last hours."""
    attached(db, "id int PRIMARY KEY")
    write(db, 300)
    maintain(db, 3)
    return db


def test_whole_hours_are_counted_once_they_are_settled(counted: Connection) -> None:
    hour = value(counted, COUNTED_TO)
    assert value(counted, HOUR, ["3 hours"]) <= hour <= value(counted, HOUR, ["1 hour"])
    older = "SELECT count(*) FROM audit.event WHERE started_at < %s"
    assert 200 < value(counted, KEPT) == value(counted, older, [hour]) < 300
    assert value(counted, "SELECT max(hour) FROM audit.event_count") < hour
    assert_exact(counted, EVER)


def test_any_period_is_counted_exactly(counted: Connection) -> None:
    now = value(counted, HOUR, ["0 hours"])
    bound = st.one_of(st.integers(-55, 2), st.floats(-55, 2)).map(
        lambda hours: now + timedelta(hours=hours)
    )

    @settings(max_examples=150, deadline=None)
    @given(st.one_of(bound, st.just("-infinity")), st.one_of(bound, st.just("infinity")))
    def period(begin: object, end: object) -> None:
        assert_exact(counted, {"from": begin, "to": end})

    period()


def test_without_bounds_it_is_the_default_window(counted: Connection) -> None:
    counted.execute("UPDATE audit.setting SET default_window = '7 hours'")
    by_default = rows(counted, "SELECT * FROM audit.event_counts() ORDER BY 1, 3, 4")
    bounds = {"from": value(counted, "SELECT now() - interval '7 hours'"), "to": "infinity"}
    assert by_default == rows(counted, EVENTS, bounds)


def test_the_time_zone_of_the_session_does_not_matter(counted: Connection) -> None:
    before = rows(counted, COUNTED, EVER)
    counted.execute("SET TimeZone = 'Asia/Kathmandu'")  # 5:45 from UTC
    assert rows(counted, COUNTED, EVER) == before
    counted.execute("SELECT audit.recount_events('-infinity')")
    maintain(counted, 3)
    assert value(counted, KEPT) > 200
    assert rows(counted, COUNTED, EVER) == before


def begin_late(connection: Connection) -> None:
    """Record something in an open transaction, as if it had begun nine hours ago."""
    with acting_as(connection, "audit_owner"):
        connection.execute("""
            INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
            VALUES (now() - interval '9 hours', now(), 7, 1, 'truncate')
        """)


def assert_waits(db: Connection, finish: Callable[[], object]) -> None:
    """Assert that nothing is counted before the open transaction is finished, then all."""
    maintain(db, 4)
    assert value(db, KEPT) == 0
    finish()
    assert_exact(db, EVER)
    maintain(db, 3)
    assert value(db, KEPT) > 0
    assert_exact(db, EVER)
    assert sum(row["events"] for row in rows(db, COUNTED, EVER)) == 101


def test_an_open_transaction_keeps_its_hours_from_being_counted(database: Database) -> None:
    with database.connect() as db, database.connect() as late:
        attached(db, "id int PRIMARY KEY")
        write(db, 100, 4)
        start_anew(db)
        late.execute("SELECT 1")  # no xid yet
        maintain(db)
        begin_late(late)
        assert_waits(db, late.commit)


@pytest.mark.parametrize("look", ["before", "after"])
def test_a_prepared_transaction_keeps_its_hours_from_being_counted(
    server: Server, look: str
) -> None:
    with (
        Server(server.name, {"max_prepared_transactions": 2}) as special,
        special.clone("native") as database,
        database.connect() as db,
        database.connect() as late,
    ):
        attached(db, "id int PRIMARY KEY")
        write(db, 100, 4)
        start_anew(db)
        begin_late(late)
        if look == "before":
            maintain(db)
        late.execute("PREPARE TRANSACTION 'late'")
        late.autocommit = True
        maintain(db)
        assert_waits(db, lambda: late.execute("COMMIT PREPARED 'late'"))


def test_transactions_that_begin_later_hold_nothing_up(database: Database) -> None:
    with database.connect() as db, database.connect() as busy:
        attached(db, "id int PRIMARY KEY")
        write(db, 100, 4)
        for _ in range(3):
            maintain(db)
            busy.rollback()
            busy.execute("SELECT 1")
        assert value(db, KEPT) > 0


def test_transactions_of_another_database_hold_nothing_up(
    clone: Callable[[str], Database],
) -> None:
    with clone("native").connect() as db, clone("blank").connect() as foreign:
        attached(db, "id int PRIMARY KEY")
        write(db, 100, 4)
        foreign.execute("SELECT 1")
        start_anew(db)
        maintain(db, 3)
        assert value(db, KEPT) > 0


@pytest.mark.parametrize("level", ["REPEATABLE_READ", "SERIALIZABLE"])
def test_an_old_snapshot_counts_nothing_too_early(database: Database, level: str) -> None:
    with database.connect() as db, database.connect() as old, database.connect() as late:
        attached(db, "id int PRIMARY KEY")
        start_anew(db)
        maintain(db)
        begin_late(late)
        old.isolation_level = psycopg.IsolationLevel[level]
        old.execute("SELECT count(*) FROM audit.event")  # its snapshot
        late.commit()
        for _ in range(3):
            assert value(old, "SELECT (audit.run_maintenance()).status") == "ok"
        old.commit()
        maintain(db, 3)
        assert_exact(db, EVER)
        assert value(db, KEPT) == 1


def test_a_backlog_of_weeks_is_worked_off_at_once(db: Connection) -> None:
    attached(db, "id int PRIMARY KEY")
    write(db, 300, 30)  # 31 days
    maintain(db, 2)
    assert value(db, KEPT) > 280
    assert_exact(db, EVER)


def test_hours_without_events_are_passed_at_once(db: Connection) -> None:
    attached(db, "id int PRIMARY KEY")
    with acting_as(db, "audit_owner"):
        db.execute("""
            INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
            SELECT t, t, 1, 1, 'insert'
              FROM (VALUES (now() - interval '2 years'), (now() - interval '5 hours')) AS v (t)
        """)
    db.commit()
    maintain(db, 2)
    assert value(db, KEPT) == 2


def test_a_clock_that_was_set_back_makes_it_count_again(counted: Connection) -> None:
    before = value(counted, COUNTED_TO)
    with acting_as(counted, "audit_owner"):
        counted.execute("UPDATE audit.counting SET observed_at = now() + interval '3 hours'")
    counted.commit()
    write(counted, 60)  # in hours that were counted already
    counted.execute("SELECT audit.run_maintenance()")
    counted.commit()
    assert value(counted, COUNTED_TO) <= before - timedelta(hours=20)
    assert_exact(counted, {**EVER, "from": value(counted, HOUR, ["20 hours"])})
    maintain(counted, 3)
    assert value(counted, COUNTED_TO) >= before
    assert_exact(counted, {**EVER, "from": value(counted, HOUR, ["20 hours"])})


def test_recount_events_forgets_what_was_counted_from_an_hour_on(counted: Connection) -> None:
    write(counted, 60)  # in hours that were counted already
    assert rows(counted, COUNTED, EVER) != rows(counted, EVENTS, EVER)
    counted.execute("SELECT audit.recount_events(now() - interval '3 days')")
    assert value(counted, KEPT) == 0
    assert_exact(counted, EVER)
    maintain(counted, 3)
    assert value(counted, KEPT) > 200
    assert_exact(counted, EVER)
    refused(
        counted,
        errors.NullValueNotAllowed,
        "SELECT audit.recount_events(NULL)",
        message="from must not be NULL",
        hint="-infinity",
    )


def test_a_failure_to_count_is_told_and_keeps_nothing_else_from_being_done(
    root_db: Connection,
) -> None:
    attached(root_db, "id int PRIMARY KEY")
    write(root_db, 100, 4)
    maintain(root_db)
    root_db.execute(
        "ALTER TABLE audit.event_count ADD CONSTRAINT is_full CHECK (events < 0) NOT VALID"
    )
    root_db.execute("UPDATE audit.setting SET premake = premake + 1")
    root_db.execute("SELECT audit.run_maintenance()")
    [run] = rows(root_db, "SELECT * FROM audit.maintenance_run ORDER BY id DESC LIMIT 1")
    assert (run["status"], run["partitions_created"]) == ("failed", 1)
    assert run["message"].startswith("events are not counted: ")
    assert run["message"].endswith("(SQLSTATE 23514)")
    assert_exact(root_db, EVER)


def test_only_the_partitions_of_what_is_not_counted_are_read(counted: Connection) -> None:
    with acting_as(counted, "audit_owner"):
        counted.execute("""
            SELECT audit._create_partition(date_trunc('month', t), date_trunc('month', t)
                                           + interval '1 month')
              FROM generate_series(now() - interval '9 months', now() - interval '4 months',
                                   '1 month') AS t
        """)
    counted.commit()
    begin = value(counted, HOUR, ["4000 hours"])
    counted.execute("SELECT * FROM audit.event_counts(%s)", [begin])
    assert len(locked_partitions(counted) - {"event_default"}) <= 6  # this month's and later ones


def test_a_reader_of_one_table_gets_its_counts_only(
    counted: Connection, database: Database
) -> None:
    attached(counted, "id int PRIMARY KEY", name="other")
    write(counted, 50, 30, table=2)
    counted.execute("SELECT audit.recount_events('-infinity')")
    counted.execute("SELECT audit.grant_read('app_data.other', 'app')")
    maintain(counted, 3)
    everything = rows(counted, COUNTED, EVER)
    with database.connect("app") as app:
        assert rows(app, COUNTED, EVER) == [
            row for row in everything if row["table_name"] == "other"
        ]
        refused(app, errors.InsufficientPrivilege, "SELECT * FROM audit.actor_counts()")
