"""TRUNCATE leaves one event for each table it empties."""

from __future__ import annotations

from servers import ROOT
from trail import Connection, attached, event, events


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
