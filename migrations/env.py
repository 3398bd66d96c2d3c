"""Alembic environment: one transaction that bootstraps, migrates as the owner, then schedules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.config import fileConfig
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError

from audit_schema.database import sqlalchemy_url
from audit_schema.replaceable import MIGRATIONS, run_verbatim

# A table of our own inside our schema: `alembic_version` belongs to the application.
VERSION_TABLE = {"version_table": "schema_version", "version_table_schema": "audit"}
SETTINGS = ("owner_role", "admin_role", "reader_role", "nobody_role", "drop_trail")

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)


def migrate() -> None:
    """Everything happens in one transaction: a failure leaves the database as it was."""
    with context.begin_transaction():
        if context.get_context().opts.get("dont_mutate"):  # alembic current, check
            context.run_migrations()
            return
        for name in SETTINGS:
            set_local(f"audit.{name}", context.get_x_argument(as_dictionary=True).get(name, ""))
        run_file("bootstrap.sql")
        context.run_migrations()
        run_file("teardown.sql" if to_base() else "schedule.sql")


def run(sql: str) -> None:
    run_verbatim(sql, context.get_context())


def set_local(name: str, value: str) -> None:
    call = sa.select(sa.func.set_config(name, value, True))
    literal = call.compile(
        dialect=context.get_context().dialect, compile_kwargs={"literal_binds": True}
    )
    run(f"{literal};")


def run_file(name: str) -> None:
    run((MIGRATIONS / name).read_text(encoding="utf-8"))


def to_base() -> bool:
    if context.is_offline_mode():
        return context.get_revision_argument() is None
    return not context.get_context().get_current_heads()


@contextmanager
def notices_shown(online: sa.Connection) -> Iterator[None]:
    """Print what the server says a DBA still has to do; drivers drop it."""
    driver: Any = online.connection.driver_connection
    if not hasattr(driver, "add_notice_handler"):  # not psycopg
        yield
        return
    driver.add_notice_handler(print_notice)
    try:
        yield
    finally:
        driver.remove_notice_handler(print_notice)


def print_notice(diagnostic: Any) -> None:
    hint = f"\n  {diagnostic.message_hint}" if diagnostic.message_hint else ""
    print(f"{diagnostic.severity}: {diagnostic.message_primary}{hint}", file=sys.stderr)


def explain(error: sa.exc.DBAPIError) -> str:
    """What the server said and what to do, without the SQL that SQLAlchemy would print."""
    diagnostic = getattr(error.orig, "diag", None)
    if diagnostic is None or diagnostic.message_primary is None:
        return str(error.orig)
    hint = f"\n  {diagnostic.message_hint}" if diagnostic.message_hint else ""
    return f"{diagnostic.message_primary} (SQLSTATE {diagnostic.sqlstate}){hint}"


@contextmanager
def connection() -> Iterator[sa.Connection]:
    given = config.attributes.get("connection")
    if given is not None:
        yield given
        return
    url = sqlalchemy_url(config.get_main_option("sqlalchemy.url"))
    try:
        opened = sa.create_engine(url, poolclass=sa.NullPool).connect()
    except sa.exc.OperationalError as error:
        raise CommandError(
            f"can't connect to {url}: {str(error.orig).strip()}\n"
            "  Start the server, or set DATABASE_URL or PGHOST, PGPORT, PGUSER, PGDATABASE."
        ) from error
    with opened:
        yield opened


if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, **VERSION_TABLE
    )
    migrate()
else:
    with connection() as online, notices_shown(online):
        context.configure(connection=online, **VERSION_TABLE)
        try:
            migrate()
        except sa.exc.DBAPIError as error:
            raise CommandError(explain(error)) from error
