"""Tables of several shapes with their rows, and the statements that change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, Protocol

import psycopg
from psycopg import sql

Fragment = sql.Composable

KEY: Final = sql.SQL("v_key")
"""The variable of loop() that holds a key."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    value: expression for a row of bulk data, from its number `g`. sample: expression for a row
    that is inserted alone. change: what an UPDATE sets when it changes the column.
    """

    name: str
    type: Fragment
    value: Fragment
    sample: Fragment
    change: Fragment


def column(
    name: str,
    type: LiteralString,
    value: LiteralString,
    sample: LiteralString,
    change: LiteralString,
) -> Column:
    """Return a column whose expressions are plain SQL."""
    return Column(name, *map(sql.SQL, (type, value, sample, change)))


@dataclass(frozen=True)
class Shape:
    """A table `public.<name>` with the key `id` and *columns*; *few* of them an UPDATE changes."""

    name: str
    title: str
    columns: tuple[Column, ...]
    few: tuple[str, ...]

    @property
    def table(self) -> str:
        """The table's name with its schema."""
        return f"public.{self.name}"

    @property
    def tables(self) -> Sequence[str]:
        """All tables: this one."""
        return [self.table]

    @property
    def identifier(self) -> sql.Identifier:
        """The table in a statement."""
        return sql.Identifier("public", self.name)

    @property
    def all(self) -> tuple[str, ...]:
        """The names of all columns but the key."""
        return tuple(column.name for column in self.columns)

    def create(self, connection: psycopg.Connection[Any], rows: int) -> None:
        """Make the table with rows 1 to *rows*, its sequence for further keys, and its source."""
        definitions = [
            sql.SQL("{} {} NOT NULL").format(sql.Identifier(column.name), column.type)
            for column in self.columns
        ]
        parts = {
            "table": self.identifier,
            "definitions": sql.SQL(", ").join(definitions),
            "sequence": sql.Identifier(*self.sequence.split(".")),
            "source": self._source,
            "values": sql.SQL(", ").join(column.value for column in self.columns),
        }
        for statement in (CREATE_TABLE, CREATE_SEQUENCE, CREATE_SOURCE):
            connection.execute(statement.format(**parts))
        connection.execute(self.insert_bulk(1, rows))

    def rows(self, first: int, last: int) -> sql.Composed:
        """A query for rows *first* to *last* of the bulk data."""
        return sql.SQL("SELECT * FROM {}({}, {})").format(self._source, first, last)

    def insert_bulk(self, first: int, last: int) -> sql.Composed:
        """An INSERT of rows *first* to *last* of the bulk data."""
        return sql.SQL("INSERT INTO {} {}").format(self.identifier, self.rows(first, last))

    @property
    def sequence(self) -> str:
        """The sequence for new keys, with its schema."""
        return f"{self.table}_key"

    def insert(self, count: int) -> sql.Composed:
        """An INSERT of *count* rows with keys of the sequence."""
        samples = sql.SQL(", ").join(column.sample for column in self.columns)
        template = INSERT_ONE if count == 1 else INSERT_SOME
        return template.format(
            table=self.identifier,
            sequence=sql.Literal(self.sequence),
            samples=samples,
            count=sql.Literal(count),
        )

    def update(self, columns: Sequence[str], where: Fragment) -> sql.Composed:
        """An UPDATE of *columns* in the rows with id *where*."""
        return sql.SQL("UPDATE {} SET {} WHERE id {}").format(
            self.identifier, self.assignments(columns), where
        )

    def delete(self, where: Fragment) -> sql.Composed:
        """A DELETE of the rows with id *where*."""
        return sql.SQL("DELETE FROM {} WHERE id {}").format(self.identifier, where)

    def assignments(self, columns: Sequence[str]) -> sql.Composed:
        """What an UPDATE of *columns* sets."""
        return sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column.name), column.change)
            for column in self.columns
            if column.name in columns
        )

    def inserted(self, count: int) -> sql.Composed:
        """The first key of the loop()'s i-th last INSERT of *count* rows in this session."""
        return sql.SQL("currval({}) - i * {} + 1").format(sql.Literal(self.sequence), count)

    @property
    def _source(self) -> sql.Identifier:
        return sql.Identifier("public", f"{self.name}_rows")


