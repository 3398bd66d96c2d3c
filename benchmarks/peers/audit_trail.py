"""sqlalchemy-audit-trail: one partitioned log of diffs, written by the ORM when it flushes."""

from __future__ import annotations

import json

import sqlalchemy
from sqlalchemy import orm

from audit_schema.bench.variant import ACTOR, METADATA
from benchmarks.orm import TABLE, AccountColumns, Application, OrmVariant

PACKAGE = "sqlalchemy-audit-trail"


def build(engine: sqlalchemy.Engine) -> Application:
    """Return the application with an audited model and the package's default settings."""
    from audit_trail import Audited, AuditTrail
    from audit_trail.migrations import create_audit_tables

    class Base(orm.DeclarativeBase):
        pass

    class Account(AccountColumns, Base, Audited):
        __tablename__ = TABLE

    audit = AuditTrail(engine, events=[])
    sessions = orm.sessionmaker(engine)
    audit.install(sessions)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        create_audit_tables(connection, audit.tables, audit.severities)
    audit.maintenance.ensure_partitions()
    metadata = json.loads(METADATA)
    return Application(
        Account,
        sessions,
        "SELECT count(*) FROM audit.audit_activity",
        lambda: audit.context(actor_type="user", actor_id=ACTOR, extra=metadata),
    )


ORM = OrmVariant(
    PACKAGE, PACKAGE, build, (PACKAGE,), "role, application, all that is done outside the ORM"
)
