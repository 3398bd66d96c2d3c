"""TRUNCATE leaves one event for each table it empties."""

from __future__ import annotations

import pytest
from psycopg import errors

from servers import ROOT
from trail import MODES, Connection, acting_as, attached, event, events, refused, rows


def test_each_table_of_a_truncate_gets_its_event(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    attached(tx, "id integer REFERENCES app_data.t", name="child")
    tx.execute("CREATE TABLE app_data.other (id integer REFERENCES app_data.t)")
    tx.execute("TRUNCATE app_data.t RESTART IDENTITY CASCADE")
    assert events(tx, "t") == events(tx, "child") == [event("truncate")]
    assert len(events(tx)) == 2


def test_a_truncate_of_an_empty_table_is_an_act_too(tx: Connection) -> None:
    table = attached(tx, "id integer PRIMARY KEY")
    tx.execute(f"TRUNCATE {table}")
    assert events(tx) == [event("truncate")]


def test_a_truncate_of_a_partitioned_table_is_one_event(tx: Connection) -> None:
    tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    tx.execute("CREATE TABLE app_data.t1 PARTITION OF app_data.t DEFAULT")
    tx.execute("SELECT audit.attach('app_data.t')")
    tx.execute("TRUNCATE app_data.t")
    assert events(tx) == [event("truncate")]


def test_a_truncate_of_one_partition_is_the_limit_that_the_documentation_states(
    tx: Connection,
) -> None:
    tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    tx.execute("CREATE TABLE app_data.t1 PARTITION OF app_data.t DEFAULT")
    tx.execute("SELECT audit.attach('app_data.t')")
    tx.execute("INSERT INTO app_data.t VALUES (1)")
    tx.execute("TRUNCATE app_data.t1")
    assert [row["action"] for row in events(tx)] == ["insert"]
    page = (ROOT / "docs" / "concepts.md").read_text()
    assert "TRUNCATE of a single partition" in page


@pytest.mark.parametrize("mode", MODES)
def test_a_truncate_records_its_rows_where_the_table_is_attached_so(
    root_tx: Connection, mode: str
) -> None:
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO audit_owner")
    root_tx.execute("CREATE TYPE app_data.mood AS ENUM ('calm')")
    root_tx.execute("""
        CREATE TABLE app_data.t (
            id integer PRIMARY KEY, t timestamptz DEFAULT '2026-01-01 12:00+00', card text,
            m app_data.mood DEFAULT 'calm')
    """)
    root_tx.execute("GRANT SELECT ON app_data.t TO audit_owner")
    root_tx.execute("GRANT INSERT, TRUNCATE ON app_data.t TO app")
    root_tx.execute(
        "SELECT audit.attach('app_data.t', %s, p_redact => '{card}', p_truncated_rows => true)",
        (mode,),
    )
    assert rows(root_tx, "SELECT * FROM audit.check()") == []
    root_tx.execute("INSERT INTO app_data.t (id, card) VALUES (1, 'SECRET'), (2, NULL)")
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO app")
    with acting_as(root_tx, "app"):
        root_tx.execute("SELECT audit.set_context('ann', '{\"ticket\": 1}')")
        root_tx.execute("SET LOCAL TimeZone = 'Asia/Tokyo'")
        root_tx.execute("TRUNCATE app_data.t")
    removed = {"t": "2026-01-01T12:00:00+00:00", "m": "calm"}
    assert events(root_tx)[2:] == [
        event("truncate"),
        event("truncate", {"id": 1}, {"id": 1, "card": "[redacted]", **removed}),
        event("truncate", {"id": 2}, {"id": 2, "card": None, **removed}),
    ]
    found = rows(
        root_tx, "SELECT actor, metadata, database_role FROM audit.change WHERE action = 'truncate'"
    )
    assert found == [{"actor": "ann", "metadata": {"ticket": 1}, "database_role": "app"}] * 3
    [last, *_] = rows(root_tx, "SELECT * FROM audit.history('app_data.t', '2')")
    assert last["action"] == "truncate"


def test_a_truncate_of_partitions_records_all_their_rows(root_tx: Connection) -> None:
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO audit_owner")
    root_tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    root_tx.execute("CREATE TABLE app_data.a PARTITION OF app_data.t FOR VALUES FROM (0) TO (5)")
    root_tx.execute("CREATE TABLE app_data.b PARTITION OF app_data.t DEFAULT")
    root_tx.execute("GRANT SELECT ON app_data.t TO audit_owner")
    root_tx.execute(
        "SELECT audit.attach('app_data.t', p_truncated_rows => true, p_require_actor => true)"
    )
    root_tx.execute("SELECT audit.set_context('ann')")
    root_tx.execute("INSERT INTO app_data.t VALUES (1), (7)")
    root_tx.execute("SELECT audit.set_context(NULL)")
    refused(root_tx, errors.CheckViolation, "TRUNCATE app_data.t")
    root_tx.execute("SELECT audit.set_context('ann')")
    root_tx.execute("TRUNCATE app_data.t")
    assert [row["row_key"] for row in events(root_tx)[2:]] == [None, {"id": 1}, {"id": 7}]


def test_rows_that_the_trail_may_not_read_are_an_error_and_not_lost(root_tx: Connection) -> None:
    attached(root_tx, "id integer PRIMARY KEY")
    attach = "SELECT audit.attach('app_data.t', p_truncated_rows => true)"
    refused(
        root_tx,
        errors.InsufficientPrivilege,
        attach,
        message="audit_owner",
        hint="GRANT SELECT ON app_data.t TO audit_owner",
    )
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO audit_owner")
    root_tx.execute("GRANT SELECT ON app_data.t TO audit_owner")
    root_tx.execute(attach)
    root_tx.execute("INSERT INTO app_data.t VALUES (1)")
    root_tx.execute("ALTER TABLE app_data.t ENABLE ROW LEVEL SECURITY")
    refused(root_tx, errors.InsufficientPrivilege, "TRUNCATE app_data.t", message="row-level")
    assert rows(root_tx, "SELECT id FROM app_data.t") == [{"id": 1}]
