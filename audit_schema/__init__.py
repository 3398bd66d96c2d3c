"""audit_schema: an audit trail that PostgreSQL keeps itself, installed with Alembic."""

from __future__ import annotations

from audit_schema.context import context, set_actor
from audit_schema.errors import AuditContextError, AuditSchemaError
from audit_schema.install import apply, install
from audit_schema.reading import Change, actor_activity, history, search, transaction_changes
from audit_schema.schema import current, downgrade, upgrade

__all__ = [
    "AuditContextError",
    "AuditSchemaError",
    "Change",
    "actor_activity",
    "apply",
    "context",
    "current",
    "downgrade",
    "history",
    "install",
    "search",
    "set_actor",
    "transaction_changes",
    "upgrade",
]
