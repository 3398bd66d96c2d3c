"""postgresql-audit: one log of jsonb, by triggers for each row or for each statement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import orm

from audit_schema.bench.variant import ACTOR, Variant
from benchmarks.orm import TABLE, AccountColumns, Application, OrmVariant
from benchmarks.peers import engine_for, installed
from benchmarks.peers.proof import proven
from benchmarks.peers.session import ADDRESS

PACKAGE = "postgresql-audit"


def variant(level: str) -> Variant:
    """Return the peer with triggers for each "row" or "statement"."""
    return proven(
        Variant(
            f"{PACKAGE}-{level}",
            f"{PACKAGE}, {level} triggers",
            partial(_setup, level == "statement"),
            packages=(PACKAGE,),
            records="actor of changes outside its ORM, metadata, role, application",
        ),
        rows=3,
    )


def _setup(statement: bool, connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Create the package's tables and functions and let its audit_table() make the triggers."""
    from postgresql_audit import VersioningManager

    manager = VersioningManager(use_statement_level_triggers=statement)
    base = orm.declarative_base()
    manager.init(base)
    try:
        base.registry.configure()
        with engine_for(connection).begin() as transaction:
            base.metadata.create_all(transaction)
            for table in tables:
                _, _, name = table.rpartition(".")
                transaction.execute(manager.build_audit_table_query(sqlalchemy.table(name)))
    finally:
        manager.remove_listeners()  # they watch every session of this process


if installed(PACKAGE):
    ROW = variant("row")
    STATEMENT = variant("statement")


def build(engine: sqlalchemy.Engine) -> Application:
    """Return the application with a versioned model, by statement triggers as is the default."""
    from postgresql_audit import VersioningManager

    class Base(orm.DeclarativeBase):
        pass

    manager = VersioningManager()
    manager.init(Base)
    manager.values = {"actor_id": ACTOR, "client_addr": ADDRESS}

    class Account(AccountColumns, Base):
        __tablename__ = TABLE
        __versioned__: dict[str, Any] = {}  # noqa: RUF012

    orm.configure_mappers()
    logs = [manager.transaction_cls.__table__, manager.activity_cls.__table__]
    with engine.begin() as connection:
        Base.metadata.create_all(connection, tables=logs)  # before the table that is audited
        Base.metadata.create_all(connection)
    return Application(Account, orm.sessionmaker(engine), "SELECT count(*) FROM activity")


ORM = OrmVariant(
    PACKAGE,
    f"{PACKAGE}, statement triggers",
    build,
    (PACKAGE,),
    "metadata, role, application; the actor of changes outside the ORM",
)
