"""What the commands of audit-schema share: options, connection, errors, output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from audit_schema.errors import AuditSchemaError

if TYPE_CHECKING:
    import psycopg

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Like postgresql://user@host/database; default: DATABASE_URL, else libpq's PGHOST, "
        "PGUSER, PGDATABASE, PGSERVICE, …",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Group(TyperGroup):
    """Turns what a command raises into one message on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            message = _message(error)
            if message is None:
                raise
            typer.echo(f"error: {message}", err=True)
            raise typer.Exit(2) from None


def connect(url: str | None, *, notices: bool = True) -> psycopg.Connection[Any]:
    """Connect to the database of *url*; what the server says goes to stderr."""
    from audit_schema import database

    connection = database.connect(url, application_name="audit-schema")
    if notices:
        connection.add_notice_handler(_print_notice)
    return connection


def _print_notice(diagnostic: psycopg.errors.Diagnostic) -> None:
    hint = f"\nHINT: {diagnostic.message_hint}" * bool(diagnostic.message_hint)
    typer.echo(f"{diagnostic.severity}: {diagnostic.message_primary}{hint}", err=True)


def fetch_rows(
    connection: psycopg.Connection[Any], statement: Any, arguments: Iterable[Any] = ()
) -> list[dict[str, Any]]:
    """Return all rows of a query."""
    from psycopg.rows import dict_row

    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, list(arguments)).fetchall()


def fetch_row(
    connection: psycopg.Connection[Any], statement: str, arguments: Iterable[Any] = ()
) -> dict[str, Any]:
    """Return the first row of a query."""
    return fetch_rows(connection, statement, arguments)[0]


def print_json(value: object) -> None:
    """Print *value* for machines."""
    from audit_schema import display

    typer.echo(display.dumps(value, indent=2))


def _message(error: Exception) -> str | None:
    """Return what to tell about an error that a user can cause; None for a fault of ours."""
    import psycopg
    import sqlalchemy

    from audit_schema.local_server import LocalServerError

    if isinstance(error, sqlalchemy.exc.DBAPIError):
        error = error.orig if isinstance(error.orig, Exception) else error
    if isinstance(error, psycopg.errors.InvalidSchemaName | psycopg.errors.UndefinedFunction):
        return f"{error.diag.message_primary}\nHINT: Install it first: audit-schema upgrade"
    if isinstance(error, psycopg.Error):
        text = error.diag.message_primary or str(error).strip()
        return text + (f"\nHINT: {error.diag.message_hint}" * bool(error.diag.message_hint))
    return str(error) if isinstance(error, AuditSchemaError | LocalServerError) else None
