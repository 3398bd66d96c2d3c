"""The row of audit.transaction: once, with what the server knows, and nothing after a rollback."""

from __future__ import annotations

import psycopg
import pytest

from servers import Database, Server
from trail import MODES, Connection, Row, acting_as, attached, rows, value

COUNTS = """
    SELECT (SELECT count(*) FROM audit.transaction) AS transactions,
           (SELECT count(*) FROM audit.event) AS events
"""


def counts(connection: Connection) -> Row:
    [row] = rows(connection, COUNTS)
    return row


@pytest.fixture(params=MODES)
def table(request: pytest.FixtureRequest, tx: Connection) -> str:
    """An attached table, in each mode."""
    return attached(tx, "id integer PRIMARY KEY, n integer", request.param)


def test_statements_without_rows_leave_nothing(db: Connection) -> None:
    for mode in MODES:
        attached(db, "id integer PRIMARY KEY", mode, mode)
    db.commit()
    for mode in MODES:
        db.execute(f"UPDATE app_data.{mode} SET id = 1")
        db.execute(f"DELETE FROM app_data.{mode}")
        db.execute(f"INSERT INTO app_data.{mode} SELECT 1 WHERE false")
    assert value(db, "SELECT pg_current_xact_id_if_assigned()") is None
    assert counts(db) == {"transactions": 0, "events": 0}


def test_an_update_without_effect_leaves_no_transaction(db: Connection) -> None:
    for mode in MODES:
        attached(db, "id integer PRIMARY KEY", mode, mode)
        db.execute(f"INSERT INTO app_data.{mode} VALUES (1)")
    db.commit()
    before = counts(db)
    for mode in MODES:
        db.execute(f"UPDATE app_data.{mode} SET id = 1")
    assert counts(db) == before


def test_the_transaction_is_recorded_once_with_what_the_server_knows(database: Database) -> None:
    with database.connect(application_name="shop") as db:
        attached(db, "id integer PRIMARY KEY")
        attached(db, "id integer PRIMARY KEY", "row", "other")
        db.execute("INSERT INTO app_data.t VALUES (1)")
        db.execute("INSERT INTO app_data.other VALUES (1)")
        db.execute("UPDATE app_data.other SET id = 2")
        db.execute("TRUNCATE app_data.t")
        [found] = rows(db, "TABLE audit.transaction")
        assert found == {
            "started_at": value(db, "SELECT now()"),
            "xid": value(db, "SELECT pg_current_xact_id()::text::bigint"),
            "backend_pid": db.info.backend_pid,
            "client_port": None,
            "client_addr": None,
            "database_user": "deployer",
            "database_role": None,
            "application_name": "shop",
            "actor": None,
            "actor_type": None,
            "actor_label": None,
            "metadata": None,
        }
        assert counts(db) == {"transactions": 1, "events": 4}


def test_a_client_over_tcp_leaves_its_address_and_port(database: Database) -> None:
    with psycopg.connect(database.url(tcp=True), application_name="") as db:
        attached(db, "id integer PRIMARY KEY")
        db.execute("INSERT INTO app_data.t VALUES (1)")
        query = """
            SELECT client_addr::text, client_port = inet_client_port() AS same, application_name
              FROM audit.transaction
        """
        assert rows(db, query) == [
            {"client_addr": "127.0.0.1/32", "same": True, "application_name": None}
        ]


def test_set_role_is_recorded(root_tx: Connection) -> None:
    attached(root_tx, "id integer PRIMARY KEY")
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO app; GRANT ALL ON app_data.t TO app")
    with acting_as(root_tx, "app"):
        root_tx.execute("INSERT INTO app_data.t VALUES (1)")
    assert rows(root_tx, "SELECT database_user, database_role FROM audit.transaction") == [
        {"database_user": "postgres", "database_role": "app"}
    ]


def test_a_security_definer_function_of_the_application_is_no_set_role(root_tx: Connection) -> None:
    attached(root_tx, "id integer PRIMARY KEY")
    root_tx.execute("""
        CREATE FUNCTION app_data.write() RETURNS void LANGUAGE sql SECURITY DEFINER
            AS 'INSERT INTO app_data.t VALUES (1)';
        GRANT USAGE ON SCHEMA app_data TO app;
        SET LOCAL SESSION AUTHORIZATION app;
        SELECT app_data.write();
        RESET SESSION AUTHORIZATION;
    """)
    assert rows(root_tx, "SELECT database_user, database_role FROM audit.transaction") == [
        {"database_user": "app", "database_role": None}
    ]


def test_once_under_savepoints(tx: Connection, table: str) -> None:
    with tx.transaction():
        tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
        with tx.transaction():
            tx.execute(f"UPDATE {table} SET n = 2")
    tx.execute(f"DELETE FROM {table}")
    assert counts(tx) == {"transactions": 1, "events": 3}


