"""What slows other trails down in time: subtransactions, flipping plans, contention, no vacuum."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import sql

from servers import Database, Server
from trail import attached, rows, value

CLIENTS = 32
PLANNED = """
    SELECT COALESCE(sum(plans), 0)::integer FROM pg_stat_statements
     WHERE query LIKE '%audit.event%' AND query NOT LIKE '%pg_stat_statements%'
       AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.mark.parametrize("column", ["integer", "mood"])
@pytest.mark.parametrize("mode", ["statement", "row"])
def test_capture_leaves_no_subtransactions(database: Database, mode: str, column: str) -> None:
    """More than 64 of them in one transaction would slow down every snapshot of the server."""
    with database.connect() as db:
        if db.info.server_version < 160000:
            pytest.skip("pg_stat_get_backend_subxact() came with PostgreSQL 16")
        db.execute("CREATE TYPE app_data.mood AS ENUM ('1', '2')")
        kind = "app_data.mood" if column == "mood" else column
        table = attached(db, f"id integer PRIMARY KEY, n {kind}", mode)
        db.commit()
        for number in range(70):
            db.execute(f"INSERT INTO {table} VALUES (%s, '1')", [number])
            db.execute(f"UPDATE {table} SET n = '2' WHERE id = %s", [number])
        found = rows(
            db,
            """SELECT s.* FROM pg_stat_get_backend_idset() AS id
                CROSS JOIN LATERAL pg_stat_get_backend_subxact(id) AS s
                WHERE pg_stat_get_backend_pid(id) = pg_backend_pid()""",
        )
        assert found == [{"subxact_count": 0, "subxact_overflowed": False}]


def plans_again(database: Database, mode: str, reset: str = "") -> bool:
    """Whether capture plans a statement again when bulk and single rows alternate."""
    with (
        database.connect("postgres", autocommit=True) as admin,
        database.connect(autocommit=True) as db,
    ):
        admin.execute("CREATE EXTENSION pg_stat_statements")
        admin.execute(
            sql.SQL("ALTER DATABASE {} SET pg_stat_statements.track_planning = on").format(
                sql.Identifier(database.name)
            )
        )
        if reset:
            admin.execute(reset)
        table = attached(db, "id integer PRIMARY KEY, n integer", mode)
    with (
        database.connect("postgres", autocommit=True) as admin,
        database.connect(autocommit=True) as db,
    ):
        planned: list[int] = []
        for start in (1, 10_001):
            db.execute(
                f"INSERT INTO {table} SELECT g, 0 FROM generate_series(%s::integer, %s) AS g",
                [start, start + 5_000],
            )
            db.execute(f"UPDATE {table} SET n = n + 1")
            for number in range(10):
                db.execute(f"INSERT INTO {table} VALUES (%s, 0)", [-start - number])
                db.execute(f"UPDATE {table} SET n = -1 WHERE id = %s", [-start - number])
            planned.append(value(admin, PLANNED))
        assert planned[0] > 0
        return planned[1] > planned[0]


@pytest.mark.parametrize("mode", ["statement", "row"])
def test_plans_do_not_flip_between_one_row_and_bulk(database: Database, mode: str) -> None:
    assert not plans_again(database, mode)


def test_without_the_setting_plans_would_flip(database: Database) -> None:
    reset = "ALTER FUNCTION audit.capture_insert() RESET plan_cache_mode"
    assert plans_again(database, "statement", reset)


@pytest.mark.slow
def test_many_clients_write_at_once(database: Database) -> None:
    """Neither the sequence nor an index makes sessions wait for each other for long."""
    with database.connect(autocommit=True) as db:
        table = attached(db, "id integer PRIMARY KEY, n integer")

    def write(client: int) -> None:
        with database.connect(autocommit=True, options="-c statement_timeout=20s") as own:
            for number in range(40):
                own.execute(f"INSERT INTO {table} VALUES (%s, 0)", [client * 1000 + number])
                own.execute(f"UPDATE {table} SET n = 1 WHERE id = %s", [client * 1000 + number])

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(write, range(CLIENTS)))
    with database.connect(autocommit=True) as db:
        assert value(db, "SELECT count(DISTINCT id) FROM audit.event") == CLIENTS * 80
        assert value(db, "SELECT count(*) FROM audit.event") == CLIENTS * 80


@pytest.mark.slow
def test_inserts_alone_bring_autovacuum(server: Server) -> None:
    """A partition that nobody writes any more is all visible, so counts need only its index."""
    quick = {
        "autovacuum_naptime": "1s",
        "autovacuum_vacuum_insert_threshold": 1000,
        "autovacuum_vacuum_insert_scale_factor": 0,
    }
    with (
        Server(server.name, quick) as own,
        own.clone() as database,
        database.connect(autocommit=True) as db,
    ):
        table = attached(db, "id integer PRIMARY KEY")
        deadline = time.monotonic() + 60
        visible = """
                SELECT sum(c.relallvisible) > 0 FROM audit.partition AS p
                  JOIN pg_class AS c ON c.oid = format('audit.%I', p.partition)::regclass"""
        # more rows each time: a run that starts before all can see the last ones is not repeated
        while not value(db, visible):
            assert time.monotonic() < deadline, "autovacuum did not come"
            db.execute(
                f"INSERT INTO {table} SELECT count(*) + generate_series(1, 2000) FROM {table}"
            )
            db.execute("SELECT pg_stat_force_next_flush()")
            time.sleep(0.5)
        plan = db.execute(
            """EXPLAIN (COSTS OFF) SELECT action, count(*) FROM audit.event
                    WHERE tracked_table_id = 1 AND occurred_at > now() - interval '1 hour'
                    GROUP BY 1"""
        ).fetchall()
        assert any("Index Only Scan" in line for (line,) in plan), plan


def test_a_writer_never_waits_for_readers(database: Database) -> None:
    """Capture only appends: a reader's transaction, however long, holds nothing that it needs."""
    with database.connect(autocommit=True) as db, database.connect() as reader:
        table = attached(db, "id integer PRIMARY KEY")
        reader.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        assert value(reader, "SELECT count(*) FROM audit.change") == 0
        db.execute("SET lock_timeout = '100ms'")
        for isolation in ("read committed", "serializable"):
            db.execute("SELECT set_config('default_transaction_isolation', %s, false)", [isolation])
            db.execute(f"INSERT INTO {table} SELECT count(*) + 1 FROM {table}")
        reader.commit()
        assert value(db, "SELECT count(*) FROM audit.change") == 2
