"""Crashes, full disks and cut off statements: trail and table hold the same, or neither does."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

import replay
import traffic
from servers import Database, Server
from trail import MODES, Connection, attached, events, value

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
FILE = """
    SELECT pg_relation_filepath(format('audit.%I', partition)::regclass) FROM audit.partition
     WHERE now() >= from_time AND now() < to_time
"""
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"


def kill_all(server: Server) -> None:
    """End the server as a power cut does: none of its processes can do anything any more."""
    assert server.process is not None
    postmaster = server.process.pid
    os.kill(postmaster, signal.SIGSTOP)  # it shall not see its children die, nor make new ones
    for child in children(postmaster):
        os.kill(child, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    server.process.wait(timeout=30)


def kill_a_backend(server: Server) -> None:
    """The postmaster then ends all the others and recovers by itself."""
    pids = [pid for (pid,) in server.admin.execute(f"{BACKENDS} AND usename = 'app'")]
    os.kill(pids[0], signal.SIGKILL)


def children(parent: int) -> list[int]:
    """The processes whose parent this is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except FileNotFoundError:  # it ended meanwhile
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def wait_for(connection: Connection, query: str, seconds: float = 30) -> None:
    """Wait until a query gives true; the connection is in autocommit mode."""
    deadline = time.monotonic() + seconds
    while not value(connection, query):
        assert time.monotonic() < deadline, query
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_all, kill_a_backend])
def test_after_a_crash_trail_and_tables_agree(
    server: Server, kill: Callable[[Server], None]
) -> None:
    with Server(server.name, DURABLE) as own, own.clone() as database:
        traffic.prepare(database)

        def crash() -> None:
            with database.connect(autocommit=True) as watcher:
                wait_for(watcher, "SELECT count(*) > 200 FROM app_data.mark")
            kill(own)

        clients = traffic.run(database, 1_000_000, crash)
        own.forget_admin()
        if kill is kill_all:
            with own.paused():  # it is dead: this only starts it again
                pass
        deadline = time.monotonic() + 60
        while True:
            try:
                reader = database.connect("postgres", autocommit=True)
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, own.log.read_text()
                time.sleep(0.05)
        with reader:
            replay.check(reader, *traffic.TABLES)
            marks = set(reader.execute("TABLE app_data.mark"))
            acknowledged = {(c.number, number) for c in clients for number in c.committed}
            assert "not properly shut down; automatic recovery" in own.log.read_text()
            assert acknowledged <= marks
            assert len(marks - acknowledged) <= traffic.CLIENTS  # committed, and not told so
            assert value(reader, "SELECT (audit.run_maintenance()).status") == "ok"
        assert all(client.lost for client in clients)
        assert not any(client.lost for client in traffic.run(database, transactions=5))
        with database.connect("postgres") as reader:
            replay.check(reader, *traffic.TABLES)


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Put /dev/full, which is always full, in the place of an empty file."""
    assert path.stat().st_size == 0
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    path.symlink_to("/dev/full")
    try:
        yield
    finally:
        path.unlink()
        aside.rename(path)


def test_a_full_disk_of_the_trail_stops_the_write_and_nothing_else(
    server: Server, database: Database
) -> None:
    with database.connect() as db:
        table = attached(db, "id int PRIMARY KEY")
        other = "app_data.free"
        db.execute(f"CREATE TABLE {other} (id int PRIMARY KEY)")
        path = server.data / value(db, FILE)
        db.commit()
    with full_disk(path), database.connect(autocommit=True) as db:
        for _ in range(2):
            with pytest.raises(errors.DiskFull):
                db.execute(f"INSERT INTO {table} VALUES (1)")
        bulk = f"INSERT INTO {table} SELECT generate_series(1, 1000)"
        with pytest.raises(errors.DiskFull):
            db.execute(f"WITH other AS (INSERT INTO {other} VALUES (1)) {bulk}")
        db.execute(f"INSERT INTO {other} VALUES (2)")
        assert db.execute(f"SELECT id FROM {other}").fetchall() == [(2,)]
    with database.connect(autocommit=True) as db:
        assert value(db, f"SELECT count(*) FROM {table}") == 0
        assert events(db) == []
        db.execute(f"INSERT INTO {table} VALUES (3)")
        replay.check(db, table)


def limit_files(server: Server, connection: Connection, size: int | str) -> None:
    """Let the process of a session make no file larger than this."""
    pid = connection.info.backend_pid
    done = server.run("prlimit", f"--pid={pid}", f"--fsize={size}:")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_session_goes_on_when_there_is_room_again(
    server: Server, database: Database, mode: str
) -> None:
    """Files that may not grow above a limit fail in the midst of a statement."""
    with database.connect(autocommit=True) as db, database.connect("postgres") as reader:
        table = attached(db, "id int PRIMARY KEY, s text", mode)
        db.execute(f"INSERT INTO {table} VALUES (0, 'before')")
        # a segment of the write-ahead log has 16 MB, and has to be written
        limit_files(server, db, 17 << 20)
        with pytest.raises(psycopg.Error, match="could not extend file") as caught:
            db.execute(
                f"INSERT INTO {table} SELECT g, repeat('0123456789', 60)"
                " FROM generate_series(1, 24000) AS g"
            )
        assert "audit." in (caught.value.diag.context or ""), caught.value.diag.context
        limit_files(server, db, "unlimited")
        db.execute(f"INSERT INTO {table} SELECT g, 'after' FROM generate_series(1, 10) AS g")
        assert len(events(reader)) == 11
        replay.check(reader, table)


# As this row becomes JSON, in the midst of the others, capture waits for a lock.
GATE = """
    CREATE TYPE app_data.gate AS ENUM ('open', 'shut');
    GRANT USAGE ON SCHEMA app_data TO PUBLIC;
    CREATE FUNCTION app_data.pass(app_data.gate) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
        IF $1 = 'shut' THEN
            PERFORM pg_advisory_xact_lock_shared(1);
        END IF;
        RETURN to_json($1::text);
    END $$;
    CREATE CAST (app_data.gate AS json) WITH FUNCTION app_data.pass(app_data.gate)
