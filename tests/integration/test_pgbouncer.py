"""Behind PgBouncer in transaction mode many clients share few sessions, and no context leaks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

import audit_schema
from pooler import SERVER_CONNECTIONS, pooled
from servers import Database, Server
from trail import attached, events, rows, value

# client and number of a transaction, and the actor that it shall be recorded with
Expected = list[tuple[int, int, str | None]]
RECORDED = """
    SELECT (new_values ->> 'client')::int, (new_values ->> 'number')::int, actor,
           metadata ->> 'request', application_name FROM audit.change
"""
INSERT = "INSERT INTO app_data.t VALUES ({}, {})"
CLIENTS = 12


@pytest.fixture
def pooler(server: Server, database: Database) -> Iterator[str]:
    """The address of a PgBouncer before a database with an attached table app_data.t."""
    with database.connect() as db:
        attached(db, "client int, number int, PRIMARY KEY (client, number)")
    with pooled(server, database) as url:
        yield url


def connect(url: str, **options: Any) -> psycopg.Connection[Any]:
    """A client without prepared statements, which PgBouncer before 1.21 cannot follow."""
    return psycopg.connect(url, prepare_threshold=None, **options)


def by_psycopg(url: str, client: int, transactions: int) -> Expected:
    """Transactions with and without a context, some of them failing."""
    choice, expected = random.Random(client), list[tuple[int, int, str | None]]()
    with connect(url, application_name=f"client {client}") as connection:
        audit_schema.install(connection)
        for number in range(transactions):
            statement = INSERT.format(client, number)
            kind = choice.randrange(5)
            if kind == 0:
                connection.execute(statement.encode())
                connection.commit()
                expected.append((client, number, None))
            elif kind == 1:
                with audit_schema.context(f"{client}", request=number):
                    connection.execute(f"{statement}; SELECT 1 / 1".encode())
                    connection.rollback()
            elif kind == 2:
                with audit_schema.context(f"{client}", request=number):
                    with pytest.raises(psycopg.errors.DivisionByZero):
                        connection.execute(f"{statement}; SELECT 1 / 0".encode())
                    connection.rollback()
            else:
                with audit_schema.context(f"{client}", request=number):
                    connection.execute(statement.encode())
                    connection.commit()
                expected.append((client, number, f"{client}"))
    return expected


def by_sqlalchemy(url: str, client: int, transactions: int) -> Expected:
    """The same through an engine, whose connections come and go."""
    choice, expected = random.Random(client), list[tuple[int, int, str | None]]()
    engine = audit_schema.install(
        sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(url, application_name=f"client {client}"),
            **({"poolclass": NullPool} if client % 2 else {}),
        )
    )
    for number in range(transactions):
        statement = sqlalchemy.text(INSERT.format(client, number))
        if choice.random() < 0.3:
            with engine.begin() as connection:
                connection.execute(statement)
            expected.append((client, number, None))
        else:
            with (
                audit_schema.context(f"{client}", request=number),
                engine.connect() as connection,
            ):
                connection.execute(statement)
                if choice.random() < 0.7:
                    connection.commit()
                    expected.append((client, number, f"{client}"))
    engine.dispose()
    return expected


@pytest.mark.slow
def test_no_context_leaks_in_ten_thousand_mixed_transactions(
    database: Database, pooler: str
) -> None:
    each = 10_000 // CLIENTS + 1
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = [
            pool.submit(by_psycopg if client % 3 else by_sqlalchemy, pooler, client, each)
            for client in range(CLIENTS)
        ]
        expected = set(chain.from_iterable(work.result() for work in done))
    with database.connect() as db:
        recorded = db.execute(RECORDED).fetchall()
        sessions = value(
            db, "SELECT count(DISTINCT backend_pid) FROM audit.event WHERE backend_pid IS NOT NULL"
        )
    assert len(recorded) == len(expected) > 5000
    assert {(client, number, actor) for client, number, actor, _, _ in recorded} == expected
    assert all(request == (actor and str(n)) for _, n, actor, request, _ in recorded)
    assert all(name == f"client {client}" for client, _, _, _, name in recorded)
    assert sessions <= SERVER_CONNECTIONS


def test_a_context_ends_with_its_transaction(database: Database, pooler: str) -> None:
    with connect(pooler, autocommit=True) as client:
        client.execute("SELECT audit.set_context('alone')")  # a transaction of its own
        client.execute("INSERT INTO app_data.t VALUES (1, 1)")
        with client.transaction():
            client.execute('SET LOCAL audit.context = \'{"actor": "local"}\'')
            client.execute("INSERT INTO app_data.t VALUES (1, 2)")
        client.execute("INSERT INTO app_data.t VALUES (1, 3)")
        with client.transaction():
            client.execute("SELECT audit.set_context('set')")
            client.execute("INSERT INTO app_data.t VALUES (1, 4)")
        client.execute("INSERT INTO app_data.t VALUES (1, 5)")
    with database.connect() as db:
        actors = [event["actor"] for event in events(db, columns=["actor"])]
    assert actors == [None, "local", None, "set", None]


def test_a_context_set_for_the_session_reaches_the_next_client(
    database: Database, pooler: str
) -> None:
    """So it must be set for the transaction, as set_context() and the Python package do."""
    with connect(pooler, autocommit=True) as careless:
        careless.execute('SET audit.context = \'{"actor": "careless"}\'')
    with connect(pooler, autocommit=True) as other:
        other.execute("INSERT INTO app_data.t VALUES (1, 1)")
        with other.transaction():
            other.execute("SELECT audit.set_context('other')")
            other.execute("INSERT INTO app_data.t VALUES (1, 2)")
    with database.connect() as db:
        actors = [event["actor"] for event in events(db, columns=["actor"])]
    assert actors == ["careless", "other"]


def test_settings_of_a_shared_session_do_not_change_what_is_recorded(
    database: Database, pooler: str
) -> None:
    with database.connect() as db:
        table = attached(db, "id int PRIMARY KEY, at timestamptz, b bytea, f float8", name="u")
    with connect(pooler, autocommit=True) as client:
        client.execute("SET TimeZone = 'Asia/Tokyo'; SET bytea_output = 'escape'")
        client.execute("SET extra_float_digits = -10; SET search_path = app_data")
    with connect(pooler, autocommit=True) as other:
        other.execute(f"INSERT INTO {table} VALUES (1, '2026-01-01 00:00+00', 'a', 0.1::float8/3)")
    with database.connect() as db:
        [event] = rows(db, "SELECT new_values FROM audit.change")
    assert event["new_values"] == {
        "id": 1,
        "at": "2026-01-01T00:00:00+00:00",
        "b": "\\x61",
        "f": 0.1 / 3,
    }
