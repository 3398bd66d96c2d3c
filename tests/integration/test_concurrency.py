"""Attaching, detaching, writing, maintenance and upgrades at once: no deadlock, no lost event."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from threading import Event

import psycopg
import pytest
from psycopg import errors

from audit_schema import schema
from migrations.conftest import quietly
from servers import Database
from trail import MODES, Connection, attached, rows, triggers, value

BLOCKED = """
    SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
     WHERE NOT granted AND datid = %s::oid
"""
TABLES = ("app_data.t0", "app_data.t1", "app_data.t2")
CAPTURED = "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"
# Each batch is three rows, inserted and updated; its witness says whether they were captured.
BATCHES = """
    SELECT w.t, w.id, w.captured, count(c.event_id) AS events
      FROM app_data.witness AS w
      LEFT JOIN audit.change AS c ON c.table_name = split_part(w.t, '.', 2)
                                 AND (c.row_key ->> 'batch')::int = w.id
     GROUP BY 1, 2, 3
"""


def blocked(connection: Connection, sessions: int) -> None:
    """Wait until so many sessions wait for a lock."""
    deadline = time.monotonic() + 10
    database = value(connection, "SELECT oid FROM pg_database WHERE datname = current_database()")
    while value(connection, BLOCKED, [database]) != sessions:
        assert time.monotonic() < deadline, f"{sessions} sessions should wait for a lock"
        time.sleep(0.01)


def call(database: Database, query: str) -> object:
    """Run one statement in a session of its own."""
    with database.connect() as connection:
        return value(connection, query)


ATTACH, DETACH = "SELECT audit.attach('app_data.t', 'row')", "SELECT audit.detach('app_data.t')"


@pytest.mark.parametrize(
    ("first", "second", "results", "captured"),
    [
        (DETACH, ATTACH, (True, 1), 4),
        (ATTACH, DETACH, (1, True), 0),
        (DETACH, DETACH, (True, False), 0),
        (ATTACH, ATTACH, (1, 1), 4),
    ],
)
def test_two_who_wait_for_one_table_take_turns(
    database: Database, first: str, second: str, results: tuple[object, object], captured: int
) -> None:
    with (
        database.connect(autocommit=True) as db,
        database.connect("app") as writer,
        ThreadPoolExecutor(2) as pool,
    ):
        table = attached(db, "id int PRIMARY KEY")
        writer.execute(f"INSERT INTO {table} VALUES (1)")
        one = pool.submit(call, database, first)
        blocked(db, 1)
        two = pool.submit(call, database, second)
        blocked(db, 2)
        writer.commit()
        assert (one.result(timeout=30), two.result(timeout=30)) == results
        assert len(triggers(db, table)) == captured
        registered = rows(db, "SELECT detached_at IS NULL AS attached FROM audit.tracked_table")
        assert registered == [{"attached": captured > 0}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attach_first", [False, True])
def test_lock_timeout_is_kept_and_leaves_all_as_it_was(
    database: Database, attach_first: bool, mode: str
) -> None:
    with database.connect(autocommit=True) as db, database.connect("app") as writer:
        db.execute("CREATE TABLE app_data.t (id int PRIMARY KEY)")
        if attach_first:
            db.execute("SELECT audit.attach('app_data.t', %s)", [mode])
        before = rows(db, "TABLE audit.tracked_table"), triggers(db, "app_data.t")
        writer.execute("INSERT INTO app_data.t VALUES (1)")
        db.execute("SET lock_timeout = '100ms'")
        others = [m for m in MODES if m != mode] if attach_first else MODES
        calls = [f"SELECT audit.attach('app_data.t', '{other}')" for other in others]
        for query in calls + [DETACH] * attach_first:
            with pytest.raises(errors.LockNotAvailable):
                db.execute(query)
        writer.execute("INSERT INTO app_data.t VALUES (2)")  # nobody waits in front of it
        writer.commit()
        assert (rows(db, "TABLE audit.tracked_table"), triggers(db, "app_data.t")) == before


def test_lock_timeout_is_kept_behind_a_migration_that_attaches(database: Database) -> None:
    with database.connect() as migration, database.connect(autocommit=True) as db:
        table = attached(db, "id int PRIMARY KEY")
        attached(migration, "id int PRIMARY KEY", name="other")
        db.execute("SET lock_timeout = '100ms'")
        for query in ("SELECT audit.attach(%s, 'row')", "SELECT audit.detach(%s)"):
            with pytest.raises(errors.LockNotAvailable):
                db.execute(query, [table])
        assert value(db, "SELECT audit.attach(%s)", [table]) == 1
        assert value(db, "SELECT (audit.run_maintenance()).status") == "ok"


@pytest.mark.parametrize("meanwhile", [ATTACH, DETACH])
def test_an_attach_with_an_old_snapshot_fails_or_sees_the_present(
    database: Database, meanwhile: str
) -> None:
    with database.connect(autocommit=True) as db, database.connect() as old:
        db.execute("CREATE TABLE app_data.t (id int PRIMARY KEY)")
        if meanwhile == DETACH:
            db.execute(ATTACH)
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT count(*) FROM audit.tracked_table")
        db.execute(meanwhile)
        try:
            old.execute(ATTACH)
            old.commit()
        except errors.SerializationFailure:
            old.rollback()
        registered = rows(db, "SELECT detached_at IS NULL AS attached FROM audit.tracked_table")
        assert registered == [{"attached": len(triggers(db, "app_data.t")) == 4}]


def test_a_change_of_the_settings_holds_up_no_attach(database: Database) -> None:
    with database.connect() as settings, database.connect() as db:
        settings.execute("UPDATE audit.setting SET default_window = '1 year'")
        db.execute("CREATE TABLE app_data.t (id int PRIMARY KEY)")
        db.execute("SET lock_timeout = '1s'")
        db.execute(ATTACH)
        settings.execute("SELECT audit.status()")


class Storm:
    """Sessions that go on with their work until they are told to stop."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.over = Event()
        self.batches = count()
        self.rounds: dict[str, int] = {}

    def work(self, name: str, once: Callable[[Connection, random.Random], None]) -> None:
        choice = random.Random(name)
        try:
            with self.database.connect(options="-c statement_timeout=30s") as connection:
                while not self.over.is_set():
                    once(connection, choice)
                    connection.commit()
                    self.rounds[name] = self.rounds.get(name, 0) + 1
        except BaseException:
            self.over.set()
            raise

    def write(self, connection: Connection, choice: random.Random) -> None:
        for table in choice.sample(TABLES, 2):
            batch = next(self.batches)
            connection.execute(f"INSERT INTO {table} SELECT {batch}, generate_series(1, 3), 0")
            connection.execute(f"UPDATE {table} SET n = 1 WHERE batch = {batch}")
            captured = value(connection, CAPTURED, [table]) == 4
            connection.execute(
                "INSERT INTO app_data.witness VALUES (%s, %s, %s)", [table, batch, captured]
            )

    def toggle(self, connection: Connection, choice: random.Random) -> None:
        table = choice.choice(TABLES)
        if choice.random() < 0.4:
            connection.execute("SELECT audit.detach(%s)", [table])
        else:
            connection.execute("SELECT audit.attach(%s, %s)", [table, choice.choice(MODES)])

    def maintain(self, connection: Connection, _: random.Random) -> None:
        status, message = connection.execute(
            "SELECT status, message FROM audit.run_maintenance()"
        ).fetchone() or (None, None)
        assert status in ("ok", "skipped"), message
        time.sleep(0.02)

    def migrate(self, _: Connection, __: random.Random) -> None:
        quietly(schema.downgrade, self.database.url(), "0002")
        quietly(schema.upgrade, self.database.url())

    def alter(self, connection: Connection, choice: random.Random) -> None:
        column = choice.choice(("a", "b"))
        connection.execute(f"ALTER TABLE app_data.t0 ADD COLUMN IF NOT EXISTS {column} int")
        connection.execute(f"ALTER TABLE app_data.t0 DROP COLUMN {column}")
        time.sleep(0.02)


