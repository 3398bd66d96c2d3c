"""audit.change: each event with its names, actor and context."""

from __future__ import annotations

from trail import Connection, attached, fill, indexes, plan, rows, uses, value

COLUMNS = [
    "transaction_id",
    "event_id",
    "occurred_at",
    "actor",
    "actor_type",
    "actor_label",
    "action",
    "table_schema",
    "table_name",
    "row_key",
    "old_values",
    "new_values",
    "metadata",
    "database_user",
    "database_role",
    "client_addr",
    "application_name",
    "started_at",
    "xid",
    "tracked_table_id",
    "cursor",
]


def test_its_columns_are_the_promised_ones(tx: Connection) -> None:
    query = """
        SELECT attname FROM pg_attribute WHERE attrelid = 'audit.change'::regclass ORDER BY attnum
    """
    assert [row["attname"] for row in rows(tx, query)] == COLUMNS


def test_every_event_is_one_row(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    tx.execute(f"INSERT INTO {table} SELECT generate_series(1, 50)")
    tx.execute(f"DELETE FROM {table} WHERE id > 40; TRUNCATE {table}")
    assert value(tx, "SELECT count(*) FROM audit.change") == 61
    assert value(tx, "SELECT count(DISTINCT cursor) FROM audit.change") == 61
    assert value(tx, "SELECT count(DISTINCT transaction_id) FROM audit.change") == 1


def test_an_event_of_an_unknown_table_or_context_is_shown(tx: Connection) -> None:
    tx.execute("""
        SET LOCAL ROLE audit_owner;
        INSERT INTO audit.event (
            started_at, occurred_at, xid, tracked_table_id, action, context_id)
        VALUES (now(), now(), 1, -5, 'truncate', -7);
        RESET ROLE;
    """)
    names = ("action", "table_name", "actor", "database_user", "tracked_table_id")
    [found] = rows(tx, f"SELECT {', '.join(names)} FROM audit.change")
    assert tuple(found.values()) == ("truncate", None, None, None, -5)


def test_a_bound_on_started_at_leaves_partitions_out(db: Connection) -> None:
    fill(db)
    moment = value(db, "SELECT now()::text")
    found = plan(db, f"SELECT * FROM audit.change WHERE started_at = '{moment}' AND xid = 7")
    # of the events, and of those that carry their context
    scanned = [line for line in found.splitlines() if " on event_" in line]
    assert len(scanned) == 2
    assert all(uses(line, indexes(db, "event_pkey")) for line in scanned)
