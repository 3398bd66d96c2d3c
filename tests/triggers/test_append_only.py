"""Events can be added and read; to change or remove them takes DDL, for the owner as well."""

from __future__ import annotations

import pytest
from psycopg import errors

from partitions import maintain, places, stray_event
from servers import Database
from trail import Connection, acting_as, attached, refused, rows, value

REWRITES = (
    "UPDATE {} SET actor = 'somebody else'",
    "DELETE FROM {}",
    "DELETE FROM ONLY {}",
    "TRUNCATE {}",
    "WITH gone AS (DELETE FROM {} RETURNING 1) SELECT count(*) FROM gone",
    "MERGE INTO {} USING (VALUES (1)) AS v ON true WHEN MATCHED THEN DELETE",
    "DELETE FROM {} WHERE false",
)
GUARDS = """
    SELECT r.relid::regclass::text AS name, t.tgenabled AS enabled
      FROM pg_partition_tree('audit.event') AS r
      LEFT JOIN pg_trigger AS t ON t.tgrelid = r.relid AND t.tgname = 'append_only'
"""
STATUS = "SELECT state, value, remedy FROM audit.status() WHERE item = 'append-only'"
WELL = {"state": "ok", "value": "all partitions", "remedy": None}


def guarded(connection: Connection) -> dict[str, str]:
    return {row["name"]: row["enabled"] for row in rows(connection, GUARDS)}


@pytest.mark.parametrize("user", ["audit_owner", "postgres"])
@pytest.mark.parametrize("relation", ["event", "the partition of now", "event_default"])
def test_an_accident_is_refused(root_tx: Connection, relation: str, user: str) -> None:
    attached(root_tx, "id integer PRIMARY KEY")
    root_tx.execute("INSERT INTO app_data.t VALUES (1), (2)")
    if relation.startswith("the"):
        [relation] = {place.removeprefix("audit.") for place in places(root_tx)}
    with acting_as(root_tx, user):
        for statement in REWRITES:
            refused(
                root_tx,
                errors.ObjectNotInPrerequisiteState,
                statement.format(f"audit.{relation}"),
                message=f"on audit.{relation} is refused: the audit trail is append-only",
                hint=f"ALTER TABLE audit.{relation} DISABLE TRIGGER append_only",
            )
    assert len(places(root_tx)) == 2


def test_the_role_of_replication_is_no_way_around(root_tx: Connection) -> None:
    root_tx.execute("SET session_replication_role = replica")
    refused(root_tx, errors.ObjectNotInPrerequisiteState, "DELETE FROM audit.event")


def test_every_partition_has_the_guard(backend_database: Database) -> None:
    with backend_database.connect() as connection:
        assert set(guarded(connection).values()) == {"A"}
        stray_event(connection, "2 years")
        connection.execute("SELECT audit.set_partitioning('month', 9)")
        found = guarded(connection)
        assert set(found.values()) == {"A"}
        assert len(found) == 13  # the parent, DEFAULT, the running month, 9 ahead, 1 of the stray
        assert rows(connection, STATUS) == [WELL]


def test_maintenance_brings_rows_home_all_the_same(backend_database: Database) -> None:
    with backend_database.connect() as connection:
        stray_event(connection, "2 years")
        assert maintain(connection)["rows_moved"] == 2
        assert "audit.event_default" not in places(connection)
        assert set(guarded(connection).values()) == {"A"}


@pytest.mark.parametrize(
    "meddling",
    [
        "ALTER TABLE audit.event_default DISABLE TRIGGER append_only",
        "ALTER TABLE audit.event_default ENABLE TRIGGER append_only",
        "DROP TRIGGER append_only ON audit.event_default",
    ],
)
def test_a_guard_that_was_put_aside_shows_and_comes_back(tx: Connection, meddling: str) -> None:
    with acting_as(tx, "audit_owner"):
        tx.execute(meddling)
    assert rows(tx, STATUS) == [
        {
            "state": "warning",
            "value": "not audit.event_default",
            "remedy": "SELECT audit.run_maintenance();",
        }
    ]
    stray_event(tx, "2 years")
    run = maintain(tx)
    assert (run["status"], run["message"]) == ("ok", None)
    assert rows(tx, STATUS) == [WELL]


def test_maintenance_does_not_wait_for_writers_to_put_a_guard_back(database: Database) -> None:
    with database.connect() as owner, database.connect() as writer:
        attached(owner, "id integer PRIMARY KEY")
        owner.commit()
        writer.execute("INSERT INTO app_data.t VALUES (1)")
        writer.commit()
        [busy] = places(owner)
        owner.execute("SET ROLE audit_owner")
        owner.execute(f"ALTER TABLE {busy} DISABLE TRIGGER append_only")
        owner.execute("RESET ROLE")
        owner.commit()
        writer.execute("INSERT INTO app_data.t VALUES (2)")
        run = maintain(owner)
        assert run["status"] == "ok"
        assert run["message"] == f"not append-only yet, being written to: {{{busy}}}"
        writer.commit()
        owner.commit()
        assert maintain(owner)["message"] is None
        assert rows(owner, STATUS) == [WELL]


def test_what_the_hint_says_works(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("INSERT INTO app_data.t VALUES (1)")
    [place] = places(tx)
    with acting_as(tx, "audit_owner"):
        tx.execute(f"ALTER TABLE {place} DISABLE TRIGGER append_only")
        tx.execute(f"DELETE FROM {place}")
        tx.execute(f"ALTER TABLE {place} ENABLE ALWAYS TRIGGER append_only")
    assert places(tx) == []
    assert rows(tx, STATUS) == [WELL]


def test_a_detached_partition_is_still_guarded_and_can_be_dropped(tx: Connection) -> None:
    last = value(
        tx, "SELECT partition FROM audit.partition ORDER BY from_time DESC NULLS LAST LIMIT 1"
    )
    with acting_as(tx, "audit_owner"):
        tx.execute(f"ALTER TABLE audit.event DETACH PARTITION audit.{last}")
        refused(tx, errors.ObjectNotInPrerequisiteState, f"TRUNCATE audit.{last}")
        tx.execute(f"DROP TABLE audit.{last}")
