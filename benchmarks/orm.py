"""Ways to audit objects of SQLAlchemy's ORM, and what runs and measures their transactions.

Some packages listen to every session of their process: each variant gets a process of its own.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy
from sqlalchemy import Identity, event, orm
from sqlalchemy.dialects.postgresql import JSONB

import audit_schema
from audit_schema.bench import meter
from audit_schema.bench import variant as builtin
from audit_schema.bench.variant import ACTOR, METADATA
from audit_schema.errors import AuditSchemaError

TABLE: Final = "account"
MANY: Final = 100
INSERT: Final = "insert one object"
UPDATE: Final = "update one object"
DELETE: Final = "delete one object"
INSERT_MANY: Final = f"insert {MANY} objects"

Figures = dict[str, float]


class AccountColumns:
    """The columns of the audited model: those of the workload's table account."""

    id: orm.Mapped[int] = orm.mapped_column(sqlalchemy.BigInteger, Identity(), primary_key=True)
    owner: orm.Mapped[str] = orm.mapped_column(sqlalchemy.Text)
    email: orm.Mapped[str] = orm.mapped_column(sqlalchemy.Text)
    balance: orm.Mapped[Decimal] = orm.mapped_column(sqlalchemy.Numeric(14, 2))
    status: orm.Mapped[str] = orm.mapped_column(sqlalchemy.Text)
    tags: orm.Mapped[dict[str, Any]] = orm.mapped_column(JSONB)
    created_at: orm.Mapped[datetime] = orm.mapped_column(sqlalchemy.DateTime(timezone=True))
    updated_at: orm.Mapped[datetime] = orm.mapped_column(sqlalchemy.DateTime(timezone=True))
    version: orm.Mapped[int]
    note: orm.Mapped[str] = orm.mapped_column(sqlalchemy.Text)


@dataclass(frozen=True)
class Application:
    """An application with one audited model.

    events: a query for the number of events recorded; None: nothing records. acting: called for
    each transaction, returns what gives it actor and metadata.
    """

    model: type[Any]
    sessions: orm.sessionmaker[orm.Session]
    events: str | None = None
    acting: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class OrmVariant:
    """One way to audit objects of the ORM.

    build: a function of a module, called once in the process of the variant with an engine on an
    empty database. The other attributes are those of Variant.
    """

    name: str
    title: str
    build: Callable[[sqlalchemy.Engine], Application]
    packages: tuple[str, ...] = ()
    records: str = ""


