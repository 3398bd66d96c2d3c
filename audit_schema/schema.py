"""Install, upgrade and remove the audit schema: Alembic's commands as functions."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, TypeAlias

from audit_schema.database import connect, sqlalchemy_url
from audit_schema.errors import AuditSchemaError

if TYPE_CHECKING:
    import sqlalchemy
    from alembic.config import Config

Target: TypeAlias = "str | sqlalchemy.URL | sqlalchemy.Engine | sqlalchemy.Connection | None"


def upgrade(
    target: Target = None,
    revision: str = "head",
    *,
    owner_role: str | None = None,
    admin_role: str | None = None,
    reader_role: str | None = None,
    nobody_role: str | None = None,
) -> None:
    """Bring the schema audit of *target* to *revision*, in one transaction; idempotent.

    target: a URL, an Engine, a Connection (in its transaction, which the caller commits,
    if one has begun), or None for DATABASE_URL. Roles under other names than
    audit_owner, audit_admin, audit_reader and audit_nobody are named on the first upgrade; the
    owner each time.
    Raises AuditSchemaError when the database can't be reached or is newer than this package, and
    when the server refuses; nothing is changed then.
    """
    from alembic import command

    roles = {
        "owner_role": owner_role,
        "admin_role": admin_role,
        "reader_role": reader_role,
        "nobody_role": nobody_role,
    }
    with _configured(target, roles) as config:
        command.upgrade(config, revision)


def downgrade(
    target: Target,
    revision: str,
    *,
    drop_trail: bool = False,
    owner_role: str | None = None,
) -> None:
    """Take the schema audit of *target* back to *revision*; "base" removes it.

    A trail that holds events is kept, and the server refuses, unless *drop_trail* is true.
    Raises as upgrade() does.
    """
    from alembic import command

    options = {"drop_trail": "yes" if drop_trail else None, "owner_role": owner_role}
    with _configured(target, options) as config:
        command.downgrade(config, revision)


def current(target: Target = None) -> str | None:
    """Return the revision of the schema audit in *target*; None when it is not installed."""
    from alembic.migration import MigrationContext

    options = {"version_table": "schema_version", "version_table_schema": "audit"}
    with _connection(target) as connection:
        return MigrationContext.configure(connection, opts=options).get_current_revision()


def upgrade_sql(
    output: TextIO,
    revision: str = "head",
    *,
    owner_role: str | None = None,
    admin_role: str | None = None,
    reader_role: str | None = None,
    nobody_role: str | None = None,
) -> None:
    """Write the SQL that upgrade() would run on an empty database to *output*."""
    from alembic import command

    roles = {
        "owner_role": owner_role,
        "admin_role": admin_role,
        "reader_role": reader_role,
        "nobody_role": nobody_role,
    }
    config = _config(roles)
    config.output_buffer = output
    command.upgrade(config, revision, sql=True)


def _config(arguments: dict[str, str | None]) -> Config:
    """Return a configuration of our own migrations with *arguments* as `-x name=value`."""
    from alembic.config import Config

    from audit_schema.replaceable import MIGRATIONS

    given = [f"{name}={value}" for name, value in arguments.items() if value is not None]
    config = Config(cmd_opts=argparse.Namespace(x=given))
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@contextmanager
def _configured(target: Target, arguments: dict[str, str | None]) -> Iterator[Config]:
    """Yield a configuration bound to a connection to *target*; explain Alembic's refusals."""
    from alembic.util import CommandError

    config = _config(arguments)
    with _connection(target) as connection:
        config.attributes["connection"] = connection
        try:
            yield config
        except CommandError as error:
            raise AuditSchemaError(_explained(str(error), connection)) from error


@contextmanager
def _connection(target: Target) -> Iterator[sqlalchemy.Connection]:
    import sqlalchemy

    if isinstance(target, sqlalchemy.Connection):
        yield target
        return
    if not isinstance(target, sqlalchemy.Engine):
        url = sqlalchemy_url(target)
        target = sqlalchemy.create_engine(
            url, creator=lambda: connect(url), poolclass=sqlalchemy.NullPool
        )
    with target.connect() as connection:
        yield connection


def _explained(message: str, connection: sqlalchemy.Connection) -> str:
    """Tell an old package from a misspelt revision: Alembic says the same for both."""
    if not message.startswith("Can't locate revision"):
        return message
    installed = current(connection)
    if installed is not None and repr(installed) in message:
        return (
            f"the database is at revision {installed}, which this version of audit_schema doesn't "
            "know: it is newer\nHINT: Upgrade the package audit-schema."
        )
    return f"{message}\nHINT: Leave the revision out to reach the newest."
