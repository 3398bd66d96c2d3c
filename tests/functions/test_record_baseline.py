"""audit.record_baseline(): the rows that are there, in batches, resumable, in the right order."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors

from servers import Database
from trail import Connection, acting_as, attached, refused, rows, value


def baseline(connection: Connection, limit: int = 10_000, table: str = "app_data.t") -> int:
    query = "SELECT audit.record_baseline(%s, %s)"
    return int(value(connection, query, (table, limit)))


def recorded(connection: Connection) -> list[tuple[str, Any]]:
    found = rows(connection, "SELECT action, new_values FROM audit.change ORDER BY event_id")
    return [(row["action"], row["new_values"]) for row in found]


def old_table(connection: Connection, definition: str, count: int = 25) -> None:
    """A table with rows from before it was attached; column id counts them."""
    connection.execute(f"CREATE TABLE app_data.t ({definition})")
    connection.execute(
        "INSERT INTO app_data.t (id) SELECT i FROM generate_series(1, %s) AS i", (count,)
    )
    connection.execute("SELECT audit.attach('app_data.t')")


@pytest.mark.parametrize(
    "definition",
    [
        "id integer PRIMARY KEY, n text",
        "n text NOT NULL DEFAULT 'x', id integer, PRIMARY KEY (n, id)",
        "id numeric PRIMARY KEY, d date DEFAULT '2026-01-01'",
        "id text PRIMARY KEY",
        "id integer PRIMARY KEY, m app_data.mood DEFAULT 'calm'",
        "id integer PRIMARY KEY, f app_data.filled DEFAULT 'x'",
        "id app_data.positive PRIMARY KEY",
        'id integer, "a ""b" text[] DEFAULT \'{x}\', PRIMARY KEY ("a ""b", id)',
    ],
)
def test_each_row_is_recorded_once_in_batches(tx: Connection, definition: str) -> None:
    tx.execute("CREATE TYPE app_data.mood AS ENUM ('calm', 'loud')")
    tx.execute("CREATE DOMAIN app_data.filled AS text NOT NULL")
    tx.execute("CREATE DOMAIN app_data.positive AS integer CHECK (value > 0)")
    old_table(tx, definition)
    assert [baseline(tx, 10) for _ in range(4)] == [10, 10, 5, 0]
    expected = rows(tx, "SELECT to_jsonb(t.*) AS row FROM app_data.t ORDER BY t.*")
    found = [values for _, values in recorded(tx)]
    assert {action for action, _ in recorded(tx)} == {"baseline"}
    assert sorted(map(str, found)) == sorted(str(row["row"]) for row in expected)
    [kept] = rows(tx, "SELECT * FROM audit.baseline")
    assert (kept["recorded"], kept["position"]) == (25, None)
    assert kept["finished_at"] is not None


def test_a_batch_that_is_just_full_is_not_the_last(tx: Connection) -> None:
    old_table(tx, "id integer PRIMARY KEY", 20)
    assert [baseline(tx, 10) for _ in range(3)] == [10, 10, 0]
    assert value(tx, "SELECT recorded FROM audit.baseline") == 20


def test_an_empty_table_has_its_baseline_at_once(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    assert baseline(tx) == 0
    assert value(tx, "SELECT finished_at IS NOT NULL FROM audit.baseline") is True


def test_a_table_without_a_key_is_recorded_at_once(tx: Connection) -> None:
    old_table(tx, "id integer")
    assert [baseline(tx, 10), baseline(tx, 10)] == [25, 0]


def test_it_goes_on_after_an_interruption(database: Database) -> None:
    with database.connect() as db:
        old_table(db, "id integer PRIMARY KEY")
        baseline(db, 10)
        db.commit()
        baseline(db, 10)
        db.rollback()
        [found] = rows(db, "SELECT * FROM audit.check()")
        assert found["problem"] == "its baseline is not complete"
        assert [baseline(db, 10) for _ in range(3)] == [10, 5, 0]
        assert rows(db, "SELECT * FROM audit.check()") == []
        keys = rows(db, "SELECT row_key FROM audit.change ORDER BY event_id")
        assert [row["row_key"]["id"] for row in keys] == list(range(1, 26))


def test_the_first_change_of_an_old_row_can_be_undone(tx: Connection) -> None:
    old_table(tx, "id integer PRIMARY KEY, n text DEFAULT 'old'", 2)
    baseline(tx)
    tx.execute("UPDATE app_data.t SET n = 'new' WHERE id = 1")
    tx.execute("DELETE FROM app_data.t WHERE id = 2")
    found = rows(tx, "SELECT * FROM audit.history('app_data.t', '1')")
    assert [row["action"] for row in found] == ["update", "baseline"]
    assert found[1]["new_values"] == {"id": 1, "n": "old"}


def test_a_policy_holds_for_the_baseline(tx: Connection) -> None:
    old_table(tx, "id integer PRIMARY KEY, card text DEFAULT 'SECRET', note text DEFAULT 'x'", 12)
    tx.execute("SELECT audit.attach('app_data.t', p_redact => '{card}', p_exclude => '{note}')")
    baseline(tx, 10)
    baseline(tx, 10)
    assert [values for action, values in recorded(tx) if action == "baseline"] == [
        {"id": i, "card": "[redacted]"} for i in range(1, 13)
    ]
    tx.execute("SELECT audit.detach('app_data.t')")
    tx.execute("SELECT audit.attach('app_data.t', p_hash => '{id}', p_only => '{id}')")
    assert baseline(tx, 10) == 12
    assert "position" not in str(recorded(tx))
    assert value(tx, "SELECT position FROM audit.baseline") is None


def test_context_stands_in_the_first_event_and_shows_in_all(tx: Connection) -> None:
    old_table(tx, "id integer PRIMARY KEY", 3)
    tx.execute("SELECT audit.set_context('dba', '{\"ticket\": 7}')")
    baseline(tx)
    found = rows(tx, "SELECT actor, metadata, database_user FROM audit.change")
    assert found == [{"actor": "dba", "metadata": {"ticket": 7}, "database_user": "deployer"}] * 3


def test_a_row_under_change_is_recorded_after_its_change(database: Database) -> None:
    with database.connect(autocommit=True) as db, database.connect() as writer:
        old_table(db, "id integer PRIMARY KEY, n integer", 3)
        writer.execute("UPDATE app_data.t SET n = 7 WHERE id = 2")
        db.execute("SET lock_timeout = '50ms'")
        refused(db, errors.LockNotAvailable, "SELECT audit.record_baseline('app_data.t')")
        writer.commit()
        assert baseline(db) == 3
        found = rows(db, "SELECT action, new_values FROM audit.history('app_data.t', '2')")
        assert found == [
            {"action": "baseline", "new_values": {"id": 2, "n": 7}},
            {"action": "update", "new_values": {"n": 7}},
        ]


def test_values_do_not_depend_on_the_session(tx: Connection) -> None:
    old_table(tx, "id integer PRIMARY KEY, t timestamptz DEFAULT '2026-01-01 12:00+00'", 1)
    tx.execute("SET LOCAL TimeZone = 'Asia/Tokyo'")
    baseline(tx)
    [(_, values)] = recorded(tx)
    assert values == {"id": 1, "t": "2026-01-01T12:00:00+00:00"}


def test_attach_can_record_it_itself_and_detach_forgets_it(tx: Connection) -> None:
    tx.execute("CREATE TABLE app_data.t AS SELECT i AS id FROM generate_series(1, 3) AS i")
    tx.execute("SELECT audit.attach('app_data.t', p_baseline => true)")
    assert len(recorded(tx)) == 3
    tx.execute("SELECT audit.attach('app_data.t', p_baseline => true)")
    assert len(recorded(tx)) == 3
    tx.execute("SELECT audit.detach('app_data.t')")
    tx.execute("SELECT audit.attach('app_data.t', p_baseline => true)")
    assert [action for action, _ in recorded(tx)].count("baseline") == 6


def test_it_refuses_what_it_cannot_do(root_tx: Connection) -> None:
    root_tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY)")
    for query in (
        "SELECT audit.record_baseline('app_data.t')",
        "SELECT audit.record_baseline(NULL)",
    ):
        refused(root_tx, errors.ObjectNotInPrerequisiteState, query, message="not attached")
    root_tx.execute("SELECT audit.attach('app_data.t')")
    refused(
        root_tx,
        errors.InvalidParameterValue,
        "SELECT audit.record_baseline('app_data.t', 0)",
        message="at least 1, got 0",
    )
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO audit_admin")
    with acting_as(root_tx, "audit_admin"):
        refused(
            root_tx,
            errors.InsufficientPrivilege,
            "SELECT audit.record_baseline('app_data.t')",
            message="t",
        )
    root_tx.execute("GRANT SELECT, UPDATE ON app_data.t TO audit_admin")
    root_tx.execute("INSERT INTO app_data.t VALUES (1)")
    with acting_as(root_tx, "audit_admin"):
        assert baseline(root_tx) == 1
