"""Find the database: a URL, DATABASE_URL, or libpq's own PG* variables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from audit_schema.errors import AuditSchemaError

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy


def sqlalchemy_url(url: str | sqlalchemy.URL | None = None) -> sqlalchemy.URL:
    """Return *url*, else DATABASE_URL, else `postgresql+psycopg://`, where libpq decides.

    `postgres://` and every `postgresql…://` become `postgresql+psycopg://`, whichever driver the
    application uses. Raises AuditSchemaError for what is no URL of a PostgreSQL database.
    """
    import sqlalchemy

    given = url or os.environ.get("DATABASE_URL") or "postgresql+psycopg://"
    try:
        parsed = sqlalchemy.make_url(given)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise AuditSchemaError(
            "the database URL can't be read; write postgresql://user:password@host:5432/database"
        ) from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise AuditSchemaError(
            f"audit_schema needs PostgreSQL, the URL says {parsed.get_backend_name()!r}; "
            "write postgresql://user:password@host:5432/database"
        )
    return parsed.set(drivername="postgresql+psycopg")


def parameters_of(url: sqlalchemy.URL) -> dict[str, Any]:
    """Return libpq's parameters for a URL made by sqlalchemy_url()."""
    _, parameters = url.get_dialect()().create_connect_args(url)
    return dict(parameters)


def connect(url: str | sqlalchemy.URL | None = None, **options: Any) -> psycopg.Connection[Any]:
    """Connect to the database that sqlalchemy_url(*url*) names; options go to psycopg.connect.

    Raises AuditSchemaError when it can't be reached within ten seconds (PGCONNECT_TIMEOUT).
    """
    import psycopg

    target = sqlalchemy_url(url)
    parameters = parameters_of(target)
    if "PGCONNECT_TIMEOUT" not in os.environ:
        parameters.setdefault("connect_timeout", 10)
    try:
        return psycopg.connect(**(parameters | options))
    except psycopg.OperationalError as error:
        raise AuditSchemaError(
            f"can't connect to {target.render_as_string(hide_password=True)}: "
            f"{str(error).strip()}\nHINT: Start the server, or name another one: by URL, in "
            "DATABASE_URL, or in PGHOST, PGPORT, PGUSER and PGDATABASE."
        ) from error
    except psycopg.ProgrammingError as error:  # an option that libpq doesn't know
        raise AuditSchemaError(f"the database URL can't be used: {str(error).strip()}") from error
