"""What the context costs on the wire: nothing with psycopg, one round trip with asyncpg."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import audit_schema
from python.recorder import Recorder, recording
from servers import Database

SETTING = "SELECT current_setting('audit.context', true)"
SENT = """BEGIN; SELECT set_config('audit.context', '{"actor":"7"}', true)"""
PLAIN = ["BEGIN", SETTING, "COMMIT"]
WITHIN = [SENT, SETTING, "COMMIT"]


@pytest.fixture
def recorder(plain_database: Database) -> Iterator[Recorder]:
    with recording(plain_database.url(tcp=True)) as recorder:
        yield recorder


def url_of(recorder: Recorder, database: Database, driver: str | None = None) -> str:
    real = sqlalchemy.make_url(database.url(driver=driver, tcp=True))
    return real.set(port=recorder.port).render_as_string(hide_password=False)


def measured(recorder: Recorder, work: Callable[[], Any]) -> tuple[Any, int, list[str]]:
    """Return what *work* returns, its round trips, and the simple queries it sent."""
    recorder.messages.clear()
    result = work()
    return result, recorder.round_trips, recorder.texts


def context_of(actor: str | None) -> Any:
    return audit_schema.context(actor) if actor else nullcontext()


def test_sqlalchemy_psycopg_sends_as_many_messages(
    recorder: Recorder, plain_database: Database
) -> None:
    engine = audit_schema.install(
        sqlalchemy.create_engine(url_of(recorder, plain_database, "psycopg"))
    )

    def work() -> Any:
        with engine.begin() as connection:
            return connection.scalar(text(SETTING))

    work()
    before = measured(recorder, work)
    with audit_schema.context("7"):
        within = measured(recorder, work)
    after = measured(recorder, work)
    engine.dispose()
    assert before == (None, 3, PLAIN)
    assert within == ('{"actor":"7"}', 3, WITHIN)
    assert after == ("", 3, PLAIN)


def test_psycopg_sends_as_many_messages(recorder: Recorder, plain_database: Database) -> None:
    url = url_of(recorder, plain_database)
    # without the threshold the sixth execution would prepare the query, with a round trip more
    with audit_schema.install(psycopg.connect(url, prepare_threshold=None)) as connection:

        def work() -> Any:
            row = connection.execute(SETTING).fetchone()
            connection.commit()
            return row

        def block() -> Any:
            with connection.transaction():
                return connection.execute(SETTING).fetchone()

        for call in (work, block):
            call()
            assert measured(recorder, call)[1:] == (3, PLAIN)
            with audit_schema.context("7"):
                assert measured(recorder, call) == (('{"actor":"7"}',), 3, WITHIN)
            assert measured(recorder, call) == (("",), 3, PLAIN)


def test_async_psycopg_sends_as_many_messages(recorder: Recorder, plain_database: Database) -> None:
    async def work() -> list[Any]:
        url = url_of(recorder, plain_database)
        seen = []
        async with audit_schema.install(await psycopg.AsyncConnection.connect(url)) as connection:
            for actor in (None, None, "7"):
                recorder.messages.clear()
                with context_of(actor):
                    async with connection.transaction():
                        row = await (await connection.execute(SETTING)).fetchone()
                seen.append((row, recorder.round_trips, recorder.texts))
        return seen

    plain, _, within = asyncio.run(work())
    assert plain == ((None,), 3, PLAIN)
    assert within == (('{"actor":"7"}',), 3, WITHIN)


@pytest.mark.parametrize(("driver", "extra"), [("psycopg", 0), ("asyncpg", 1)])
def test_async_engine(
    recorder: Recorder, plain_database: Database, driver: str, extra: int
) -> None:
    async def once(engine: AsyncEngine, actor: str | None) -> tuple[Any, int]:
        recorder.messages.clear()
        with context_of(actor):
            async with engine.begin() as connection:
                value = await connection.scalar(text(SETTING))
        return value, recorder.round_trips

    async def work() -> list[tuple[Any, int]]:
        engine = create_async_engine(url_of(recorder, plain_database, driver))
        assert audit_schema.install(engine) is engine
        # twice with a context: asyncpg prepares each statement the first time
        seen = [await once(engine, actor) for actor in (None, "0", None, "7", None)]
        await engine.dispose()
        return seen

    seen = asyncio.run(work())
    (_, plain), (value, within), after = seen[2:]
    assert value == '{"actor":"7"}'
    assert within == plain + extra
    assert after == ("", plain)


def test_pipeline_sends_it_before_the_same_sync(
    recorder: Recorder, plain_database: Database
) -> None:
    with audit_schema.install(psycopg.connect(url_of(recorder, plain_database))) as connection:

        def work() -> tuple[Any, list[str]]:
            """Return the setting, and the statements from BEGIN to the next Sync."""
            recorder.messages.clear()
            with connection.pipeline(), connection.transaction():
                cursor = connection.execute(SETTING)
            value = cursor.fetchone()
            sent = iter(recorder.messages)
            begin = next(kind for kind, body in sent if kind == "P" and b"BEGIN" in body)
            rest = itertools.takewhile(lambda message: message[0] != "S", sent)
            parsed = [body.split(b"\0")[1].decode() for kind, body in rest if kind == begin]
            return value, parsed

        assert work() == ((None,), [])
        with audit_schema.context("7"):
            assert work() == (('{"actor":"7"}',), [SENT.removeprefix("BEGIN; ")])
