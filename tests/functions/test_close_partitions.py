"""Maintenance closes the partitions that nobody can write to any more, once and without harm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from partitions import maintain, partition_of, states, suffixes
from servers import ROOT, Database, Server
from trail import Connection, acting_as, attached, rows, value

STANDARD = {"table_idx", "actor_idx"}
SEARCH = STANDARD | {"new_values_idx", "metadata_idx"}
OPTIONS = "SELECT reloptions FROM pg_class WHERE oid = format('audit.%%I', %s::text)::regclass"


@pytest.fixture
def own(backend_database: Database) -> Iterator[Connection]:
    """The deployer in a database of its own where closed partitions shall be searchable."""
    with backend_database.connect(autocommit=True) as connection:
        connection.execute("SELECT audit.set_index_profile('standard', 'search')")
        yield connection


@pytest.fixture
def other(backend_database: Database) -> Iterator[Connection]:
    """A second session in the same database, the superuser's."""
    with backend_database.connect("postgres") as connection:
        yield connection


def look_anew(connection: Connection) -> None:
    """Forget what maintenance knows of open transactions; it looks now for the first time."""
    with acting_as(connection, "audit_owner"):
        connection.execute("DELETE FROM audit.counting; INSERT INTO audit.counting DEFAULT VALUES")
    connection.commit()
    maintain(connection)


def closed(connection: Connection) -> list[str]:
    return [name for name, state in states(connection).items() if state == "closed"]


def test_it_closes_with_the_indexes_of_its_profile(own: Connection, other: Connection) -> None:
    partition = partition_of(own, "90 days")
    assert states(own)[partition] == "closing"  # the run that made it held locks on others
    assert suffixes(own, partition) <= STANDARD
    run = maintain(own)
    assert (run["status"], run["message"]) == ("ok", None)
    assert closed(own) == [partition]
    assert suffixes(own, partition) == SEARCH
    query = "SELECT count(*) FROM pg_stats WHERE schemaname = 'audit' AND tablename = %s"
    assert value(other, query, (partition,)) > 0
    others = {name: state for name, state in states(own).items() if name != partition}
    assert set(others.values()) == {"open"}
    assert [suffixes(own, name) for name in others] == [STANDARD] * len(others)


def test_it_closes_only_once(own: Connection) -> None:
    partition = partition_of(own, "90 days")
    maintain(own)
    query = "SELECT xmin::text FROM pg_class WHERE oid = format('audit.%%I', %s::text)::regclass"
    before = value(own, query, (partition,))
    for _ in range(3):
        assert maintain(own)["message"] is None
    assert value(own, query, (partition,)) == before


def test_an_open_transaction_keeps_it_open(own: Connection, other: Connection) -> None:
    attached(own, "id integer PRIMARY KEY")
    other.execute("INSERT INTO app_data.t VALUES (1)")
    look_anew(own)
    partition = partition_of(own, "90 days")
    for _ in range(2):
        maintain(own)
        assert states(own)[partition] == "open"
        assert suffixes(own, partition) == set()
    other.commit()
    assert maintain(own)["message"] is None
    assert closed(own) == [partition]


def test_the_indexes_of_a_clock_that_was_set_back_stay(own: Connection) -> None:
    partition = partition_of(own, "90 days")
    maintain(own)
    with acting_as(own, "audit_owner"):
        own.execute("UPDATE audit.counting SET observed_at = now() + interval '3 hours'")
    maintain(own)
    assert states(own)[partition] == "open"
    assert suffixes(own, partition) == SEARCH
    maintain(own)
    assert closed(own) == [partition]


def test_another_closed_profile_comes_to_all_closed_partitions(own: Connection) -> None:
    partitions = [partition_of(own, age) for age in ("150 days", "90 days")]
    maintain(own)
    assert closed(own) == partitions
    for profile, expected in (("lean", set()), ("search", SEARCH), ("standard", STANDARD)):
        own.execute("SELECT audit.set_index_profile('standard', %s)", (profile,))
        assert closed(own) == []
        run = maintain(own)
        assert (run["status"], run["message"]) == ("ok", None)
        assert closed(own) == partitions
        assert [suffixes(own, name) for name in partitions] == [expected] * 2


@pytest.mark.parametrize("what", ["writer", "vacuum"])
def test_a_busy_one_is_left_to_the_next_run(own: Connection, other: Connection, what: str) -> None:
    older, busy = (partition_of(own, age) for age in ("150 days", "90 days"))
    mode = {"writer": "ROW EXCLUSIVE", "vacuum": "SHARE UPDATE EXCLUSIVE"}[what]
    other.execute(f"LOCK TABLE audit.{busy} IN {mode} MODE")
    started = time.monotonic()
    run = maintain(own)
    assert time.monotonic() - started < 2
    assert run["status"] == "ok"
    assert run["message"] == f"not closed yet, being busy: {{audit.{busy}}}"
    assert states(own)[busy] == "closing"
    assert closed(own) == [older]
    other.rollback()
    assert maintain(own)["message"] is None
    assert closed(own) == [older, busy]


def test_nobody_waits_while_a_partition_is_being_closed(own: Connection, other: Connection) -> None:
    attached(own, "id integer PRIMARY KEY")
    partition = partition_of(own, "90 days")
    own.execute("BEGIN")
    assert maintain(own)["message"] is None
    assert closed(own) == [partition]
    other.execute("SET lock_timeout = '1s'; INSERT INTO app_data.t VALUES (1)")
    assert value(other, "SELECT count(*) FROM audit.event") == 3
    other.commit()
    own.execute("COMMIT")


