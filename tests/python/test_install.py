"""install() on each kind of target: what a transaction sees, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import random
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import psycopg_pool
import pytest
import sqlalchemy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import audit_schema
from audit_schema import AuditContextError
from servers import Database

SETTING = "SELECT NULLIF(current_setting('audit.context', true), '')::jsonb"
SEVEN = {"actor": "7"}


@pytest.fixture
def engine(plain_database: Database) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(plain_database.url(driver="psycopg"))
    yield audit_schema.install(engine)
    engine.dispose()


@pytest.fixture
def connection(plain_database: Database) -> Iterator[psycopg.Connection[Any]]:
    with plain_database.connect() as connection:
        yield audit_schema.install(connection)


def setting(connection: psycopg.Connection[Any]) -> Any:
    row = connection.execute(SETTING).fetchone()
    assert row is not None
    return row[0]


def test_transaction_keeps_the_context_it_began_with(connection: psycopg.Connection[Any]) -> None:
    with audit_schema.context("7"):
        assert setting(connection) == SEVEN
    with audit_schema.context("8"):
        assert setting(connection) == SEVEN
        connection.commit()
        assert setting(connection) == {"actor": "8"}
    connection.rollback()
    assert setting(connection) is None


def test_install_twice_is_install_once(
    connection: psycopg.Connection[Any], engine: sqlalchemy.Engine
) -> None:
    once = vars(connection)["_exec_command"]
    assert audit_schema.install(connection) is connection
    assert vars(connection)["_exec_command"] is once
    assert audit_schema.install(engine) is engine
    calls: list[object] = []
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *args: calls.append(args[2]))
    with audit_schema.context("7"), engine.begin() as opened:
        opened.execute(text("SELECT 1"))
    assert calls == ["SELECT 1"]


def test_any_text_arrives_unchanged(connection: psycopg.Connection[Any]) -> None:
    nasty = "'; DROP TABLE x; -- \\ \\' $$ %s %(a)s :b {c} \n\t\x7f é 😀 \u2028"
    metadata: dict[str, Any] = {nasty: [nasty, 1.5, None, True]}
    with audit_schema.context(nasty, actor_label=nasty, **metadata):
        expected = {
            "actor": nasty,
            "actor_label": nasty,
            "metadata": metadata,
        }
        assert setting(connection) == expected
        connection.rollback()
        connection.execute("SET standard_conforming_strings = off")
        connection.commit()
        assert setting(connection) == expected


def test_settings_of_the_transaction_are_kept(connection: psycopg.Connection[Any]) -> None:
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    connection.read_only = True
    connection.deferrable = True
    with audit_schema.context("7"):
        assert setting(connection) == SEVEN
        shown = [
            connection.execute(f"SHOW transaction_{name}").fetchone()
            for name in ("isolation", "read_only", "deferrable")
        ]
    assert shown == [("serializable",), ("on",), ("on",)]


def test_two_phase_transaction(connection: psycopg.Connection[Any]) -> None:
    with audit_schema.context("7"):
        connection.tpc_begin(connection.xid(1, "audit", "b"))
        assert setting(connection) == SEVEN
        connection.tpc_rollback()
    assert setting(connection) is None


def test_savepoint_does_not_lose_it(connection: psycopg.Connection[Any]) -> None:
    with audit_schema.context("7"), connection.transaction():
        with connection.transaction(force_rollback=True):
            assert setting(connection) == SEVEN
        assert setting(connection) == SEVEN


def test_autocommit_sends_it_with_transaction_only(connection: psycopg.Connection[Any]) -> None:
    connection.autocommit = True
    with audit_schema.context("7"):
        assert setting(connection) is None
        with connection.transaction():
            assert setting(connection) == SEVEN
        assert setting(connection) is None


def test_pipeline_and_server_cursor(connection: psycopg.Connection[Any]) -> None:
    with audit_schema.context("7"):
        with connection.pipeline():
            cursor = connection.execute(SETTING)
            assert cursor.fetchone() == (SEVEN,)
        connection.commit()
        with connection.pipeline(), connection.transaction():
            assert connection.execute(SETTING).fetchone() == (SEVEN,)
        with connection.cursor("named") as named:
            named.execute(SETTING)
            assert named.fetchone() == (SEVEN,)


def test_errors_stay_the_drivers_own(connection: psycopg.Connection[Any]) -> None:
    with audit_schema.context("7"):
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM missing")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert setting(connection) == SEVEN
        connection.close()
        with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
            connection.execute("SELECT 1")


def test_lost_connection(connection: psycopg.Connection[Any], plain_database: Database) -> None:
    with plain_database.connect("postgres", autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
    with audit_schema.context("7"), pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    assert connection.broken


def test_forgotten_connection_is_freed_at_once(plain_database: Database) -> None:
    connection = audit_schema.install(plain_database.connect())
    connection.close()
    reference = weakref.ref(connection)
    gc.disable()
    try:
        del connection
        assert reference() is None
    finally:
        gc.enable()


def test_async_connection(plain_database: Database) -> None:
    async def work() -> list[Any]:
        seen = []
        opened = await psycopg.AsyncConnection.connect(plain_database.url())
        async with audit_schema.install(opened) as connection:

            async def look() -> None:
                row = await (await connection.execute(SETTING)).fetchone()
                assert row is not None
                seen.append(row[0])
                await connection.rollback()

            async with audit_schema.context("7"):
                await look()
                async with connection.pipeline():
                    await look()
                await connection.execute("SELECT 1")
                audit_schema.set_actor("8")
                await audit_schema.apply(connection)
                await look()
            await look()
        return seen

    assert asyncio.run(work()) == [SEVEN, SEVEN, {"actor": "8"}, None]


def test_psycopg_pool(plain_database: Database) -> None:
    def configure(connection: psycopg.Connection[Any]) -> None:
        audit_schema.install(connection)

    with psycopg_pool.ConnectionPool(
        plain_database.url(), min_size=1, max_size=1, configure=configure
    ) as pool:
        with audit_schema.context("7"), pool.connection() as connection:
            assert setting(connection) == SEVEN
        with pool.connection() as connection:
            assert setting(connection) is None


def test_connection_that_was_open_before(plain_database: Database) -> None:
    engine = sqlalchemy.create_engine(plain_database.url(driver="psycopg"), pool_size=2)
    engine.connect().close()
    with engine.connect() as connection:
        audit_schema.install(engine)
        with audit_schema.context("7"):
            assert connection.scalar(text(SETTING)) == SEVEN
    with audit_schema.context("7"), Session(engine) as session:
        assert session.scalar(text(SETTING)) == SEVEN
    engine.dispose()
    with audit_schema.context("7"), engine.connect() as connection:
        assert connection.scalar(text(SETTING)) == SEVEN
    engine.dispose()


def test_raw_connection_and_two_phase(engine: sqlalchemy.Engine) -> None:
    with audit_schema.context("7"):
        raw = engine.raw_connection()
        cursor = raw.cursor()
        cursor.execute(SETTING)
        assert cursor.fetchone() == (SEVEN,)
        raw.close()
        with engine.connect() as connection:
            with connection.begin_twophase():
                assert connection.scalar(text(SETTING)) == SEVEN
                connection.get_transaction().rollback()  # type: ignore[union-attr]
            assert connection.scalar(text(SETTING)) == SEVEN


def test_isolation_level_of_the_engine(engine: sqlalchemy.Engine) -> None:
    strict = engine.execution_options(isolation_level="SERIALIZABLE")
    with audit_schema.context("7"), strict.begin() as connection:
        assert connection.scalar(text(SETTING)) == SEVEN
        assert connection.scalar(text("SHOW transaction_isolation")) == "serializable"


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_engine_tasks_keep_their_own(plain_database: Database, driver: str) -> None:
    url = plain_database.url(driver=driver, tcp=True)

    async def work() -> list[Any]:
        engine = audit_schema.install(create_async_engine(url, pool_size=3))

        async def one(number: int) -> Any:
            with audit_schema.context(number, step=number):
                async with AsyncSession(engine) as session:
                    await asyncio.sleep(random.random() / 50)
                    value = await session.scalar(text(f"SELECT ({SETTING})::text"))
                    await session.commit()
            async with AsyncSession(engine) as session:
                return json.loads(value), await session.scalar(text(SETTING))

        seen = await asyncio.gather(*(one(number) for number in range(30)))
        await engine.dispose()
        return seen

    assert asyncio.run(work()) == [
        ({"actor": str(number), "metadata": {"step": number}}, None) for number in range(30)
    ]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_autocommit_is_refused(plain_database: Database, driver: str) -> None:
    async def work() -> None:
        engine = audit_schema.install(
            create_async_engine(
                plain_database.url(driver=driver, tcp=True), isolation_level="AUTOCOMMIT"
            )
        )
        try:
            with audit_schema.context("7"):
                async with engine.connect() as connection:
                    await connection.execute(text("SELECT 1"))
        finally:
            await engine.dispose()

    with pytest.raises(AuditContextError, match="autocommit"):
        asyncio.run(work())


def test_autocommit_is_refused_within_a_context(engine: sqlalchemy.Engine) -> None:
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        connection.execute(text("SELECT 1"))
    with (
        audit_schema.context("7"),
        autocommit.connect() as connection,
        pytest.raises(AuditContextError, match="would be lost: this connection is in autocommit"),
    ):
        connection.execute(text("SELECT 1"))
    allowed = autocommit.execution_options(audit_context=False)
    with audit_schema.context("7"), allowed.connect() as connection:
        assert connection.scalar(text(SETTING)) is None
    with engine.begin() as connection:
        assert connection.scalar(text(SETTING)) is None


def test_no_leak_between_threads_and_pooled_connections(plain_database: Database) -> None:
    engine = audit_schema.install(
        sqlalchemy.create_engine(plain_database.url(driver="psycopg"), pool_size=3)
    )

    def one(number: int) -> None:
        dice = random.Random(number)
        with audit_schema.context(number, note="x" * dice.randrange(2000)):
            with engine.connect() as connection:
                value = connection.scalar(text(SETTING))
                assert value["actor"] == str(number)
                if dice.random() < 0.6:
                    connection.commit()
            if dice.random() < 0.3:
                with audit_schema.context(f"inner {number}"), engine.begin() as connection:
                    assert connection.scalar(text(SETTING))["actor"] == f"inner {number}"
            if dice.random() < 0.2:
                with (
                    pytest.raises(sqlalchemy.exc.DataError),
                    engine.begin() as connection,
                ):
                    connection.execute(text("SELECT 1/0"))
        with engine.connect() as connection:
            assert connection.scalar(text(SETTING)) is None

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(one, range(1000)))
    engine.dispose()


def test_apply(engine: sqlalchemy.Engine, connection: psycopg.Connection[Any]) -> None:
    registry = scoped_session(sessionmaker(engine))
    with engine.connect() as opened, Session(engine) as session:
        for target in (opened, session, registry):
            assert target.scalar(text(SETTING)) is None
            with audit_schema.context("7"):
                audit_schema.apply(target)
                assert target.scalar(text(SETTING)) == SEVEN
            target.rollback()
            assert target.scalar(text(SETTING)) is None
    registry.remove()
    assert setting(connection) is None
    with audit_schema.context("7"):
        audit_schema.apply(connection)
    assert setting(connection) == SEVEN


def test_apply_through_run_sync(plain_database: Database) -> None:
    async def work() -> Any:
        engine = create_async_engine(plain_database.url(driver="asyncpg", tcp=True))
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            with audit_schema.context("7"):
                with pytest.raises(AuditContextError, match="run_sync"):
                    audit_schema.apply(session)  # type: ignore[call-overload]
                await session.run_sync(audit_schema.apply)
            value = await session.scalar(text(f"SELECT ({SETTING})::text"))
        await engine.dispose()
        return json.loads(value)

    assert asyncio.run(work()) == SEVEN


def test_apply_refuses_what_would_be_lost(
    engine: sqlalchemy.Engine, connection: psycopg.Connection[Any]
) -> None:
    with pytest.raises(AuditContextError, match="no audit context is active"):
        audit_schema.apply(connection)
    connection.autocommit = True
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with audit_schema.context("7"), autocommit.connect() as opened:
        for target in (connection, opened):
            with pytest.raises(AuditContextError, match="autocommit"):
                audit_schema.apply(target)
        with connection.transaction():
            audit_schema.apply(connection)
            assert setting(connection) == SEVEN


def test_two_phase_needs_psycopg(plain_database: Database) -> None:
    async def work() -> None:
        engine = create_async_engine(plain_database.url(driver="asyncpg", tcp=True))
        async with audit_schema.install(engine).connect() as connection:
            with (
                audit_schema.context("7"),
                pytest.raises(AuditContextError, match=r"two-phase .* with asyncpg: use psycopg"),
            ):
                await connection.run_sync(lambda sync: sync.begin_twophase())
        await engine.dispose()

    asyncio.run(work())


def test_modules_do_not_hide_the_functions() -> None:
    for name in ("context", "install", "schema"):
        importlib.import_module(f"audit_schema.{name}")
    assert isinstance(audit_schema.context, type)
    assert callable(audit_schema.install)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(-1e15, 1e15)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
)


def test_every_json_value_arrives(connection: psycopg.Connection[Any]) -> None:
    @settings(max_examples=200, deadline=None)
    @given(JSON_VALUES)
    def arrives(value: Any) -> None:
        connection.rollback()
        try:
            context = audit_schema.context("7", value=value)
            context.__enter__()
        except AuditContextError:
            assume(False)  # a key with NUL
        try:
            assert setting(connection)["metadata"]["value"] == value
        finally:
            context.__exit__()

    arrives()


@pytest.mark.parametrize("target", [object(), None, "postgresql://", 7])
def test_other_targets_are_refused(target: object) -> None:
    with pytest.raises(AuditContextError, match=r"install\(\) takes .* got "):
        audit_schema.install(target)


def test_other_dialects_are_refused() -> None:
    with pytest.raises(AuditContextError, match="needs PostgreSQL, got an engine for 'sqlite'"):
        audit_schema.install(sqlalchemy.create_engine("sqlite://"))


def test_unknown_psycopg_is_refused(
    plain_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain_database.connect() as connection:
        monkeypatch.setattr(psycopg.Connection, "_exec_command", None)
        with pytest.raises(AuditContextError, match=f"psycopg {psycopg.__version__} begins"):
            audit_schema.install(connection)
        monkeypatch.undo()
