"""The trail of a table, replayed from empty, gives exactly the table, whatever clients do."""

from __future__ import annotations

import pytest

import replay
import traffic
from servers import Database
from trail import MODES, attached, value


@pytest.mark.slow
def test_many_clients_at_random(database: Database) -> None:
    traffic.prepare(database)
    clients = traffic.run(database, transactions=250)
    with database.connect("postgres") as reader:
        replay.check(reader, *traffic.TABLES)
        actions = reader.execute(
            "SELECT action, count(*) > 100 FROM audit.change WHERE action <> 'truncate' GROUP BY 1"
        ).fetchall()
        marks = reader.execute("SELECT client, number FROM app_data.mark").fetchall()
    assert sorted(actions) == [("delete", True), ("insert", True), ("update", True)]
    assert sorted(marks) == [(c.number, number) for c in clients for number in c.committed]
    assert sum(client.conflicts for client in clients) > 0


@pytest.mark.parametrize("mode", MODES)
def test_keys_that_change_places(database: Database, mode: str) -> None:
    with database.connect() as db, database.connect("postgres") as reader:
        table = attached(db, "id int PRIMARY KEY DEFERRABLE, s text", mode)
        db.execute(f"INSERT INTO {table} SELECT g, g::text FROM generate_series(1, 9) AS g")
        db.execute(f"UPDATE {table} SET id = 10 - id")
        db.execute(f"UPDATE {table} SET id = id + 1")
        db.execute("SET CONSTRAINTS ALL DEFERRED")
        db.execute(f"UPDATE {table} SET id = 5 WHERE id = 4")
        db.execute(f"UPDATE {table} SET id = 4 WHERE s = '6'")
        db.commit()
        replay.check(reader, table)


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM audit.event WHERE action = 'insert' AND new_values ->> 's' = 'b'",
        "DELETE FROM audit.event WHERE action = 'update'",
        "DELETE FROM audit.event WHERE action = 'delete'",
        """UPDATE audit.event SET new_values = '{"n": 1.0}' WHERE action = 'update'""",
        """UPDATE audit.event SET new_values = '{"n": "1.00"}' WHERE action = 'update'""",
        """UPDATE audit.event SET old_values = '{"n": 8}' WHERE action = 'update'""",
        "UPDATE audit.event SET occurred_at = now() - interval '1 h' WHERE action = 'update'",
        """UPDATE audit.event SET old_values = old_values || '{"n": 9}' WHERE action = 'delete'""",
        """
            INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action,
                                     row_key, new_values)
            SELECT started_at, clock_timestamp(), xid, tracked_table_id, action, row_key, new_values
              FROM audit.event WHERE action = 'insert' LIMIT 1
        """,
        "INSERT INTO app_data.{} VALUES (9, 9, 'not captured')",
    ],
)
def test_the_replay_notices(database: Database, tampering: str) -> None:
    with database.connect() as db, database.connect("postgres") as root:
        table = attached(db, "id int PRIMARY KEY, n numeric, s text")
        db.execute(f"INSERT INTO {table} VALUES (1, 0, 'a'), (2, 7, 'b'), (3, 7, 'c')")
        db.execute(f"UPDATE {table} SET n = 1.00 WHERE id = 1")
        db.execute(f"DELETE FROM {table} WHERE id = 3")
        db.commit()
        replay.check(root, table)
        root.execute("SET session_replication_role = replica")
        root.execute("ALTER TABLE audit.event DISABLE TRIGGER append_only")
        assert root.execute(tampering.replace("{}", "t").encode()).rowcount == 1
        assert value(root, f"SELECT count(*) >= 2 FROM {table}")
        with pytest.raises(AssertionError):
            replay.check(root, table)