def test_an_error_fails_the_run_and_undoes_no_more_than_its_step(
    own: Connection, other: Connection
) -> None:
    older, newer = (partition_of(own, age) for age in ("150 days", "90 days"))
    other.execute(f"CREATE TABLE audit.{older}_metadata_idx ()")
    other.commit()
    own.execute("SELECT audit.set_index_profile('lean', 'search')")
    run = maintain(own)
    assert run["status"] == "failed"
    assert run["message"].startswith(f"audit.{older} is not closed: ")
    assert "42P07" in run["message"]
    assert rows(own, "SELECT status FROM audit.maintenance_run ORDER BY id DESC LIMIT 1") == [
        {"status": "failed"}
    ]
    assert closed(own) == [newer]
    assert states(own)[older] == "closing"
    assert suffixes(own, "event_default") == set()
    other.execute(f"DROP TABLE audit.{older}_metadata_idx")
    other.commit()
    assert maintain(own)["message"] is None
    assert closed(own) == [older, newer]


def test_a_canceled_step_undoes_nothing_else(own: Connection, other: Connection) -> None:
    ages = [f"{30 * n + 60} days" for n in range(6)]
    partitions = [partition_of(own, age) for age in ages]
    attached(own, "id integer PRIMARY KEY")
    own.execute("ALTER TABLE app_data.t RENAME TO renamed")
    for name in partitions:
        other.execute(f"LOCK TABLE audit.{name} IN ROW EXCLUSIVE MODE")
    own.execute("SET statement_timeout = '700ms'")  # six locks take 1.2 s
    run = maintain(own)
    assert run["status"] == "failed"
    assert "57014" in run["message"]
    assert value(own, "SELECT table_name FROM audit.tracked_table") == "renamed"
    other.rollback()
    own.execute("RESET statement_timeout")
    assert maintain(own)["message"] is None
    assert sorted(closed(own)) == sorted(partitions)


def test_what_is_kept_of_an_expired_partition_is_closed_again(own: Connection) -> None:
    attached(own, "id integer PRIMARY KEY")
    attached(own, "id integer PRIMARY KEY", name="u")
    with acting_as(own, "audit_owner"):
        own.execute("""
            INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
            SELECT now() - '95 days'::interval, now(), 1, id, 'truncate' FROM audit.tracked_table
        """)
    partition = partition_of(own, "95 days")
    for _ in range(2):
        maintain(own)
    assert closed(own) == [partition]
    own.execute("SELECT audit.set_retention('40 days', 'app_data.t')")
    assert maintain(own)["events_expired"] == 3
    assert states(own)[partition] == "closing"
    maintain(own)
    assert closed(own) == [partition]
    assert suffixes(own, partition) == SEARCH
    query = "SELECT count(*) FROM pg_index WHERE indrelid = format('audit.%%I', %s::text)::regclass"
    assert value(own, query, (partition,)) == 6


def test_a_run_begins_no_index_after_its_time(own: Connection) -> None:
    partition = partition_of(own, "90 days")
    text = Path(ROOT / "sql/functions/_close_partitions.sql").read_text()
    hasty = text.replace("'5 minutes'", "'0'")
    assert hasty != text
    for source, message in (
        (hasty, "the rest of the closing is left to the next run"),
        (text, None),
    ):
        own.execute("SET ROLE audit_owner")
        own.execute(source.encode())
        own.execute("RESET ROLE")
        run = maintain(own)
        assert (run["status"], run["message"]) == ("ok", message)
    assert closed(own) == [partition]


@pytest.mark.slow
def test_autovacuum_freezes_a_closed_partition(server: Server) -> None:
    if server.name == "embedded":
        pytest.skip("embedded has no pg_visibility")
    settings = {"autovacuum_naptime": "1s", "vacuum_freeze_min_age": "50000000"}
    with (
        Server(server.name, settings) as busy,
        busy.clone("native") as database,
        database.connect("postgres", autocommit=True) as db,
    ):
        db.execute("CREATE EXTENSION pg_visibility")
        db.execute("SET synchronous_commit = on")  # else VACUUM finds them too fresh
        partition = partition_of(db, "90 days")
        many = """
            INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
            SELECT now() - '90 days'::interval, now(), 1, 1, 'truncate' FROM generate_series(1, %s)
        """
        db.execute(many, (10000,))
        db.execute("SELECT pg_stat_force_next_flush()")
        db.execute(f"VACUUM audit.{partition}")
        db.execute(many, (100,))
        query = "SELECT count(*) FROM pg_visibility_map(%s::regclass) WHERE all_visible"
        assert value(db, query, (f"audit.{partition}",)) > 32  # which VACUUM would skip
        query = "SELECT bool_and(all_frozen) FROM pg_visibility_map(%s::regclass)"
        assert not value(db, query, (f"audit.{partition}",))
        assert maintain(db)["message"] is None
        deadline = time.monotonic() + 20
        while not value(db, query, (f"audit.{partition}",)):
            assert time.monotonic() < deadline, value(db, OPTIONS, (partition,))
            time.sleep(0.2)
