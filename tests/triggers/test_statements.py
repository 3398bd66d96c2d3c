"""Every kind of statement is recorded as what it did to each row, once, by whom it was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import errors

from servers import Database, Server
from trail import MODES, Connection, Row, attached, event, events, refused, rows, value

pytestmark = pytest.mark.parametrize("mode", MODES)

NUMBERS = "id integer PRIMARY KEY, n integer"
TREE = "id integer PRIMARY KEY, up integer REFERENCES app_data.t"


def last_events(connection: Connection, before: int, table: str | None = None) -> list[Row]:
    """What came after the first `before` events; within a statement rows have no order."""
    return sorted(events(connection, table)[before:], key=repr)


def trigger(connection: Connection, when: str, body: str) -> None:
    """A row trigger of the user's own on app_data.t."""
    connection.execute(
        "CREATE FUNCTION app_data.own() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {body} END $$;"
        f"CREATE TRIGGER own {when} ON app_data.t FOR EACH ROW EXECUTE FUNCTION app_data.own()"
    )


def copy_numbers(cursor: psycopg.Cursor[Any], table: str, numbers: Iterable[int]) -> None:
    with cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for number in numbers:
            copy.write_row((number, 0))


# --- statements ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["", "WITH (FORMAT binary)", "(n, id)"])
def test_copy_in_any_form(tx: Connection, mode: str, how: str) -> None:
    table = attached(tx, NUMBERS, mode)
    columns, options = (how, "") if how.startswith("(") else ("(id, n)", how)
    with tx.cursor().copy(f"COPY {table} {columns} FROM STDIN {options}") as copy:
        copy.set_types(["int4", "int4"])
        for number in range(1500):  # more than COPY puts into a table at once
            copy.write_row((number, number))
    expected = [event("insert", {"id": i}, None, {"id": i, "n": i}) for i in range(1500)]
    assert events(tx) == expected


