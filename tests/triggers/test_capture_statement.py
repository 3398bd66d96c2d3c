"""A plan made for a bulk statement must not make each later one-row statement compile code."""

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
    assert loads_the_compiler(jit_database, "ALTER FUNCTION audit.capture_statement() RESET jit")


def test_every_capture_of_rows_has_the_compiler_off(tx: Connection) -> None:
    query = """
        SELECT proname FROM pg_proc WHERE pronamespace = 'audit'::regnamespace
           AND proname IN ('capture_row', 'capture_statement') AND 'jit=off' = ANY (proconfig)
    """
    assert len(rows(tx, query)) == 2
