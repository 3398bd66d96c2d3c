"""audit.status(): well, or what is wrong and how to mend it."""

from __future__ import annotations

from psycopg import errors

from partitions import stray_event
from trail import Connection, Row, acting_as, attached, refused, rows

ITEMS = [
    "attached tables",
    "rendering of rows",
    "append-only",
    "future partitions",
    "default partitions",
    "partition backend",
    "last maintenance",
    "counts of events",
    "archives",
    "partitions",
    "index profiles",
    "retention",
    "DDL",
]


def status(connection: Connection) -> dict[str, Row]:
    return {row.pop("item"): row for row in rows(connection, "SELECT * FROM audit.status()")}


def test_a_fresh_installation_is_well(tx: Connection) -> None:
    found = status(tx)
    assert list(found) == ITEMS
    assert {name: row["state"] for name, row in found.items()} == {
        **dict.fromkeys(ITEMS, "ok"),
        "partitions": "info",
        "index profiles": "info",
        "retention": "info",
        "DDL": "info",
    }
    assert {row["remedy"] for row in found.values()} == {None}


def test_a_missing_or_disabled_trigger_is_a_warning(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    assert status(tx)["attached tables"]["value"] == "1 captured"
    tx.execute(f"ALTER TABLE {table} DISABLE TRIGGER _audit_update")
    found = status(tx)["attached tables"]
    assert (found["state"], found["value"]) == (
        "warning",
        "1 of 1 not captured properly",
    )
    assert "audit.check()" in found["remedy"]
    tx.execute("SELECT audit.attach(%s)", (table,))
    assert status(tx)["attached tables"]["state"] == "ok"
    tx.execute(f"ALTER TABLE {table} ENABLE REPLICA TRIGGER _audit_update")
    assert status(tx)["attached tables"]["state"] == "warning"
    tx.execute("SELECT audit.detach(%s)", (table,))
    assert status(tx)["attached tables"]["value"] == "0 captured"


def test_a_key_that_is_no_longer_one_is_a_warning_until_attached_again(tx: Connection) -> None:
    table = attached(tx, "id integer CONSTRAINT one PRIMARY KEY, n integer")
    tx.execute(f"ALTER TABLE {table} RENAME id TO code")
    tx.execute(f"ALTER TABLE {table} RENAME n TO id")
    assert status(tx)["attached tables"]["state"] == "warning"
    tx.execute("SELECT audit.attach(%s)", (table,))
    assert status(tx)["attached tables"]["state"] == "ok"
    tx.execute(f"ALTER TABLE {table} DROP CONSTRAINT one")
    assert status(tx)["attached tables"]["state"] == "warning"
    tx.execute("SELECT audit.attach(%s, p_key_columns => '{code}')", (table,))
    assert status(tx)["attached tables"]["state"] == "ok"


def test_a_renamed_table_is_well(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("ALTER TABLE app_data.t RENAME TO renamed")
    assert status(tx)["attached tables"]["state"] == "ok"


def test_too_few_partitions_ahead_are_a_warning(tx: Connection) -> None:
    tx.execute("""
        DO $$ BEGIN EXECUTE (
            SELECT 'DROP TABLE audit.' || quote_ident(partition) FROM audit.partition
             ORDER BY from_time DESC NULLS LAST LIMIT 1);
        END $$
    """)
    found = status(tx)["future partitions"]
    assert (found["state"], found["remedy"]) == ("warning", "SELECT audit.run_maintenance();")


def test_rows_in_default_are_a_warning_until_maintenance(tx: Connection) -> None:
    stray_event(tx, "2 years")
    found = status(tx)["default partitions"]
    assert (found["state"], found["value"]) == ("warning", "hold rows")
    tx.execute(found["remedy"])
    assert status(tx)["default partitions"]["state"] == "ok"


def test_maintenance_that_failed_or_stopped_is_a_warning(tx: Connection) -> None:
    with acting_as(tx, "audit_owner"):
        tx.execute("UPDATE audit.maintenance_run SET started_at = now() - interval '25 hours'")
    found = status(tx)["last maintenance"]
    assert found["state"] == "warning"
    assert "audit.schedule_jobs()" in found["remedy"]
    with acting_as(tx, "audit_owner"):
        tx.execute("""
            INSERT INTO audit.maintenance_run (started_at, finished_at, status, message)
            VALUES (now(), now(), 'failed', 'no space')
        """)
    found = status(tx)["last maintenance"]
    assert (found["state"], found["remedy"]) == ("warning", "no space")
    with acting_as(tx, "audit_owner"):
        tx.execute("DELETE FROM audit.maintenance_run")
    assert status(tx)["last maintenance"]["value"] == "never ran"


def test_a_reader_may_ask_and_the_application_not(root_tx: Connection) -> None:
    with acting_as(root_tx, "audit_reader"):
        assert list(status(root_tx)) == ITEMS
    with acting_as(root_tx, "app"):
        refused(root_tx, errors.InsufficientPrivilege, "SELECT audit.status()", message="status")


def test_retention_and_holds_are_shown(tx: Connection) -> None:
    assert status(tx)["retention"]["value"] == "for ever; 0 tables otherwise; 0 legal holds"
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("SELECT audit.set_retention('7 years')")
    tx.execute("SELECT audit.set_retention('90 days', 'app_data.t')")
    tx.execute("SELECT audit.place_hold('case 1')")
    assert status(tx)["retention"]["value"] == "7 years; 1 tables otherwise; 1 legal holds"
