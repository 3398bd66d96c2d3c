"""A database for each variant on one server, all with the same rows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import psycopg
import sqlalchemy
from psycopg import sql
from rich.console import Console

from audit_schema import schema
from audit_schema.bench.variant import Variant
from audit_schema.database import connect
from audit_schema.errors import AuditSchemaError

PREFIX: Final = "audit_schema_bench"


MAY_CHECKPOINT: Final = "SELECT pg_has_role('pg_checkpoint', 'USAGE')"


class Tables(Protocol):
    """What a stage needs to know of the workload's tables."""

    @property
    def tables(self) -> Sequence[str]:
        """Their names with schema."""

    def create(self, connection: psycopg.Connection[Any], rows: int) -> None:
        """Make and fill them."""


S = TypeVar("S", bound=Tables)


@dataclass(frozen=True)
class Stage(Generic[S]):
    """The databases of *variants* on the server of *url*, each with the tables of *shape*."""

    url: sqlalchemy.URL
    shape: S
    rows: int
    variants: Sequence[Variant]

    def database(self, variant: Variant) -> sqlalchemy.URL:
        """The address of a variant's database."""
        return self.url.set(database=_database_name(variant))

    def connect(self, variant: Variant, *, session: bool = True) -> psycopg.Connection[Any]:
        """Connect to a variant's database, in autocommit mode; *session*: under its context."""
        connection = connect(self.database(variant), autocommit=True)
        for statement in variant.session if session else ():
            connection.execute(statement)
        return connection


@contextmanager
def staged(
    url: sqlalchemy.URL,
    shape: S,
    rows: int,
    variants: Sequence[Variant],
    console: Console,
) -> Iterator[Stage[S]]:
    """Make the databases with *rows* rows, yield them, and drop them.

    Raises AuditSchemaError when one of them exists already, when two variants would share one, or
    when a variant can't be set up.
    """
    _check_names(variants)
    stage = Stage(url, shape, rows, variants)
    made: list[Variant] = []
    try:
        for variant in variants:
            with console.status(f"setting up: {variant.title}"):
                _create_database(stage, variant)
                made.append(variant)
                _set_up(stage, variant)
        yield stage
    finally:
        with console.status("dropping the databases"):
            for variant in made:
                _drop_database(stage, variant)


def _database_name(variant: Variant) -> str:
    return f"{PREFIX}_{variant.name}".replace("-", "_").lower()


def _check_names(variants: Sequence[Variant]) -> None:
    databases = [_database_name(variant) for variant in variants]
    for variant in variants:
        if databases.count(_database_name(variant)) > 1:
            raise AuditSchemaError(
                f"two variants are called {variant.name!r}; give the peer another name"
            )


def _create_database(stage: Stage[Any], variant: Variant) -> None:
    name = sql.Identifier(_database_name(variant))
    with connect(stage.url, autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        except psycopg.errors.DuplicateDatabase as error:
            raise AuditSchemaError(
                f"the database {_database_name(variant)} exists already, perhaps of a run that "
                f"was cut off\nHINT: Drop it first: DROP DATABASE {_database_name(variant)};"
            ) from error


def _set_up(stage: Stage[Any], variant: Variant) -> None:
    with stage.connect(variant, session=False) as connection:
        stage.shape.create(connection, stage.rows)
        variant.setup(connection, stage.shape.tables)
        connection.execute("VACUUM (ANALYZE)")
        if connection.execute(MAY_CHECKPOINT).fetchone() == (True,):
            connection.execute("CHECKPOINT")


def _drop_database(stage: Stage[Any], variant: Variant) -> None:
    """Drop it, with its slots, and with the roles and jobs that the schema audit brought."""
    name = _database_name(variant)
    database = stage.database(variant)
    if schema.current(database) is not None:
        with connect(database, autocommit=True) as connection:
            for table in stage.shape.tables:
                identifier = sql.Identifier(*table.split("."))
                connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(identifier))
        with redirect_stderr(io.StringIO()):
            schema.downgrade(database, "base", drop_trail=True)
    with connect(stage.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = %s",
            [name],
        )
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
