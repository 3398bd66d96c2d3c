"""Send the active context to PostgreSQL when a transaction begins, at no extra round trip.

psycopg sends `BEGIN` in a message of its own; a connection prepared here sends `BEGIN; SELECT
set_config(…)` in that message, sync and async. Other SQLAlchemy drivers send the second
statement after `BEGIN`: one round trip more. Without an active context nothing changes at all.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from audit_schema.context import encoded, required
from audit_schema.errors import AuditContextError

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy
    from sqlalchemy.orm import Session, scoped_session

T = TypeVar("T")

SET_CONTEXT: Final = "SELECT set_config('audit.context', :value, true)"


def install(target: T) -> T:
    """Make each transaction of *target* that begins within a context carry it; return *target*.

    target: SQLAlchemy Engine or AsyncEngine on PostgreSQL, psycopg Connection or AsyncConnection.
    Calling it again changes nothing. With psycopg_pool call it in the pool's `configure`.

    The setting is local to the transaction: nothing stays behind in a pool. A psycopg connection
    in autocommit mode sends it with `connection.transaction()` only. SQLAlchemy's AUTOCOMMIT
    within a context raises AuditContextError, unless the execution option audit_context=False
    says that nothing audited is changed. `SET TRANSACTION` has to come before any query: within
    a context choose the isolation level through the driver or the engine.
    Raises AuditContextError for anything else than these targets.
    """
    import psycopg

    if isinstance(target, psycopg.Connection | psycopg.AsyncConnection):
        _prepare(target)
    else:
        _listen(_engine_of(target))
    return target


@overload
def apply(connection: psycopg.AsyncConnection[Any]) -> Awaitable[None]: ...
@overload
def apply(
    connection: psycopg.Connection[Any] | sqlalchemy.Connection | Session | scoped_session[Any],
) -> None: ...
def apply(connection: Any) -> Awaitable[None] | None:
    """Send the active context again, within the running transaction of *connection*.

    For a context that was entered or changed after the transaction began, and for connections
    without install(). It counts if no change was captured yet in this transaction: who acts is
    recorded with the first one. Await the result for psycopg's AsyncConnection; with SQLAlchemy's
    async classes call `await connection.run_sync(audit_schema.apply)`.
    Raises AuditContextError outside a context or a transaction.
    """
    import psycopg
    import sqlalchemy
    from sqlalchemy.orm import Session, scoped_session

    value = required()
    if isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
        if connection.autocommit and not connection.info.transaction_status:
            raise _no_transaction()
        sent = connection.execute(SET_CONTEXT.replace(":value", "%s"), [value])
        return _awaited(sent) if isinstance(sent, Awaitable) else None
    if isinstance(connection, Session | scoped_session):
        connection = connection.connection()
    if not isinstance(connection, sqlalchemy.Connection):
        raise AuditContextError(
            f"apply() takes a SQLAlchemy Connection or Session or a psycopg connection, got "
            f"{type(connection).__name__}; an async one calls it: "
            "await connection.run_sync(audit_schema.apply)"
        )
    _require_transaction(connection)
    connection.execute(sqlalchemy.text(SET_CONTEXT), {"value": value})
    return None


async def _awaited(sent: Awaitable[object]) -> None:
    await sent


def _prepare(connection: psycopg.BaseConnection[Any]) -> None:
    """Have the `BEGIN` of *connection* carry the context."""
    if "_exec_command" in vars(connection):
        return
    if not callable(getattr(type(connection), "_exec_command", None)):
        import psycopg

        raise AuditContextError(
            f"psycopg {psycopg.__version__} begins transactions in a way that this version of "
            "audit_schema doesn't know; upgrade audit_schema or install an older psycopg"
        )
    # A weak reference: a cycle would keep a forgotten connection open until the next collection.
    command = functools.partial(_exec_command, weakref.ref(connection))
    vars(connection)["_exec_command"] = command


def _exec_command(reference: weakref.ref[Any], command: Any, *args: Any, **kwargs: Any) -> Any:
    """Stand in for psycopg's private method of this name, which sends BEGIN, COMMIT and the like.

    Same in psycopg 3.2 and 3.3, except that since 3.3.5 it takes commands with one result only.
    """
    connection: Any = reference()
    send = functools.partial(type(connection)._exec_command, connection)
    begins = isinstance(command, bytes) and command.startswith(b"BEGIN")
    value = encoded() if begins else None
    if value is None or connection.pgconn.status:  # of a lost one psycopg tells the reason
        return send(command, *args, **kwargs)
    return _begin(connection, send, command, value)


def _begin(connection: Any, send: Any, begin: bytes, value: str) -> Generator[Any, Any, Any]:
    """Send *begin* and the context together, as psycopg's generators do."""
    from psycopg import errors, generators, pq

    literal = pq.Escaping(connection.pgconn).escape_literal(value.encode("ascii"))
    setting = b"SELECT set_config('audit.context', %b, true)" % bytes(literal)
    if connection.pgconn.pipeline_status:  # one statement a message there, sent together anyway
        yield from send(begin)
        return (yield from send(setting))
    connection.pgconn.send_query(begin + b"; " + setting)
    results = yield from generators.execute(connection.pgconn)
    for result in results:
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise errors.error_from_result(result, encoding=connection.info.encoding)
    return results[0]


