"""history(), search() and the other read functions through each kind of connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import audit_schema
from audit_schema import Change
from servers import Database

TABLE = "app_data.orders"


@pytest.fixture
def recorded(database: Database) -> Database:
    """Two orders: both inserted and one changed by Ann, one deleted by nobody."""
    with audit_schema.install(database.connect()) as connection:
        connection.execute(f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, amount numeric)")
        connection.execute("SELECT audit.attach(%s)", [TABLE])
        connection.commit()
        with audit_schema.context("7", actor_type="user", actor_label="Ann", ticket="T1"):
            connection.execute(f"INSERT INTO {TABLE} VALUES (1, 10.00), (2, NULL)")
            connection.execute(f"UPDATE {TABLE} SET amount = 12345678901234567890.10 WHERE id = 1")
            connection.commit()
        connection.execute(f"DELETE FROM {TABLE} WHERE id = 2")
    return database


Opener = Callable[[Database], Any]


@contextmanager
def through_psycopg(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(row_factory=psycopg.rows.namedtuple_row) as connection:
        yield connection


@contextmanager
def through_engine(database: Database, kind: str) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(database.url(driver="psycopg"))
    if kind == "connection":
        with engine.connect() as connection:
            yield connection
    elif kind == "session":
        with Session(engine) as session:
            yield session
    else:
        registry = scoped_session(sessionmaker(engine))
        yield registry
        registry.remove()
    engine.dispose()


@pytest.fixture(params=["psycopg", "connection", "session", "scoped_session"])
def connection(request: pytest.FixtureRequest, recorded: Database) -> Iterator[Any]:
    opener = (
        through_psycopg(recorded)
        if request.param == "psycopg"
        else through_engine(recorded, request.param)
    )
    with opener as connection:
        yield connection


def test_history_of_a_table(connection: Any) -> None:
    deleted, updated, second, first = audit_schema.history(connection, TABLE)
    assert [each.action for each in (deleted, updated, second, first)] == [
        "delete",
        "update",
        "insert",
        "insert",
    ]
    assert updated.actor == "7"
    assert (updated.actor_type, updated.actor_label) == ("user", "Ann")
    assert updated.metadata == {"ticket": "T1"}
    assert (updated.table_schema, updated.table_name) == ("app_data", "orders")
    assert updated.row_key == {"id": 1}
    assert updated.columns == [("amount", Decimal("10.00"), Decimal("12345678901234567890.10"))]
    assert isinstance(updated.transaction_id, UUID)
    assert datetime.now(UTC) - updated.occurred_at < timedelta(minutes=5)
    assert first.old_values is None
    assert second.new_values == {"id": 2, "amount": None}
    assert (deleted.actor, deleted.metadata) == (None, None)
    assert deleted.old_values == {"id": 2, "amount": None}
    assert deleted.database_user == "deployer"


def test_history_of_a_row(connection: Any) -> None:
    for key in (1, "1", Decimal(1), {"id": 1}, {"id": "1"}):
        actions = [change.action for change in audit_schema.history(connection, TABLE, key)]
        assert actions == ["update", "insert"]
    assert audit_schema.history(connection, TABLE, 99) == []


def test_pages(connection: Any) -> None:
    everything = audit_schema.history(connection, TABLE)
    page = audit_schema.history(connection, TABLE, limit=3)
    rest = audit_schema.history(connection, TABLE, limit=3, before=page[-1].cursor)
    assert page + rest == everything


def test_period(connection: Any) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert audit_schema.history(connection, TABLE, since=soon) == []
    assert audit_schema.history(connection, TABLE, until=soon - timedelta(days=1)) == []
    assert len(audit_schema.history(connection, TABLE, since="-infinity", until=soon)) == 4
    assert len(audit_schema.actor_activity(connection, "7", since="-infinity", until=soon)) == 3


def test_transaction_and_actor(connection: Any) -> None:
    by_ann = audit_schema.actor_activity(connection, "7")
    assert [change.action for change in by_ann] == ["update", "insert", "insert"]
    assert audit_schema.actor_activity(connection, "7", limit=1) == by_ann[:1]
    assert audit_schema.actor_activity(connection, "8") == []
    transaction_id = by_ann[0].transaction_id
    assert audit_schema.transaction_changes(connection, transaction_id) == by_ann[::-1]
    assert audit_schema.transaction_changes(connection, str(transaction_id)) == by_ann[::-1]
    assert audit_schema.transaction_changes(connection, UUID(int=0)) == []


def test_search(connection: Any) -> None:
    by_ann = audit_schema.actor_activity(connection, "7")
    first = audit_schema.search(connection, {"id": 2})
    assert [change.new_values for change in first] == [{"id": 2, "amount": None}]
    found = audit_schema.search(connection, metadata={"ticket": "T1"})
    assert found == [change for change in by_ann if change.metadata == {"ticket": "T1"}] != []
    assert audit_schema.search(connection, {"id": 2}, {"ticket": "none"}) == []
    page = audit_schema.search(connection, metadata={"ticket": "T1"}, limit=1)
    rest = audit_schema.search(connection, metadata={"ticket": "T1"}, before=page[0].cursor)
    assert page + rest == found
    with pytest.raises(Exception, match="nothing to search for"):
        audit_schema.search(connection)


def test_unknown_table(recorded: Database) -> None:
    with recorded.connect() as connection, pytest.raises(psycopg.errors.UndefinedTable):
        audit_schema.history(connection, "missing")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_session(recorded: Database, driver: str) -> None:
    async def work() -> list[Change]:
        engine = create_async_engine(recorded.url(driver=driver, tcp=True))
        async with AsyncSession(engine) as session:
            found: list[Change] = await session.run_sync(
                audit_schema.history, TABLE, {"id": 1}, since=datetime(2020, 1, 1, tzinfo=UTC)
            )
            (first,) = await session.run_sync(audit_schema.actor_activity, "7", limit=1)
            same = await session.run_sync(audit_schema.transaction_changes, first.transaction_id)
            assert first in same
        await engine.dispose()
        return found

    with recorded.connect() as connection:
        expected = audit_schema.history(connection, TABLE, 1)
    assert asyncio.run(work()) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uuid", UUID(int=5)),
        ("timestamptz", datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)),
        ("date", date(2026, 1, 2)),
        ("numeric", Decimal("1.50")),
        ("bytea", b"\x00\xff"),
        ("text", "{1}'\"\\"),
        ("boolean", True),
    ],
)
def test_keys_of_many_types(db: psycopg.Connection[Any], kind: str, value: Any) -> None:
    db.execute(f"CREATE TABLE app_data.things (id {kind} PRIMARY KEY)")
    db.execute("SELECT audit.attach('app_data.things')")
    db.execute("INSERT INTO app_data.things VALUES (%s)", [value])
    for key in (value, {"id": value}):
        assert len(audit_schema.history(db, "app_data.things", key)) == 1


def test_change_mirrors_the_view(tx: psycopg.Connection[Any]) -> None:
    description = tx.execute("SELECT * FROM audit.change LIMIT 0").description
    assert description is not None
    assert [field.name for field in fields(Change)] == [column.name for column in description]
