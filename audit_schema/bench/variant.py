"""Ways to audit the workload's tables: none, audit_schema, by hand, or a script of someone else."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy
from psycopg import sql

from audit_schema import schema
from audit_schema.errors import AuditSchemaError

Setup = Callable[[psycopg.Connection[Any], Sequence[str]], None]

ACTOR: Final = "user-1234"
METADATA: Final = json.dumps(
    {
        "request_id": "0b6c1a52-3f3e-4d0c-9a55-7d6f0c2b8e11",
        "reason": "customer asked for a correction",
        "ticket": 48213,
    }
)
"""About 110 bytes of context, as JSON; every variant that can carries the same."""


@dataclass(frozen=True)
class Variant:
    """One way to audit the workload's tables.

    name: short and unique. title: as printed. setup: called once with a superuser's autocommit
    connection to a fresh database that holds the workload's tables, and their names with schema.
    session: statements for each new connection: actor and context. packages: whose versions the
    report prints. by_hand: the workload writes the events itself. logical: read by a replication
    slot, whose reader is measured as well. records: what it does not record, in a few words.
    """

    name: str
    title: str
    setup: Setup
    session: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    by_hand: bool = False
    logical: bool = False
    records: str = ""


def literal(value: str) -> str:
    """Return *value* as a literal of SQL, for the statements of Variant.session."""
    return sql.Literal(value).as_string(None)


def session_of(metadata: str = METADATA) -> tuple[str, ...]:
    """Return the statements that set actor and *metadata* for a session of audit_schema."""
    context = json.dumps({"actor": ACTOR, "metadata": json.loads(metadata)})
    return (f"SELECT set_config('audit.context', {literal(context)}, false)",)


def install(connection: psycopg.Connection[Any]) -> None:
    """Install the schema audit in the database of *connection*, without its notices."""
    parameters: dict[str, Any] = connection.info.get_parameters()
    parameters["password"] = connection.info.password
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(**parameters),
        poolclass=sqlalchemy.NullPool,
    )
    with redirect_stderr(io.StringIO()):
        schema.upgrade(engine)


def ours(mode: str = "statement") -> Variant:
    """Return audit_schema with all tables attached in *mode*."""
    default = mode == "statement"
    return Variant(
        "audit_schema" if default else f"audit_schema-{mode}",
        "audit_schema" if default else f"audit_schema, mode {mode}",
        partial(_attach, mode),
        session_of(),
        ("audit-schema",),
    )


def script(name: str, file: Path) -> Variant:
    """Return a variant that a script of plain SQL sets up, without commands of psql."""
    return Variant(name, name, partial(_run_script, file))


def parse_peer(text: str) -> Variant:
    """Return the variant that `name=file.sql` means; raises AuditSchemaError."""
    name, _, file = text.partition("=")
    if not name or not file:
        raise AuditSchemaError(f"a peer is given as name=file.sql, got {text!r}")
    path = Path(file)
    if not path.is_file():
        raise AuditSchemaError(f"the script of peer {name!r} is not there: {file}")
    return script(name, path.resolve())


def _nothing(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """The tables stay as they are."""


def _attach(mode: str, connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    install(connection)
    for table in tables:
        connection.execute(
            "SELECT audit.attach(p_table => %s::regclass, p_mode => %s)", [table, mode]
        )


def _run_script(file: Path, connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    try:
        connection.execute(file.read_bytes())
    except psycopg.Error as error:
        raise AuditSchemaError(f"{file.name} failed: {str(error).strip()}") from error


BARE: Final = Variant("bare", "no capture", _nothing)
OURS: Final = ours()
OURS_ROW: Final = ours("row")