def test_a_copy_that_fails_leaves_nothing(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute("SAVEPOINT before")
    with tx.cursor() as cursor, pytest.raises(errors.UniqueViolation):
        copy_numbers(cursor, table, (1, 2, 1))
    tx.execute("ROLLBACK TO before")
    assert events(tx) == []


def test_on_conflict_by_a_constraint_that_skips_some_rows(tx: Connection, mode: str) -> None:
    table = attached(tx, "id integer PRIMARY KEY, code text UNIQUE, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
    tx.execute(f"""
        INSERT INTO {table} AS t VALUES (7, 'a', 10), (8, 'b', 2), (9, 'd', 9), (6, 'c', 30)
            ON CONFLICT ON CONSTRAINT t_code_key DO UPDATE SET n = excluded.n
         WHERE t.n < 3
    """)
    # of b only the same value came
    assert last_events(tx, 3) == [
        event("insert", {"id": 9}, None, {"id": 9, "code": "d", "n": 9}),
        event("update", {"id": 1}, {"n": 1}, {"n": 10}),
    ]


def test_merge_that_returns_its_rows(tx: Connection, mode: str) -> None:
    if tx.info.server_version < 170000:
        pytest.skip("MERGE RETURNING came with PostgreSQL 17")
    table = attached(tx, NUMBERS, mode)
    attached(tx, "action text, id integer PRIMARY KEY", mode, "log")
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2), (3, 3)")
    tx.execute(f"""
        WITH merged AS (
            MERGE INTO {table} AS t USING (VALUES (2), (3), (4)) AS s (id) ON s.id = t.id
             WHEN MATCHED AND t.id = 3 THEN DELETE
             WHEN MATCHED THEN UPDATE SET n = -n
             WHEN NOT MATCHED BY SOURCE THEN UPDATE SET n = 0
             WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (s.id, 40)
            RETURNING merge_action() AS action, t.id)
        INSERT INTO app_data.log SELECT * FROM merged
    """)
    assert last_events(tx, 3, "t") == [
        event("delete", {"id": 3}, {"id": 3, "n": 3}),
        event("insert", {"id": 4}, None, {"id": 4, "n": 40}),
        event("update", {"id": 1}, {"n": 1}, {"n": 0}),
        event("update", {"id": 2}, {"n": 2}, {"n": -2}),
    ]
    logged = [(row["new_values"]["action"], row["row_key"]["id"]) for row in events(tx, "log")]
    assert sorted(logged) == [("DELETE", 3), ("INSERT", 4), ("UPDATE", 1), ("UPDATE", 2)]


def test_one_statement_that_writes_the_same_table_many_times(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} SELECT i, i FROM generate_series(1, 6) AS i")
    tx.execute(f"""
        WITH a AS (UPDATE {table} SET n = n + 10 WHERE id IN (1, 2)),
             b AS (UPDATE {table} SET n = n + 20, id = 30 WHERE id = 3 RETURNING id),
             c AS (DELETE FROM {table} WHERE id = 4),
             d AS (DELETE FROM {table} WHERE id = 5 RETURNING n),
             e AS (INSERT INTO {table} VALUES (6, 60), (7, 7)
                       ON CONFLICT (id) DO UPDATE SET n = excluded.n)
        INSERT INTO {table} SELECT b.id + 1, d.n FROM b, d
    """)
    assert last_events(tx, 6) == [
        event("delete", {"id": 4}, {"id": 4, "n": 4}),
        event("delete", {"id": 5}, {"id": 5, "n": 5}),
        event("insert", {"id": 31}, None, {"id": 31, "n": 5}),
        event("insert", {"id": 7}, None, {"id": 7, "n": 7}),
        event("update", {"id": 1}, {"n": 1}, {"n": 11}),
        event("update", {"id": 2}, {"n": 2}, {"n": 12}),
        event("update", {"id": 30}, {"id": 3, "n": 3}, {"id": 30, "n": 23}),
        event("update", {"id": 6}, {"n": 6}, {"n": 60}),
    ]


def test_an_update_from_rows_that_match_twice_is_one_change(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
    tx.execute(f"""
        UPDATE {table} AS t SET n = t.n + 10
          FROM (VALUES (1), (1), (2), (3)) AS s (id) WHERE s.id = t.id
    """)
    tx.execute(f"DELETE FROM {table} AS t USING (VALUES (1), (1)) AS s (id) WHERE s.id = t.id")
    assert last_events(tx, 2) == [
        event("delete", {"id": 1}, {"id": 1, "n": 11}),
        event("update", {"id": 1}, {"n": 1}, {"n": 11}),
        event("update", {"id": 2}, {"n": 2}, {"n": 12}),
    ]


def test_a_write_at_a_cursor(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
    tx.execute(f"DECLARE c CURSOR FOR SELECT * FROM {table} ORDER BY id FOR UPDATE")
    tx.execute(f"MOVE c; UPDATE {table} SET n = 10 WHERE CURRENT OF c")
    tx.execute(f"MOVE c; DELETE FROM {table} WHERE CURRENT OF c")
    assert events(tx)[2:] == [
        event("update", {"id": 1}, {"n": 1}, {"n": 10}),
        event("delete", {"id": 2}, {"id": 2, "n": 2}),
    ]


def test_writes_through_views_and_rules(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"CREATE VIEW app_data.v AS SELECT n AS m, id FROM {table} WHERE n > 0")
    tx.execute(f"""
        CREATE RULE keep AS ON DELETE TO {table} DO INSTEAD
            UPDATE {table} SET n = -1 WHERE id = OLD.id
    """)
    tx.execute("INSERT INTO app_data.v VALUES (1, 1)")
    tx.execute("UPDATE app_data.v SET m = 2")
    tx.execute("DELETE FROM app_data.v")
    assert events(tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "n": 1}),
        event("update", {"id": 1}, {"n": 1}, {"n": 2}),
        event("update", {"id": 1}, {"n": 2}, {"n": -1}),
    ]


def test_a_truncate_that_cascades_keeps_the_actor(tx: Connection, mode: str) -> None:
    parent = attached(tx, "id integer PRIMARY KEY", mode)
    child = attached(tx, f"id integer PRIMARY KEY, p integer REFERENCES {parent}", mode, "child")
    attached(tx, f"id integer PRIMARY KEY REFERENCES {child}", mode, "grandchild")
    tx.execute("SELECT audit.set_context('ann')")
    tx.execute(f"TRUNCATE {parent} CASCADE")
    found = events(tx, columns=("action", "table_name", "actor"))
    assert sorted(tuple(row.values()) for row in found) == [
        ("truncate", name, "ann") for name in ("child", "grandchild", "t")
    ]


def test_what_alter_table_does_to_rows_is_no_event(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute(f"ALTER TABLE {table} ALTER COLUMN n TYPE text USING n || '!'")
    tx.execute(f"ALTER TABLE {table} ADD COLUMN more integer DEFAULT 7")
    assert len(events(tx)) == 1
    tx.execute(f"UPDATE {table} SET n = '2'")
    assert events(tx)[1:] == [event("update", {"id": 1}, {"n": "1!"}, {"n": "2"})]


# --- foreign keys -------------------------------------------------------------------------------

ACTIONS = {
    "ON DELETE CASCADE": [
        event("delete", {"id": 7}, {"id": 7, "p": 1}),
        event("delete", {"id": 8}, {"id": 8, "p": 1}),
    ],
    "ON DELETE SET NULL": [
        event("update", {"id": 7}, {"p": 1}, {"p": None}),
        event("update", {"id": 8}, {"p": 1}, {"p": None}),
    ],
    "ON DELETE SET DEFAULT": [
        event("update", {"id": 7}, {"p": 1}, {"p": 0}),
        event("update", {"id": 8}, {"p": 1}, {"p": 0}),
    ],
    "ON UPDATE CASCADE": [
        event("update", {"id": 7}, {"p": 1}, {"p": 5}),
        event("update", {"id": 8}, {"p": 1}, {"p": 5}),
    ],
    "ON UPDATE SET NULL": [
        event("update", {"id": 7}, {"p": 1}, {"p": None}),
        event("update", {"id": 8}, {"p": 1}, {"p": None}),
    ],
}


@pytest.mark.parametrize("deferred", ["", " DEFERRABLE INITIALLY DEFERRED"])
@pytest.mark.parametrize("action", ACTIONS)
def test_what_a_foreign_key_does_is_recorded_with_the_actor(
    database: Database, mode: str, action: str, deferred: str
) -> None:
    with database.connect() as deployer, database.connect("app") as app:
        parent = attached(deployer, "id integer PRIMARY KEY", mode)
        reference = f"p integer DEFAULT 0 REFERENCES {parent} {action}{deferred}"
        child = attached(deployer, f"id integer PRIMARY KEY, {reference}", mode, "child")
        deployer.execute(f"INSERT INTO {parent} VALUES (0), (1), (2)")
        deployer.execute(f"INSERT INTO {child} VALUES (7, 1), (8, 1), (9, 2)")
        deployer.commit()
        app.execute("SELECT audit.set_context('ann')")
        if "DELETE" in action:
            app.execute(f"DELETE FROM {parent} WHERE id = 1")
        else:
            app.execute(f"UPDATE {parent} SET id = 5 WHERE id = 1")
        app.commit()
        assert last_events(deployer, 3, "child") == ACTIONS[action]
        who = """
            SELECT DISTINCT table_name, actor, database_user, transaction_id FROM audit.change
             WHERE actor IS NOT NULL ORDER BY 1
        """
        found = rows(deployer, who)
        assert [(row["table_name"], row["actor"], row["database_user"]) for row in found] == [
            ("child", "ann", "app"),
            ("t", "ann", "app"),
        ]
        assert found[0]["transaction_id"] == found[1]["transaction_id"]


@pytest.mark.parametrize("deferred", ["", " DEFERRABLE INITIALLY DEFERRED"])
def test_a_tree_of_rows_that_cascades_within_its_table(
    db: Connection, mode: str, deferred: str
) -> None:
    tx = db
    table = attached(tx, f"{TREE} ON DELETE CASCADE ON UPDATE CASCADE{deferred}", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, NULL), (2, 1), (3, 2), (4, 2), (5, 4), (6, NULL)")
    tx.execute(f"UPDATE {table} SET id = id + 10 WHERE id < 3")
    tx.execute("SET CONSTRAINTS ALL IMMEDIATE")
    found = events(tx)[6:]
    assert folded({1: None, 2: 1, 3: 2, 4: 2, 5: 4, 6: None}, found) == dict(
        tx.execute(f"SELECT id, up FROM {table}").fetchall()
    )
    tx.execute(f"DELETE FROM {table} WHERE id = 11")
    tx.commit()
    deleted = [row for row in events(tx) if row["action"] == "delete"]
    assert sorted(row["old_values"]["id"] for row in deleted) == [3, 4, 5, 11, 12]
    assert tx.execute(f"SELECT id FROM {table}").fetchall() == [(6,)]


def folded(state: dict[int, Any], found: list[Row]) -> dict[int, Any]:
    """A table of two columns after updates, whichever of two updates of a row comes first."""
    changes = [(row["old_values"], row["new_values"], row["row_key"]["id"]) for row in found]
    ids = {old["id"]: new["id"] for old, new, _ in changes if "id" in old}
    ups = {ids.get(key, key): new["up"] for _, new, key in changes if "up" in new}
    return {ids.get(key, key): ups.get(ids.get(key, key), up) for key, up in state.items()}


def test_a_tree_of_rows_whose_references_are_set_to_null(tx: Connection, mode: str) -> None:
    table = attached(tx, f"{TREE} ON DELETE SET NULL", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, NULL), (2, 1), (3, 1), (4, 2)")
    tx.execute(f"DELETE FROM {table} WHERE id IN (1, 2)")
    found = last_events(tx, 4)
    assert [row for row in found if row["row_key"] in ({"id": 3}, {"id": 4})] == [
        event("update", {"id": 3}, {"up": 1}, {"up": None}),
        event("update", {"id": 4}, {"up": 2}, {"up": None}),
    ]
    assert sorted(row["row_key"]["id"] for row in found if row["action"] == "delete") == [1, 2]


def test_a_deferred_constraint_that_fails_at_commit_leaves_nothing(
    db: Connection, mode: str
) -> None:
    parent = attached(db, "id integer PRIMARY KEY", mode)
    child = attached(
        db,
        f"id integer PRIMARY KEY, p integer REFERENCES {parent} DEFERRABLE INITIALLY DEFERRED",
        mode,
        "child",
    )
    db.commit()
    db.execute(f"INSERT INTO {child} VALUES (1, 1)")
    assert len(events(db)) == 1
    with pytest.raises(errors.ForeignKeyViolation):
        db.commit()
    assert events(db) == []
    db.execute(f"INSERT INTO {child} VALUES (1, 1)")
    db.execute(f"INSERT INTO {parent} VALUES (1)")
    db.commit()
    assert [row["action"] for row in events(db)] == ["insert", "insert"]


def test_a_deferred_trigger_writes_at_commit_as_the_actor_of_the_transaction(
    db: Connection, mode: str
) -> None:
    table = attached(db, NUMBERS, mode)
    other = attached(db, NUMBERS, mode, "other")
    db.execute(f"""
        CREATE FUNCTION app_data.own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO {other} VALUES (NEW.id, NEW.n); RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER own AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION app_data.own()
    """)
    db.commit()
    db.execute("SELECT audit.set_context('ann')")
    db.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
    assert events(db, "other") == []
    db.commit()
    assert events(db, "other") == [
        event("insert", {"id": i}, None, {"id": i, "n": i}) for i in (1, 2)
    ]
    query = "SELECT DISTINCT actor, transaction_id IS NOT NULL AS known FROM audit.change"
    assert rows(db, query) == [{"actor": "ann", "known": True}]


# --- triggers and functions of the user's own ---------------------------------------------------


def test_rows_that_a_before_trigger_skips_are_not_recorded(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} SELECT i, i FROM generate_series(1, 4) AS i")
    trigger(
        tx,
        "BEFORE INSERT OR UPDATE OR DELETE",
        "IF COALESCE(NEW.id, OLD.id) % 2 = 0 THEN RETURN NULL; END IF;RETURN COALESCE(NEW, OLD);",
    )
    tx.execute(f"INSERT INTO {table} SELECT i, i FROM generate_series(11, 13) AS i")
    tx.execute(f"UPDATE {table} SET n = 0 WHERE id < 4")
    tx.execute(f"DELETE FROM {table} WHERE id IN (2, 3)")
    assert last_events(tx, 4) == [
        event("delete", {"id": 3}, {"id": 3, "n": 0}),
        event("insert", {"id": 11}, None, {"id": 11, "n": 11}),
        event("insert", {"id": 13}, None, {"id": 13, "n": 13}),
        event("update", {"id": 1}, {"n": 1}, {"n": 0}),
        event("update", {"id": 3}, {"n": 3}, {"n": 0}),
    ]


def test_a_before_trigger_that_changes_keys_and_takes_changes_back(
    tx: Connection, mode: str
) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2), (3, 3)")
    trigger(
        tx,
        "BEFORE UPDATE",
        "IF OLD.id = 1 THEN NEW := OLD; ELSIF OLD.id = 2 THEN NEW.id := 20; END IF; RETURN NEW;",
    )
    tx.execute(f"UPDATE {table} SET n = 0")
    assert last_events(tx, 3) == [
        event("update", {"id": 20}, {"id": 2, "n": 2}, {"id": 20, "n": 0}),
        event("update", {"id": 3}, {"n": 3}, {"n": 0}),
    ]


def test_an_after_trigger_that_changes_the_row_again(tx: Connection, mode: str) -> None:
    """Both changes are recorded; only by row in the order in which they were made."""
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 0), (2, 0), (3, 0)")
    trigger(
        tx,
        "AFTER UPDATE",
        "IF NEW.n = 1 THEN UPDATE app_data.t SET n = 2 WHERE id = NEW.id; END IF; RETURN NULL;",
    )
    tx.execute(f"UPDATE {table} SET n = 1")
    for key in (1, 2, 3):
        found = [row for row in events(tx)[3:] if row["row_key"] == {"id": key}]
        steps = [
            event("update", {"id": key}, {"n": 0}, {"n": 1}),
            event("update", {"id": key}, {"n": 1}, {"n": 2}),
        ]
        assert found == (steps if mode == "row" else steps[::-1])


