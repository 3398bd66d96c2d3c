"""A plan that a session keeps must be as good for the statements that come later."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers import Database, Server
from trail import Connection, attached, rows, value

# Neither COPY, which has no plan, nor a one-row INSERT costs as much as this; capture of a bulk
# statement does. So only capture can be what loads the compiler.
LOW_COST = "SET jit = on; SET jit_above_cost = 2; SET jit_optimize_above_cost = -1"


def loads_the_compiler(database: Database, reset: str = "") -> bool:
    """Whether a session that writes in bulk, then row by row, compiled anything."""
    with database.connect(autocommit=True) as db:
        table = attached(db, "id integer PRIMARY KEY, n integer", "statement")
        if reset:
            db.execute(f"SET ROLE audit_owner; {reset}; RESET ROLE")
        db.execute(LOW_COST)
        with db.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for number in range(1000):
                copy.write_row((number, 0))
        db.execute(f"INSERT INTO {table} VALUES (-1, 0)")
        loaded = Path(f"/proc/{db.info.backend_pid}/maps").read_text()
        assert value(db, "SELECT count(*) FROM audit.event") == 1001
        return "llvmjit" in loaded


@pytest.fixture
def jit_database(server: Server, database: Database) -> Database:
    """A database on a server that can compile."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("what a process has loaded is only seen on Linux")
    if not list((server.bindir.parent / "lib").glob("**/llvmjit.so")):
        pytest.skip(f"{server.name} is installed without llvmjit")
    return database


def test_no_code_is_compiled_for_capture(jit_database: Database) -> None:
    assert not loads_the_compiler(jit_database)


def test_without_the_setting_code_would_be_compiled(jit_database: Database) -> None:
    assert loads_the_compiler(jit_database, "ALTER FUNCTION audit.capture_insert() RESET jit")


def test_every_capture_of_rows_has_the_compiler_off(tx: Connection) -> None:
    query = """
        SELECT proname FROM pg_proc WHERE pronamespace = 'audit'::regnamespace
           AND proname IN ('capture_row', 'capture_insert', 'capture_update', 'capture_delete')
           AND 'jit=off' = ANY (proconfig)
    """
    assert len(rows(tx, query)) == 4


@pytest.mark.parametrize("type_", ["integer", "app_data.mood"])
@pytest.mark.parametrize("first", [1, 2])
def test_a_plan_made_for_a_few_rows_is_no_trap_for_many(
    tx: Connection, type_: str, first: int
) -> None:
    # comparing each row with each would take half a minute
    tx.execute("CREATE TYPE app_data.mood AS ENUM ('1', '2')")
    table = attached(tx, f"id integer PRIMARY KEY, x {type_}")
    tx.execute("SET LOCAL statement_timeout = '10s'")
    for number in (first, 4000):
        tx.execute(f"INSERT INTO {table} SELECT i, '1' FROM generate_series(1, {number}) AS i")
        tx.execute(f"UPDATE {table} SET x = '2'")
        tx.execute(f"DELETE FROM {table}")
    assert value(tx, "SELECT count(*) FROM audit.event") == 3 * (first + 4000)


def test_events_of_an_update_are_numbered_in_the_order_of_its_rows(tx: Connection) -> None:
    """Also when the rows do not fit into memory, with a plan that was made for two of them."""
    table = attached(tx, "id integer PRIMARY KEY, x integer")
    tx.execute("SET LOCAL work_mem = '64kB'")
    for number in (2, 8000):
        tx.execute(f"INSERT INTO {table} SELECT i, 1 FROM generate_series(1, {number}) AS i")
        tx.execute(f"UPDATE {table} SET x = 2")
        if number == 2:
            tx.execute(f"DELETE FROM {table}")
    moved_back = """
        SELECT count(*) FROM (
            SELECT (row_key -> 'id')::integer < lag((row_key -> 'id')::integer) OVER (ORDER BY id)
              FROM audit.event
             WHERE id > (SELECT max(id) FROM audit.event WHERE action = 'insert')) AS steps (back)
         WHERE back"""
    assert value(tx, moved_back) == 0