def test_a_savepoint_rolled_back_before_the_first_write(tx: Connection, table: str) -> None:
    with tx.transaction(force_rollback=True):
        tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    assert counts(tx) == {"transactions": 0, "events": 0}
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    assert counts(tx) == {"transactions": 1, "events": 1}


def test_a_savepoint_rolled_back_after_the_first_write(tx: Connection, table: str) -> None:
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    with tx.transaction(force_rollback=True):
        tx.execute(f"UPDATE {table} SET n = 2")
    tx.execute(f"UPDATE {table} SET n = 3")
    assert counts(tx) == {"transactions": 1, "events": 2}


def test_the_context_of_a_rolled_back_first_write_does_not_stick(
    tx: Connection, table: str
) -> None:
    with tx.transaction(force_rollback=True):
        tx.execute("SELECT audit.set_context('first')")
        tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute("SELECT audit.set_context('second')")
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    assert rows(tx, "SELECT actor FROM audit.transaction") == [{"actor": "second"}]


def test_exception_blocks_of_plpgsql(tx: Connection, table: str) -> None:
    tx.execute(f"""
        DO $$ BEGIN
            FOR i IN 1 .. 3 LOOP
                BEGIN
                    INSERT INTO {table} VALUES (i, i);
                    IF i <> 2 THEN RAISE division_by_zero; END IF;
                EXCEPTION WHEN division_by_zero THEN NULL;
                END;
            END LOOP;
            INSERT INTO {table} VALUES (4, 4);
        END $$
    """)
    assert counts(tx) == {"transactions": 1, "events": 2}


def test_nothing_is_left_after_a_rollback(db: Connection) -> None:
    table = attached(db, "id integer PRIMARY KEY")
    db.commit()
    db.execute(f"INSERT INTO {table} VALUES (1)")
    assert counts(db) == {"transactions": 1, "events": 1}
    db.rollback()
    assert counts(db) == {"transactions": 0, "events": 0}


def test_each_transaction_has_its_row(db: Connection) -> None:
    table = attached(db, "id integer PRIMARY KEY")
    db.commit()
    for number in range(3):
        db.execute(f"INSERT INTO {table} VALUES (%s)", (number,))
        db.commit()
    assert value(db, "SELECT count(DISTINCT transaction_id) FROM audit.change") == 3
    assert counts(db) == {"transactions": 3, "events": 3}


def test_procedures_that_commit_have_a_row_for_each_transaction(database: Database) -> None:
    with database.connect(autocommit=True) as db:
        table = attached(db, "id integer PRIMARY KEY")
        db.execute(f"""
            DO $$ BEGIN
                FOR i IN 1 .. 3 LOOP INSERT INTO {table} VALUES (i); COMMIT; END LOOP;
            END $$
        """)
        assert counts(db) == {"transactions": 3, "events": 3}


def test_prepared_transactions_are_recorded_when_they_commit(server: Server) -> None:
    with (
        Server(server.name, {"max_prepared_transactions": 2}) as special,
        special.clone() as database,
        database.connect(autocommit=True) as db,
    ):
        table = attached(db, "id integer PRIMARY KEY")
        for number, end in enumerate(("COMMIT", "ROLLBACK")):
            db.execute("BEGIN; SELECT audit.set_context('ann')")
            db.execute(f"INSERT INTO {table} VALUES ({number})")
            db.execute("PREPARE TRANSACTION 'one'")
            assert counts(db) == {"transactions": number, "events": number}
            db.execute(f"{end} PREPARED 'one'")
        assert rows(db, "SELECT actor, row_key FROM audit.change") == [
            {"actor": "ann", "row_key": {"id": 0}}
        ]


def test_every_isolation_level_records(database: Database) -> None:
    with database.connect() as db:
        table = attached(db, "id integer PRIMARY KEY")
        db.commit()
        for number, level in enumerate(psycopg.IsolationLevel):
            db.isolation_level = level
            db.execute(f"INSERT INTO {table} VALUES (%s)", (number,))
            db.execute(f"UPDATE {table} SET id = id + 100 WHERE id = %s", (number,))
            db.commit()
        assert counts(db) == {"transactions": 4, "events": 8}


def test_a_writer_locks_no_partition_but_the_two_it_writes_to(tx: Connection, table: str) -> None:
    # else maintenance waits for writers, and each write pays for each partition ever made
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute(f"UPDATE {table} SET n = 2")
    query = """
        SELECT DISTINCT p.parent, p.is_default, now() BETWEEN p.from_time AND p.to_time AS current
          FROM pg_locks AS l
          JOIN pg_class AS c ON c.oid = l.relation
          JOIN audit.partition AS p ON p.partition = c.relname
         WHERE l.pid = pg_backend_pid() ORDER BY p.parent
    """
    assert rows(tx, query) == [
        {"parent": parent, "is_default": False, "current": True}
        for parent in ("event", "transaction")
    ]