class Writer(Protocol):
    """Whoever makes the statements that change a table: a Shape, or by_hand.ByHand."""

    def insert_bulk(self, first: int, last: int) -> sql.Composed:
        """An INSERT of rows *first* to *last* of the bulk data."""

    def insert(self, count: int) -> sql.Composed:
        """An INSERT of *count* rows with keys of the sequence."""

    def update(self, columns: Sequence[str], where: Fragment) -> sql.Composed:
        """An UPDATE of *columns* in the rows with id *where*."""

    def delete(self, where: Fragment) -> sql.Composed:
        """A DELETE of the rows with id *where*."""


CREATE_TABLE: Final = sql.SQL("CREATE TABLE {table} (id bigint PRIMARY KEY, {definitions})")
CREATE_SEQUENCE: Final = sql.SQL("CREATE SEQUENCE {sequence} START 100000001 CACHE 100")
CREATE_SOURCE: Final = sql.SQL("""
    CREATE FUNCTION {source}(p_first bigint, p_last bigint) RETURNS SETOF {table} LANGUAGE sql
    AS $source$ SELECT g, {values} FROM generate_series(p_first, p_last) AS g $source$""")
INSERT_ONE: Final = sql.SQL("INSERT INTO {table} VALUES (nextval({sequence}), {samples})")
INSERT_SOME: Final = sql.SQL(
    "INSERT INTO {table} SELECT nextval({sequence}), {samples} FROM generate_series(1, {count})"
)
LOOP: Final = sql.SQL("""
    DO $loop$
    DECLARE
        v_key bigint;
    BEGIN
        FOR i IN 1..{times} LOOP
            v_key := {key};
            {statement};
        END LOOP;
    END;
    $loop$""")


def loop(times: int, key: Fragment, statement: Fragment) -> sql.Composed:
    """Run *statement* many times in one message and one transaction, with a new KEY each time."""
    return LOOP.format(times=times, key=key, statement=statement)


def random_key(rows: int) -> sql.Composed:
    """A key from 1 to *rows*."""
    return sql.SQL("1 + (random() * {})::integer").format(rows - 1)


def one(key: Fragment) -> sql.Composed:
    """The row with this key."""
    return sql.SQL("= {}").format(key)


def span(first: Fragment, count: int) -> sql.Composed:
    """*count* rows from this key on."""
    return sql.SQL("BETWEEN {first} AND {first} + {more}").format(first=first, more=count - 1)


ACCOUNT: Final = Shape(
    "account",
    "10 columns, about 250 bytes as JSON",
    (
        column("owner", "text", "'owner ' || g", "'owner 1234'", "'owner ' || version"),
        column(
            *("email", "text", "'user' || g || '@example.com'", "'user1234@example.com'"),
            "'user' || version || '@example.org'",
        ),
        column(
            *("balance", "numeric(14, 2)", "(g * 7919 % 1000000) / 100.0", "123.45"),
            "balance + 1",
        ),
        column(
            *("status", "text", "(ARRAY['active', 'closed', 'pending'])[1 + g % 3]", "'active'"),
            "'state ' || version",
        ),
        column(
            *("tags", "jsonb", "jsonb_build_object('tier', g % 5, 'region', 'eu-' || g % 9)"),
            """'{"tier": 3, "region": "eu-4"}'""",
            "jsonb_build_object('tier', version % 5, 'region', 'us-' || version % 9)",
        ),
        column(
            *("created_at", "timestamptz", "timestamptz '2025-01-01' + g * interval '1 second'"),
            *("'2025-01-01'", "created_at + interval '1 second'"),
        ),
        column("updated_at", "timestamptz", "now()", "now()", "now()"),
        column("version", "integer", "1", "1", "version + 1"),
        column(
            *("note", "text", "repeat('lorem ipsum ', 3) || g"),
            "'lorem ipsum lorem ipsum lorem ipsum 1234'",
            "'lorem ipsum dolor sit amet ' || version",
        ),
    ),
    few=("balance", "version", "updated_at"),
)
