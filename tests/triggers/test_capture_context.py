"""Who acts and why: once for each statement, in every change, and nothing after a rollback."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.types.json import Jsonb

from servers import Database, Server
from trail import MODES, Connection, Row, acting_as, attached, rows, value

COUNTS = """
    SELECT count(DISTINCT (started_at, xid)) AS transactions, count(*) AS events FROM audit.event
"""
# what only the first event of a statement holds
CONTEXT = """
    actor_type, actor_label, metadata, backend_pid, client_port, client_addr::text,
    database_user, database_role, application_name
"""
# one statement for each kind of change of many rows, and the row keys of its events
MANY = {
    "insert": ("INSERT INTO app_data.t SELECT i, 0 FROM generate_series(101, 150) AS i", 50),
    "update": ("UPDATE app_data.t SET n = n + 1", 50),
    "update of keys": ("UPDATE app_data.t SET id = id + 100", 50),
    # neither the first rows nor the last change
    "update of some": ("UPDATE app_data.t SET n = CASE WHEN id IN (20, 30) THEN 1 ELSE n END", 2),
    "delete": ("DELETE FROM app_data.t", 50),
}


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


def test_an_update_without_effect_leaves_nothing(db: Connection) -> None:
    for mode in MODES:
        attached(db, "id integer PRIMARY KEY", mode, mode)
        db.execute(f"INSERT INTO app_data.{mode} VALUES (1)")
    db.commit()
    before = counts(db)
    for mode in MODES:
        db.execute(f"UPDATE app_data.{mode} SET id = 1")
    assert counts(db) == before


@pytest.mark.parametrize("mode", MODES)
def test_a_statement_of_one_row_carries_its_own_context(database: Database, mode: str) -> None:
    with database.connect(application_name="shop") as db:
        attached(db, "id integer PRIMARY KEY", mode)
        db.execute("INSERT INTO app_data.t VALUES (1)")
        db.execute("UPDATE app_data.t SET id = 2")
        db.execute("DELETE FROM app_data.t")
        db.execute("TRUNCATE app_data.t")
        names = f"context_id, started_at, xid, actor, {CONTEXT}"
        assert rows(db, f"SELECT {names} FROM audit.event") == 4 * [
            {
                "context_id": None,
                "started_at": value(db, "SELECT now()"),
                "xid": value(db, "SELECT pg_current_xact_id()::text::bigint"),
                "actor": None,
                "actor_type": None,
                "actor_label": None,
                "metadata": None,
                "backend_pid": db.info.backend_pid,
                "client_port": None,
                "client_addr": None,
                "database_user": "deployer",
                "database_role": None,
                "application_name": "shop",
            }
        ]


@pytest.mark.parametrize("mode", MODES)
def test_a_client_over_tcp_leaves_its_address_and_port(database: Database, mode: str) -> None:
    with psycopg.connect(database.url(tcp=True), application_name="") as db:
        attached(db, "id integer PRIMARY KEY", mode)
        db.execute("INSERT INTO app_data.t VALUES (1)")
        query = """
            SELECT client_addr::text, client_port = inet_client_port() AS same, application_name
              FROM audit.event
        """
        assert rows(db, query) == [
            {"client_addr": "127.0.0.1/32", "same": True, "application_name": None}
        ]


@pytest.fixture(params=["integer", "app_data.mood"])
def busy(request: pytest.FixtureRequest, database: Database) -> Iterator[Connection]:
    """A session with a context of all there is, and app_data.t with 50 rows; once of an enum."""
    url = database.url("postgres", tcp=True)
    with psycopg.connect(url, application_name="shop") as connection:
        connection.execute("CREATE TYPE app_data.mood AS ENUM ('good')")
        connection.execute(f"""
            CREATE TABLE app_data.t (id integer, n integer, x {request.param},
                                     PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED);
            INSERT INTO app_data.t SELECT i, 0 FROM generate_series(1, 50) AS i;
            GRANT ALL ON app_data.t TO app;
            SELECT audit.set_context('7', '{{"ticket": 1}}', 'user', 'Ann');
        """)
        yield connection


@pytest.mark.parametrize("statement", MANY)
@pytest.mark.parametrize("mode", MODES)
def test_of_the_rows_of_a_statement_one_carries_the_context_of_all(
    busy: Connection, mode: str, statement: str
) -> None:
    busy.execute("SELECT audit.attach('app_data.t', %s)", (mode,))
    query, number = MANY[statement]
    with acting_as(busy, "app"):
        busy.execute(query.encode())
    found = rows(busy, f"SELECT id, context_id, actor, {CONTEXT} FROM audit.event ORDER BY id")
    assert len(found) == number
    first = found[0].pop("id")
    expected = {
        "context_id": None,
        "actor": "7",
        "actor_type": "user",
        "actor_label": "Ann",
        "metadata": {"ticket": 1},
        "backend_pid": busy.info.backend_pid,
        "client_port": value(busy, "SELECT inet_client_port()"),
        "client_addr": "127.0.0.1/32",
        "database_user": "postgres",
        "database_role": "app",
        "application_name": "shop",
    }
    others = expected
    if mode == "statement":
        others = dict.fromkeys(expected) | {"context_id": first, "actor": "7"}
    assert found[0] == expected
    assert len({row.pop("id") for row in found[1:]} | {first}) == number
    assert found[1:] == [others] * (number - 1)
    # whoever reads the trail sees no difference
    names = [name for name in expected if name not in ("context_id", "backend_pid", "client_port")]
    changes = rows(busy, "SELECT *, client_addr::text AS client_addr FROM audit.change")
    assert [{name: row[name] for name in names} for row in changes] == number * [
        {name: expected[name] for name in names}
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_statement_that_does_several_things_has_a_context_for_each(
    tx: Connection, mode: str
) -> None:
    attached(tx, "id integer PRIMARY KEY, n integer", mode)
    tx.execute("INSERT INTO app_data.t VALUES (1, 1), (2, 2), (3, 3), (4, 4)")
    tx.execute("SELECT audit.set_context('7', NULL, 'user')")
    tx.execute("""
        MERGE INTO app_data.t USING generate_series(1, 6) AS i ON i = id
         WHEN MATCHED AND i < 3 THEN DELETE
         WHEN MATCHED THEN UPDATE SET n = -n
         WHEN NOT MATCHED THEN INSERT VALUES (i, i)
    """)
    tx.execute("""
        INSERT INTO app_data.t SELECT i, 0 FROM generate_series(1, 4) AS i
            ON CONFLICT (id) DO UPDATE SET n = 9
    """)
    query = """
        SELECT e.action, count(*) FILTER (WHERE e.context_id IS NULL) AS carriers,
               bool_and(c.action = e.action) AS of_its_kind, count(*) AS events
          FROM audit.event AS e
          LEFT JOIN audit.event AS c ON c.started_at = e.started_at AND c.id = e.context_id
         WHERE e.actor = '7' GROUP BY 1 ORDER BY 1
    """
    of_its_kind = True if mode == "statement" else None
    assert rows(tx, query) == [
        {
            "action": action,
            "carriers": carriers if mode == "statement" else number,
            "of_its_kind": of_its_kind,
            "events": number,
        }
        for action, carriers, number in (("delete", 1, 2), ("insert", 2, 4), ("update", 2, 4))
    ]
    assert value(tx, "SELECT count(*) FROM audit.change WHERE actor_type = 'user'") == 10


def test_each_statement_has_its_own_context(tx: Connection, table: str) -> None:
    """It changes in mid-transaction, and back, also under savepoints and after their rollback."""

    def act(actor: str | None, number: int) -> None:
        tx.execute("SELECT audit.set_context(%s, %s)", (actor, Jsonb({"number": number})))

    def write(*keys: int) -> None:
        tx.execute(f"INSERT INTO {table} SELECT unnest(%s::integer[]), 0", (list(keys),))

    write(1, 2)
    act("ann", 1)
    write(3, 4)
    with tx.transaction():
        write(5)
        act("bob", 2)
        write(6, 7)
    write(8, 9)  # the context outlives a savepoint that is released
    with tx.transaction(force_rollback=True):
        act("eve", 3)
        write(10, 11)
    write(12)  # and is as before after one that is rolled back
    with tx.transaction():
        act(None, 4)
        write(13, 14)
    act("ann", 5)
    write(15, 16)
    expected = {
        **dict.fromkeys((1, 2), (None, None)),
        **dict.fromkeys((3, 4, 5), ("ann", {"number": 1})),
        **dict.fromkeys((6, 7, 8, 9, 12), ("bob", {"number": 2})),
        **dict.fromkeys((13, 14), (None, {"number": 4})),
        **dict.fromkeys((15, 16), ("ann", {"number": 5})),
    }
    found = rows(tx, "SELECT row_key, actor, metadata FROM audit.change ORDER BY event_id")
    assert {row["row_key"]["id"]: (row["actor"], row["metadata"]) for row in found} == expected
    assert len(found) == len(expected)
    assert counts(tx)["transactions"] == 1


def test_a_role_set_in_mid_transaction_counts_at_once(root_tx: Connection) -> None:
    for mode in MODES:
        attached(root_tx, "id integer PRIMARY KEY", mode, mode)
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO app, audit_admin")
    root_tx.execute("GRANT ALL ON app_data.statement, app_data.row TO app, audit_admin")
    for mode in MODES:
        for number, role in enumerate(("NONE", "app", "audit_admin", "NONE")):
            root_tx.execute(f"SET LOCAL ROLE {role}")
            root_tx.execute(f"INSERT INTO app_data.{mode} VALUES ({number}), ({number + 10})")
        query = "SELECT database_role FROM audit.change WHERE table_name = %s ORDER BY event_id"
        assert [row["database_role"] for row in rows(root_tx, query, (mode,))] == [
            *(None, None, "app", "app", "audit_admin", "audit_admin", None, None)
        ]
        assert value(root_tx, "SELECT DISTINCT database_user FROM audit.change") == "postgres"


def test_an_application_name_set_in_mid_transaction_counts_at_once(
    tx: Connection, table: str
) -> None:
    for number, name in enumerate(("shop", "", "till")):
        tx.execute("SELECT set_config('application_name', %s, true)", (name,))
        tx.execute(f"INSERT INTO {table} VALUES (%(i)s), (%(i)s + 10)", {"i": number})
    query = "SELECT application_name AS name FROM audit.change ORDER BY event_id"
    assert [row["name"] for row in rows(tx, query)] == ["shop"] * 2 + [None] * 2 + ["till"] * 2


def test_set_role_is_recorded(root_tx: Connection) -> None:
    attached(root_tx, "id integer PRIMARY KEY")
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO app; GRANT ALL ON app_data.t TO app")
    with acting_as(root_tx, "app"):
        root_tx.execute("INSERT INTO app_data.t VALUES (1)")
    assert rows(root_tx, "SELECT database_user, database_role FROM audit.change") == [
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
    assert rows(root_tx, "SELECT database_user, database_role FROM audit.change") == [
        {"database_user": "app", "database_role": None}
    ]


def test_savepoints_make_no_transactions_of_their_own(tx: Connection, table: str) -> None:
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
    assert rows(tx, "SELECT actor FROM audit.change") == [{"actor": "second"}]


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


def test_each_transaction_has_its_id(db: Connection) -> None:
    table = attached(db, "id integer PRIMARY KEY")
    db.commit()
    for number in range(3):
        db.execute(f"INSERT INTO {table} VALUES (%s)", (number,))
        db.commit()
    assert value(db, "SELECT count(DISTINCT transaction_id) FROM audit.change") == 3
    assert counts(db) == {"transactions": 3, "events": 3}


def test_procedures_that_commit_have_an_id_for_each_transaction(database: Database) -> None:
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


def test_a_writer_locks_no_partition_but_the_one_it_writes_to(tx: Connection, table: str) -> None:
    # else maintenance waits for writers, and each write pays for each partition ever made
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
    tx.execute(f"UPDATE {table} SET n = 2")
    tx.execute(f"UPDATE {table} SET n = n + 1")
    tx.execute(f"DELETE FROM {table}")
    query = """
        SELECT DISTINCT p.is_default, now() BETWEEN p.from_time AND p.to_time AS current
          FROM pg_locks AS l
          JOIN pg_class AS c ON c.oid = l.relation
          JOIN audit.partition AS p ON p.partition = c.relname
         WHERE l.pid = pg_backend_pid()
    """
    assert rows(tx, query) == [{"is_default": False, "current": True}]
