"""audit.search(): what brought a value or was done under some metadata, newest first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from partitions import maintain, partition_of
from servers import Database, Server
from trail import (
    Connection,
    Row,
    acting_as,
    attached,
    indexes,
    locked_partitions,
    plans_within,
    refused,
    rows,
    uses,
    value,
)

SEARCH = """
    SELECT * FROM audit.search(
        %(new_values)s::jsonb, %(metadata)s::jsonb, %(from)s, %(to)s, %(limit)s, %(before)s)
"""
EXPECTED = """
    SELECT * FROM audit.change
     WHERE (%(new_values)s::jsonb IS NULL OR new_values @> %(new_values)s::jsonb)
       AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s::jsonb)
     ORDER BY started_at DESC, occurred_at DESC, event_id DESC
"""
CONDITIONS: list[tuple[Any, Any]] = [
    ({"n": 1}, None),
    ({"id": 4, "n": 0}, None),
    ({"id": 4, "n": 9}, None),
    ({}, None),
    (None, {"request": 3}),
    (None, {"request": 3, "by": "bulk"}),
    (None, {"by": "bulk"}),
    (None, {"by": "nobody"}),
    (None, {}),
    ({"n": 1}, {"by": "bulk"}),
    ({"n": 1}, {"request": 3}),
    ({"n": 5}, {"by": "bulk"}),
]


@pytest.fixture(scope="module")
def busy(server: Server) -> Iterator[Database]:
    """Ten transactions: each with single rows, bulk statements, two contexts, and none."""
    with server.clone() as database, database.connect(autocommit=True) as db:
        attached(db, "id integer PRIMARY KEY, n integer")
        attached(db, "id integer PRIMARY KEY, n integer", "row", "other")
        for number in range(10):
            with db.transaction():
                db.execute("INSERT INTO app_data.other VALUES (%s, 5)", (number + 100,))
                one = {"request": number, "by": "hand"}
                db.execute("SELECT audit.set_context('ann', %s)", (json.dumps(one),))
                db.execute("INSERT INTO app_data.t VALUES (%s, 0)", (number,))
                db.execute("INSERT INTO app_data.other VALUES (%s, 0)", (number,))
                bulk = {"request": number, "by": "bulk"}
                db.execute("SELECT audit.set_context('ann', %s)", (json.dumps(bulk),))
                db.execute("UPDATE app_data.t SET n = 1 - n")
                db.execute("UPDATE app_data.other SET n = 1 WHERE id < 100")
        db.execute("DELETE FROM app_data.t WHERE id = 4")
        yield database


@pytest.fixture
def reader(busy: Database) -> Iterator[Connection]:
    """A connection to the busy database that changes nothing."""
    with busy.connect() as connection:
        yield connection
        connection.rollback()


def parameters(
    new_values: Any, metadata: Any, limit: int = 10000, before: str | None = None
) -> dict[str, Any]:
    return {
        "new_values": None if new_values is None else json.dumps(new_values),
        "metadata": None if metadata is None else json.dumps(metadata),
        "from": None,
        "to": None,
        "limit": limit,
        "before": before,
    }


@pytest.mark.parametrize(("new_values", "metadata"), CONDITIONS)
def test_it_finds_what_the_view_shows(reader: Connection, new_values: Any, metadata: Any) -> None:
    sought = parameters(new_values, metadata)
    found = rows(reader, SEARCH, sought)
    assert found == rows(reader, EXPECTED, sought)
    nothing = ({"id": 4, "n": 9}, None), (None, {"by": "nobody"}), ({"n": 5}, {"by": "bulk"})
    assert bool(found) == ((new_values, metadata) not in nothing)


@settings(
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(condition=st.sampled_from(CONDITIONS), sizes=st.lists(st.integers(1, 40), min_size=200))
def test_pages_cover_every_change_exactly_once(
    reader: Connection, condition: tuple[Any, Any], sizes: list[int]
) -> None:
    found: list[Row] = []
    before = None
    for size in sizes:
        got = rows(reader, SEARCH, parameters(*condition, size, before))
        if not got:
            break
        found += got
        before = got[-1]["cursor"]
    assert found == rows(reader, SEARCH, parameters(*condition))


@pytest.mark.parametrize(("new_values", "metadata"), CONDITIONS[:-1])
def test_pages_of_one_row_cover_every_change(
    reader: Connection, new_values: Any, metadata: Any
) -> None:
    every = rows(reader, SEARCH, parameters(new_values, metadata))
    found: list[Row] = []
    while got := rows(
        reader, SEARCH, parameters(new_values, metadata, 1, found[-1]["cursor"] if found else None)
    ):
        found += got
    assert found == every


@pytest.mark.parametrize("sought", [({"n": 1}, None), (None, {"by": "bulk"})])
def test_from_and_to_bound_the_start_of_the_transaction(
    reader: Connection, sought: tuple[Any, Any]
) -> None:
    every = rows(reader, SEARCH, parameters(*sought))
    starts = sorted({row["started_at"] for row in every})
    bounds = {"from": starts[3], "to": starts[5]}
    found = rows(reader, SEARCH, parameters(*sought) | bounds)
    assert found == [row for row in every if row["started_at"] in (starts[3], starts[4])]


def test_by_default_it_looks_back_as_far_as_the_setting_says(db: Connection) -> None:
    partition_of(db, "200 days")
    sought = parameters(None, {"age": "200 days"})
    assert rows(db, SEARCH, sought) == []
    assert len(rows(db, SEARCH, sought | {"from": "-infinity"})) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "nothing to search for: new values NULL, metadata NULL"),
        ("'[1]'", "nothing to search for: new values [1], metadata NULL"),
        ("'{\"a\": 1}', 'null'", 'nothing to search for: new values {"a": 1}, metadata null'),
        ("p_metadata => '\"ab12\"'", 'nothing to search for: new values NULL, metadata "ab12"'),
    ],
)
def test_what_is_no_object_is_refused(reader: Connection, arguments: str, message: str) -> None:
    refused(
        reader,
        errors.InvalidParameterValue,
        f"SELECT * FROM audit.search({arguments})",
        message=message,
        hint="Pass a JSON object",
    )


def test_bad_pages_are_refused(reader: Connection) -> None:
    for arguments, message in (
        ("p_limit => 0", "limit must be between 1 and 10000, got 0"),
        ("p_limit => 10001", "limit must be between 1 and 10000, got 10001"),
        ("p_before => 'x'", "not a cursor: 'x'"),
    ):
        refused(
            reader,
            errors.InvalidParameterValue,
            f"SELECT * FROM audit.search('{{}}', {arguments})",
            message=message,
            hint="cursor",
        )


def fill_searchable(connection: Connection) -> None:
    """Make 30,000 events in the running period, which has the indexes of the profile search."""
    connection.execute("SELECT audit.set_index_profile('search', 'standard')")
    assert maintain(connection)["status"] == "ok"
    with acting_as(connection, "audit_owner"):
        connection.execute("""
            INSERT INTO audit.event (
                id, started_at, occurred_at, xid, tracked_table_id, action, context_id, new_values,
                metadata)
            SELECT i, now() + i / 3 * interval '1 us', now() + i * interval '1 us', i / 3, 1,
                   'insert', CASE WHEN i % 3 > 0 THEN i / 3 * 3 END,
                   jsonb_build_object('id', i, 'email', 'user ' || i,
                                      'kind', CASE WHEN i < 600 THEN 'old' ELSE 'new' END),
                   CASE WHEN i % 3 = 0 THEN jsonb_build_object(
                       'request', i / 3, 'by', CASE WHEN i < 600 THEN 'fax' ELSE 'web' END) END
              FROM generate_series(0, 29999) AS i;
            ANALYZE audit.event;
        """)


@pytest.mark.parametrize("role", ["postgres", "audit_reader", "audit_admin"])
def test_it_reads_the_indexes_and_the_partitions_of_the_period_only(
    root_db: Connection, role: str
) -> None:
    fill_searchable(root_db)
    root_db.commit()
    filled = value(root_db, "SELECT tableoid::regclass::text FROM audit.event LIMIT 1")
    period = "p_from => now() - interval '1 hour', p_to => now() + interval '1 hour'"
    for condition, index, count in (
        ('p_new_values => \'{"email": "user 4711"}\'', "event_new_values_idx", 1),
        ("p_metadata => '{\"request\": 4711}'", "event_metadata_idx", 3),
        (
            'p_new_values => \'{"email": "user 4711"}\', p_metadata => \'{"by": "web"}\'',
            "event_new_values_idx",
            1,
        ),
    ):
        query = f"SELECT * FROM audit.search({condition}, {period})"
        found = plans_within(root_db, f"SET ROLE {role}; {query}; RESET ROLE")
        assert uses(found, indexes(root_db, index)), found
        assert uses(found, indexes(root_db, "event_pkey")), found
        assert "Seq Scan on event" not in found
        root_db.commit()
        with acting_as(root_db, role):
            assert len(rows(root_db, query)) == count
            assert locked_partitions(root_db) == {filled.removeprefix("audit.")}
        root_db.commit()


def test_something_old_is_not_looked_for_backwards(root_db: Connection) -> None:
    """With a limit in sight, the planner would go back until it finds enough."""
    fill_searchable(root_db)
    for condition, index in (
        ('p_new_values => \'{"kind": "old"}\', p_limit => 1', "event_new_values_idx"),
        ('p_metadata => \'{"by": "fax"}\', p_limit => 1', "event_metadata_idx"),
    ):
        found = plans_within(root_db, f"SELECT * FROM audit.search({condition})")
        assert uses(found, indexes(root_db, index)), found


def test_partitions_without_the_indexes_are_read(db: Connection) -> None:
    partition_of(db, "40 days")
    assert maintain(db)["status"] == "ok"
    assert len(rows(db, SEARCH, parameters(None, {"age": "40 days"}))) == 2