"""
WAITING = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
STATEMENTS = {
    "insert": "INSERT INTO {} SELECT g, CASE g WHEN 500 THEN 'shut' ELSE 'open' END::app_data.gate"
    " FROM generate_series(1, 1000) AS g",
    "update": "UPDATE {} SET g = CASE id WHEN -500 THEN 'shut' ELSE 'open' END::app_data.gate",
}
ENDS: dict[str, tuple[str, type[psycopg.Error]]] = {
    "cancel": ("SELECT pg_cancel_backend(%s)", errors.QueryCanceled),
    "timeout": ("SELECT %s", errors.QueryCanceled),
    "terminate": ("SELECT pg_terminate_backend(%s)", errors.AdminShutdown),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("action", STATEMENTS)
@pytest.mark.parametrize("end", ENDS)
def test_a_bulk_statement_cut_off_in_the_midst_leaves_nothing(
    database: Database, end: str, action: str, mode: str
) -> None:
    command, error = ENDS[end]
    with (
        database.connect("postgres", autocommit=True) as root,
        database.connect("app", autocommit=True) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        with database.connect() as owner:
            owner.execute(GATE)
            table = attached(owner, "id int PRIMARY KEY, g app_data.gate", mode)
            owner.execute(f"INSERT INTO {table} SELECT -g, NULL FROM generate_series(1, 1000) AS g")
        before = replay.replayed(root, table)
        root.execute("SELECT pg_advisory_lock(1)")
        if end == "timeout":
            writer.execute("SET statement_timeout = '1s'")
        writing = pool.submit(writer.execute, STATEMENTS[action].format(table))
        wait_for(root, WAITING)
        root.execute(command, [writer.info.backend_pid])
        with pytest.raises(error):
            writing.result(timeout=30)
        root.execute("SELECT pg_advisory_unlock(1)")
        assert replay.replayed(root, table) == before
        replay.check(root, table)
        if end != "terminate":
            writer.execute(STATEMENTS[action].format(table))
            assert replay.replayed(root, table) != before
            replay.check(root, table)


def test_a_client_that_vanishes_leaves_nothing(database: Database) -> None:
    with database.connect(autocommit=True) as db:
        table = attached(db, "id int PRIMARY KEY")
        gone = database.connect("app")
        gone.execute(f"INSERT INTO {table} SELECT generate_series(1, 10)")
        pid = gone.info.backend_pid
        with socket.socket(fileno=os.dup(gone.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
        gone.close()
        wait_for(db, f"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})")
        assert value(db, f"SELECT count(*) FROM {table}") == 0
        assert events(db) == []