@pytest.mark.slow
def test_everything_at_once(database: Database) -> None:
    with database.connect(autocommit=True) as db:
        for table in TABLES:
            db.execute(f"CREATE TABLE {table} (batch int, i int, n int, PRIMARY KEY (batch, i))")
        db.execute("CREATE TABLE app_data.witness (t text, id int PRIMARY KEY, captured bool)")
    with database.connect("postgres") as root:  # to let queues be put in order soon
        root.execute(f"ALTER DATABASE {database.name} SET deadlock_timeout = '20ms'")
    storm = Storm(database)
    work = {
        **{f"writer {n}": storm.write for n in range(4)},
        **{f"toggler {n}": storm.toggle for n in range(3)},
        **{f"maintainer {n}": storm.maintain for n in range(2)},
        "migration": storm.migrate,
        "ddl": storm.alter,
    }
    with ThreadPoolExecutor(len(work)) as pool:
        sessions: list[Future[None]] = [
            pool.submit(partial(storm.work, name, once)) for name, once in work.items()
        ]
        deadline = time.monotonic() + 60
        while not storm.over.wait(3) and len(storm.rounds) < len(work):
            assert time.monotonic() < deadline, f"these alone got on: {storm.rounds}"
        storm.over.set()
        for session in sessions:
            session.result()
    with database.connect("postgres") as reader:
        batches = rows(reader, BATCHES)
        assert [b for b in batches if b["events"] != (6 if b["captured"] else 0)] == []
        assert {b["captured"] for b in batches} == {True, False}
        for table in TABLES:
            reader.execute("SELECT audit.attach(%s)", [table])
        ids = reader.execute("SELECT table_name FROM audit.tracked_table ORDER BY 1").fetchall()
        assert ids == [("t0",), ("t1",), ("t2",)]
        state = "SELECT state, value FROM audit.status() WHERE item = 'attached tables'"
        assert rows(reader, state) == [{"state": "ok", "value": "3 captured"}]