class Driver:
    """Runs the transactions of a variant on one connection and measures them."""

    def __init__(self, variant: OrmVariant, url: str) -> None:
        self._engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=0)
        self._application = variant.build(self._engine)
        self._keys: deque[int] = deque()
        self._actions: dict[str, Callable[[], None]] = {
            INSERT: self._insert,
            UPDATE: self._update,
            DELETE: self._delete,
            INSERT_MANY: self._insert_many,
        }
        self._server = self._find_server()

    def measure(self, action: str, transactions: int) -> Figures:
        """Return what one transaction of *action* takes; raise unless every one was recorded."""
        run = self._actions[action]
        statements = self._count_statements(run)
        events, wal = self._count_events(), self._wal()
        server, client = meter.on_cpu(self._server), time.process_time_ns()
        latencies = [_timed(run) for _ in range(transactions)]
        client = time.process_time_ns() - client
        server = meter.on_cpu(self._server) - server
        wal = self._wal() - wal
        self._check(action, transactions, events)
        median, tail = meter.percentiles(latencies, (50, 95))
        return {
            "client_us": client / transactions / 1000,
            "server_us": server / transactions / 1000,
            "wal_bytes": wal / transactions,
            "p50_us": median / 1000,
            "p95_us": tail / 1000,
            "statements": statements,
        }

    def _insert(self) -> None:
        with self._transaction() as session:
            account = new_account(self._application.model)
            session.add(account)
            session.flush()
            self._keys.append(account.id)

    def _update(self) -> None:
        self._keys.rotate()
        with self._transaction() as session:
            account = session.get_one(self._application.model, self._keys[0])
            account.balance += 1
            account.version += 1
            account.updated_at = datetime.now(UTC)

    def _delete(self) -> None:
        with self._transaction() as session:
            session.delete(session.get_one(self._application.model, self._keys.pop()))

    def _insert_many(self) -> None:
        with self._transaction() as session:
            session.add_all([new_account(self._application.model) for _ in range(MANY)])

    @contextmanager
    def _transaction(self) -> Iterator[orm.Session]:
        with self._application.acting(), self._application.sessions() as session:
            yield session
            session.commit()

    def _find_server(self) -> Any:
        with self._engine.connect() as connection:
            file = meter.schedstat(connection.connection.dbapi_connection)  # type: ignore[arg-type]
        if file is None:
            raise AuditSchemaError(meter.NOT_HERE)
        return file

    def _count_statements(self, run: Callable[[], None]) -> int:
        """Count what one transaction sends besides BEGIN and COMMIT."""
        sent: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            sent.append(statement)

        event.listen(self._engine, "before_cursor_execute", note)
        run()
        event.remove(self._engine, "before_cursor_execute", note)
        return len(sent)

    def _check(self, action: str, transactions: int, before: int) -> None:
        expected = transactions * (MANY if action == INSERT_MANY else 1)
        recorded = self._count_events() - before
        if self._application.events is not None and recorded != expected:
            raise AuditSchemaError(
                f"{action}: {recorded} events recorded of {expected}; "
                "what records nothing must not look fast"
            )

    def _count_events(self) -> int:
        return self._scalar(self._application.events) if self._application.events else 0

    def _wal(self) -> int:
        return self._scalar("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")

    def _scalar(self, query: str) -> int:
        with self._engine.connect() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())


def new_account(model: type[Any]) -> Any:
    """Return a new object of the model."""
    now = datetime.now(UTC)
    return model(
        owner="owner 1234",
        email="user1234@example.com",
        balance=Decimal("123.45"),
        status="active",
        tags={"tier": 3, "region": "eu-4"},
        created_at=now,
        updated_at=now,
        version=1,
        note="lorem ipsum lorem ipsum lorem ipsum 1234",
    )


def build_bare(engine: sqlalchemy.Engine) -> Application:
    """Return the application without any audit."""

    class Base(orm.DeclarativeBase):
        pass

    class Account(AccountColumns, Base):
        __tablename__ = TABLE

    Base.metadata.create_all(engine)
    return Application(Account, orm.sessionmaker(engine))


def build_ours(engine: sqlalchemy.Engine) -> Application:
    """Return the application on a table that audit_schema captures, with its context."""
    bare = build_bare(engine)
    connection = engine.raw_connection()
    try:
        driver: Any = connection.driver_connection
        driver.autocommit = True
        builtin.OURS.setup(driver, [f"public.{TABLE}"])
        driver.autocommit = False
    finally:
        connection.close()
    audit_schema.install(engine)
    metadata = json.loads(METADATA)
    return Application(
        bare.model,
        bare.sessions,
        "SELECT count(*) FROM audit.event",
        lambda: audit_schema.context(ACTOR, **metadata),
    )


BARE: Final = OrmVariant("bare", "no capture", build_bare)
OURS: Final = OrmVariant("audit_schema", "audit_schema", build_ours, builtin.OURS.packages)


_drivers: list[Driver] = []


def start(variant: OrmVariant, url: str) -> None:
    """Make this process the one of *variant*."""
    try:
        _drivers.append(Driver(variant, url))
    except Exception as error:
        raise AuditSchemaError(f"{variant.name} could not be set up: {error}") from error


def measure(action: str, transactions: int) -> Figures:
    """Measure in the process of a variant."""
    return _drivers[0].measure(action, transactions)


def _timed(run: Callable[[], None]) -> int:
    begin = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - begin
