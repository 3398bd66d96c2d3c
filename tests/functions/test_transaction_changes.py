"""audit.transaction_changes(): one transaction, in the order of its changes."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from trail import (
    CHANGED,
    Connection,
    Row,
    attached,
    event,
    fill,
    indexes,
    locked_partitions,
    plans_within,
    rows,
    uses,
    value,
)

ID = """
    SELECT audit.transaction_id(now(), pg_current_xact_id()::text::bigint)
"""


def changes(connection: Connection, transaction_id: Any) -> list[Row]:
    query = "SELECT * FROM audit.transaction_changes(%s)"
    found = rows(connection, query, (transaction_id,))
    return [{name: row[name] for name in CHANGED} for row in found]


def test_changes_come_in_the_order_in_which_they_were_made(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY, n integer")
    other = attached(tx, "id integer PRIMARY KEY", "row", "other")
    tx.execute(f"INSERT INTO {table} VALUES (1, 0)")
    tx.execute(f"INSERT INTO {other} VALUES (5)")
    for number in range(40):
        tx.execute(f"UPDATE {table} SET n = {number + 1}")
    tx.execute(f"TRUNCATE {other}")
    assert changes(tx, value(tx, ID)) == [
        event("insert", {"id": 1}, None, {"id": 1, "n": 0}),
        event("insert", {"id": 5}, None, {"id": 5}),
        *[event("update", {"id": 1}, {"n": i}, {"n": i + 1}) for i in range(40)],
        event("truncate"),
    ]


def test_only_this_transaction_is_seen(db: Connection) -> None:
    table = attached(db, "id integer PRIMARY KEY")
    db.commit()
    ids: list[UUID] = []
    for number in range(3):
        db.execute("SELECT audit.set_context(%s)", (f"actor {number}",))
        db.execute(f"INSERT INTO {table} VALUES (%s)", (number,))
        ids.append(value(db, ID))
        db.commit()
    for number, id_ in enumerate(ids):
        [found] = rows(db, "SELECT * FROM audit.transaction_changes(%s)", (id_,))
        assert found["transaction_id"] == id_
        assert found["actor"] == f"actor {number}"
        assert found["row_key"] == {"id": number}
    assert sorted(ids) == ids


def test_an_id_that_is_not_recorded_has_no_changes(tx: Connection) -> None:
    for id_ in (uuid4(), UUID(int=0), UUID(int=2**128 - 1), None):
        assert changes(tx, id_) == []


def test_only_one_partition_is_read_and_by_its_index(root_db: Connection) -> None:
    filled = fill(root_db)
    [(some,)] = root_db.execute(
        "SELECT audit.transaction_id(started_at, xid) FROM audit.event LIMIT 1"
    ).fetchall()
    root_db.commit()
    found = plans_within(root_db, "SELECT * FROM audit.transaction_changes(%s)", (some,))
    assert uses(found, indexes(root_db, "event_pkey")), found
    assert f"Seq Scan on {filled}" not in found
    assert len(locked_partitions(root_db)) == 1
