"""Show changes and tables on a terminal, or as plain values for JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from audit_schema.reading import Change

ACTIONS = {"insert": "green", "update": "yellow", "delete": "red", "truncate": "bold red"}
STATES = {"ok": "green", "warning": "bold yellow"}
ABSENT = object()


def as_dicts(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Return *changes* as dicts, one key for each column of audit.change."""
    return [asdict(change) for change in changes]


def dumps(value: object, **options: Any) -> str:
    """Return *value* as JSON; Decimal stays an exact number, times are ISO 8601."""
    text = json.dumps(value, default=_plain, **options)
    return re.sub(r'"\\u0000(.+?)\\u0000"', r"\1", text)


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"\0{value}\0"  # no text of the trail holds a NUL: dumps() finds this one
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_changes(changes: list[Change], console: Console | None = None) -> None:
    """Print each change with its context, and old → new for each of its columns."""
    console = console or Console()
    for change in changes:
        console.print(_headline(change), soft_wrap=True, highlight=False)
        for name, _, _ in change.columns:
            console.print(_column(change, name), soft_wrap=True, highlight=False)
    if not changes:
        console.print("no changes in this period", style="dim")


def print_table(
    rows: Iterable[Mapping[str, Any]],
    styles: Mapping[str, str] | None = None,
    console: Console | None = None,
    title: str | None = None,
) -> None:
    """Print *rows* with their keys as headings; a value found in *styles* gets its style."""
    rows = list(rows)
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        texts = ["" if value is None else printable(str(value)) for value in row.values()]
        table.add_row(*(Text(text, style=(styles or {}).get(text, "")) for text in texts))
    (console or Console()).print(table)


@contextmanager
def progress(text: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far a long work is; yields what to call with each bit that is done.

    total: None when it is not known.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.advance(task, done)


def printable(text: str) -> str:
    """Return *text* with control characters escaped: recorded values must not steer a terminal."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def _headline(change: Change) -> Text:
    line = Text(f"{change.occurred_at:%Y-%m-%d %H:%M:%S.%f%z}  ", style="dim")
    line.append(f"{change.action:<8}", style=ACTIONS.get(change.action, "cyan"))
    line.append(f" {printable(f'{change.table_schema}.{change.table_name}')}", style="bold")
    if change.row_key is not None:
        line.append(f" {_json(change.row_key)}")
    line.append(f"  by {_actor(change)}", style="cyan")
    if change.metadata:
        line.append(f" {_json(change.metadata)}", style="dim")
    line.append(f"  transaction {change.transaction_id}", style="dim")
    return line


def _actor(change: Change) -> str:
    if change.actor is None:
        return printable(f"database user {change.database_user}")
    label = f" ({change.actor_label})" if change.actor_label else ""
    kind = f"{change.actor_type} " if change.actor_type else ""
    return printable(f"{kind}{change.actor}{label}")


def _column(change: Change, name: str) -> Text:
    old = (change.old_values or {}).get(name, ABSENT)
    new = (change.new_values or {}).get(name, ABSENT)
    line = Text(f"    {printable(name)}: ", style="dim")
    if old is not ABSENT:
        line.append(_json(old), style="red")
    if old is not ABSENT and new is not ABSENT:
        line.append(" → ", style="dim")
    if new is not ABSENT:
        line.append(_json(new), style="green")
    return line


def _json(value: object) -> str:
    return printable(dumps(value, ensure_ascii=False))