def _engine_of(target: object) -> sqlalchemy.Engine:
    import sqlalchemy

    engine = getattr(target, "sync_engine", target)
    if not isinstance(engine, sqlalchemy.Engine):
        raise AuditContextError(
            "install() takes a SQLAlchemy Engine or AsyncEngine or a psycopg connection, got "
            f"{type(target).__name__}; with psycopg_pool call it in the pool's configure"
        )
    if engine.dialect.name != "postgresql":
        raise AuditContextError(
            f"install() needs PostgreSQL, got an engine for {engine.dialect.name!r}; "
            "create it from a postgresql+psycopg:// URL"
        )
    return engine


def _listen(engine: sqlalchemy.Engine) -> None:
    from sqlalchemy import event

    if not event.contains(engine, "begin", _on_begin):
        event.listen(engine, "checkout", _on_checkout)
        event.listen(engine, "begin", _on_begin)
        event.listen(engine, "begin_twophase", _on_begin_twophase)


def _on_checkout(_: object, record: Any, __: object) -> None:
    _carries(record.driver_connection)


def _on_begin(connection: sqlalchemy.Connection) -> None:
    import sqlalchemy

    carries = _carries(connection.connection.driver_connection)
    value = encoded()
    if value is not None and _require_transaction(connection) and not carries:
        connection.execute(sqlalchemy.text(SET_CONTEXT), {"value": value})


def _on_begin_twophase(connection: sqlalchemy.Connection, _: object) -> None:
    if not _carries(connection.connection.driver_connection) and encoded() is not None:
        raise AuditContextError(
            f"a two-phase transaction can't carry the context with {connection.dialect.driver}: "
            "use psycopg, or enter the context after it began and call audit_schema.apply()"
        )


def _carries(driver_connection: object) -> bool:
    """Whether `BEGIN` of this driver carries the context by itself, from now on."""
    import psycopg

    if not isinstance(driver_connection, psycopg.Connection | psycopg.AsyncConnection):
        return False
    _prepare(driver_connection)
    return True


def _require_transaction(connection: sqlalchemy.Connection) -> bool:
    """Whether to send the context; raises when AUTOCOMMIT would lose it."""
    if not getattr(connection.connection.dbapi_connection, "autocommit", False):
        return True
    if connection.get_execution_options().get("audit_context", True):
        raise _no_transaction()
    return False


def _no_transaction() -> AuditContextError:
    return AuditContextError(
        "the audit context would be lost: this connection is in autocommit mode; use a "
        "transaction, or leave the context (SQLAlchemy: the execution option "
        "audit_context=False allows it, for what changes no audited table)"
    )