def test_an_after_trigger_that_inserts_and_deletes_in_the_same_table(
    tx: Connection, mode: str
) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2), (3, 3)")
    trigger(
        tx,
        "AFTER UPDATE",
        "IF NEW.id < 10 THEN"
        "    DELETE FROM app_data.t WHERE id = NEW.id;"
        "    INSERT INTO app_data.t VALUES (NEW.id + 10, NEW.n);"
        "END IF; RETURN NULL;",
    )
    tx.execute(f"UPDATE {table} SET n = -n")
    assert last_events(tx, 3) == [
        *[event("delete", {"id": i}, {"id": i, "n": -i}) for i in (1, 2, 3)],
        *[event("insert", {"id": i + 10}, None, {"id": i + 10, "n": -i}) for i in (1, 2, 3)],
        *[event("update", {"id": i}, {"n": i}, {"n": -i}) for i in (1, 2, 3)],
    ]


def test_a_function_that_changes_a_row_twice_within_another_statement(
    tx: Connection, mode: str
) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 0), (2, 0)")
    tx.execute(f"""
        CREATE FUNCTION app_data.twice(integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
            UPDATE {table} SET n = n + 1 WHERE id = $1;
            UPDATE {table} SET n = n + 1 WHERE id = $1;
            RETURN 9;
        END $$
    """)
    tx.execute("SELECT app_data.twice(1)")
    tx.execute(f"UPDATE {table} SET n = app_data.twice(1) WHERE id = 2")
    assert events(tx)[2:] == [
        *[event("update", {"id": 1}, {"n": n}, {"n": n + 1}) for n in range(4)],
        event("update", {"id": 2}, {"n": 0}, {"n": 9}),
    ]


def test_a_statement_that_a_trigger_lets_fail_leaves_nothing(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    trigger(tx, "AFTER INSERT", "IF NEW.id = 3 THEN RAISE 'no 3'; END IF; RETURN NULL;")
    refused(tx, errors.RaiseException, f"INSERT INTO {table} VALUES (1, 1), (2, 2), (3, 3)")
    assert events(tx) == []


# --- transactions -------------------------------------------------------------------------------


def test_savepoints_within_savepoints(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 0), (2, 0)")
    tx.execute(f"SAVEPOINT a; UPDATE {table} SET n = 1")
    tx.execute(f"SAVEPOINT b; UPDATE {table} SET n = 2; DELETE FROM {table} WHERE id = 2")
    tx.execute("ROLLBACK TO b")
    tx.execute(f"UPDATE {table} SET n = 3; RELEASE b; SAVEPOINT c; DELETE FROM {table}")
    tx.execute("ROLLBACK TO c; RELEASE a")
    assert events(tx)[2:] == [
        event("update", {"id": i}, {"n": old}, {"n": new})
        for old, new in ((0, 1), (1, 3))
        for i in (1, 2)
    ]


def test_an_exception_in_plpgsql_takes_its_events_along(tx: Connection, mode: str) -> None:
    table = attached(tx, NUMBERS, mode)
    tx.execute(f"""
        DO $$ BEGIN
            INSERT INTO {table} VALUES (1, 1), (2, 2);
            BEGIN
                PERFORM audit.set_context('eve');
                UPDATE {table} SET n = 0;
                INSERT INTO {table} VALUES (3, 3), (1, 1);
            EXCEPTION WHEN unique_violation THEN
                DELETE FROM {table} WHERE id = 2;
            END;
        END $$
    """)
    assert events(tx, columns=("action", "row_key", "actor")) == [
        {"action": action, "row_key": {"id": key}, "actor": None}
        for action, key in (("insert", 1), ("insert", 2), ("delete", 2))
    ]


def test_a_prepared_transaction_is_recorded_when_it_commits(server: Server, mode: str) -> None:
    with (
        Server(server.name, {"max_prepared_transactions": 2}) as special,
        special.clone() as database,
        database.connect(autocommit=True) as db,
    ):
        table = attached(db, NUMBERS, mode)
        for number, end in enumerate(("ROLLBACK", "COMMIT")):
            db.execute("BEGIN; SELECT audit.set_context('ann')")
            db.execute(f"INSERT INTO {table} VALUES ({number}, 0), ({number + 10}, 0)")
            db.execute(f"UPDATE {table} SET n = 1 WHERE id < 10")
            db.execute("PREPARE TRANSACTION 'one'")
            with database.connect() as other:  # another session may end it
                assert events(other) == []
            with database.connect(autocommit=True) as other:
                other.execute(f"{end} PREPARED 'one'")
        assert events(db, columns=("action", "row_key", "actor")) == [
            {"action": action, "row_key": {"id": key}, "actor": "ann"}
            for action, key in (("insert", 1), ("insert", 11), ("update", 1))
        ]


def test_writes_of_a_replica_are_recorded_only_by_triggers_that_always_fire(
    root_tx: Connection, mode: str
) -> None:
    table = attached(root_tx, NUMBERS, mode)
    root_tx.execute("SET LOCAL session_replication_role = replica")
    root_tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    assert events(root_tx) == []
    root_tx.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER _audit_insert")
    root_tx.execute(f"INSERT INTO {table} VALUES (2, 2)")
    assert events(root_tx) == [event("insert", {"id": 2}, None, {"id": 2, "n": 2})]


WAITING: dict[str, tuple[str, Callable[[int], list[Row]]]] = {
    "update": (
        "UPDATE app_data.t SET n = n + 1",
        lambda i: [event("update", {"id": i}, {"n": 10}, {"n": 11})],
    ),
    "update of keys": (
        "UPDATE app_data.t SET id = -id",
        lambda i: [event("update", {"id": -i}, {"id": i}, {"id": -i})],
    ),
    "delete": (
        "DELETE FROM app_data.t",
        lambda i: [event("delete", {"id": i}, {"id": i, "n": 10})],
    ),
    "upsert": (
        "INSERT INTO app_data.t VALUES (1, 0), (2, 0) ON CONFLICT (id) DO UPDATE SET n = t.n + 1",
        lambda i: [event("update", {"id": i}, {"n": 10}, {"n": 11})],
    ),
    "a row that no longer matches": ("UPDATE app_data.t SET n = 0 WHERE n = 1", lambda i: []),
}


@pytest.mark.parametrize("what", WAITING)
def test_who_waited_for_a_row_records_it_as_it_found_it(
    database: Database, mode: str, what: str
) -> None:
    """Old values are those of the row that was changed, not those of the snapshot."""
    statement, expected = WAITING[what]
    with database.connect() as first, database.connect() as second:
        table = attached(first, NUMBERS, mode)
        first.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 1)")
        first.commit()
        first.execute(f"UPDATE {table} SET n = 10")
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(second.execute, statement.encode())
            wait_for_a_blocked_session(first)
            first.commit()
            waiting.result(timeout=10)
        second.commit()
        assert last_events(first, 4) == sorted(expected(1) + expected(2), key=repr)


def wait_for_a_blocked_session(connection: psycopg.Connection[Any]) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    for _ in range(500):
        if value(connection, query):
            return
        connection.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("no session waits for a lock")
