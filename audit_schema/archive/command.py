"""What `audit-schema archive` does: run, verify, list and restore."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Annotated, Any

import typer

from audit_schema.command import Json, Url, connect, print_json
from audit_schema.errors import AuditSchemaError

app = typer.Typer(
    help="Archives of closed partitions as Parquet files: make, read back, load.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Period = Annotated[
    str | None, typer.Argument(help="A day in the period, such as 2026-03-01; default: all.")
]


@app.command()
def run(as_json: Json = False, url: Url = None) -> None:
    """Archive each closed partition that is not, oldest first, and read it back from the storage.

    Interrupted, it goes on with the same at the next run. Exit code 1 when what was read back is
    not what was written. Where archives go: SELECT audit.set_archive('s3://bucket/folder').

    Example: audit-schema archive run
    """
    from audit_schema import display

    work = load("work")
    with connect(url) as connection:
        done = [_tell(row, as_json) for row in work.run(connection, display.progress)]
    _end(done, as_json, "all closed partitions are archived")


@app.command()
def verify(period: Period = None, as_json: Json = False, url: Url = None) -> None:
    """Read archives back from the storage; exit code 1 when one is not as it was written.

    What fails has no archive any more: retention keeps its events, the next run archives it anew.

    Example: audit-schema archive verify 2026-03-01
    """
    from audit_schema import display

    work = load("work")
    with connect(url) as connection:
        found = work.written(connection, period)
        connection.commit()
        checked = (work.check(connection, row, display.progress) for row in found)
        done = [_tell(row, as_json) for row in checked]
    _end(done, as_json, "no archives in this period" if period else "no archives")


@app.command(name="list")
def list_archives(as_json: Json = False, url: Url = None) -> None:
    """Show all archives and attempts at them.

    Example: audit-schema archive list
    """
    from audit_schema import display

    work = load("work")
    with connect(url) as connection:
        rows = work.listed(connection)
    if as_json:
        print_json(rows)
    else:
        shown = ("state", "events", "bytes", "url", "message")
        display.print_table(
            [{"period": work.period(row)} | {name: row[name] for name in shown} for row in rows],
            {"verified": "green", "failed": "bold red"},
        )


@app.command()
def restore(
    source: Annotated[str, typer.Argument(help="A day in the period, or URL of the file.")],
    into: Annotated[str, typer.Option(help="Name of the new table as in SQL.")],
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Load an archive as a new table with the columns of audit.event.

    Needs the trail for a period only: the URL of a file can be loaded into any database.

    Example: audit-schema archive restore 2026-03-01 --into public.event_2026_03
    """
    from audit_schema import display

    work = load("work")
    with connect(url) as connection:
        file = source if "/" in source else _url_of(work.written(connection, source), source)
        events = work.restore(connection, file, into, display.progress)
    if as_json:
        print_json({"url": file, "table": into, "events": events})
    else:
        typer.echo(f"{into}: {events} events from {file}")


def load(name: str) -> ModuleType:
    """Return a module of audit_schema.archive; a termination leaves through the clean-up, too."""
    import signal
    from importlib import import_module

    try:
        module = import_module(f"audit_schema.archive.{name}")
    except ModuleNotFoundError as error:
        raise AuditSchemaError(
            f"archives need the package {error.name}; run  pip install 'audit-schema[archive]'"
        ) from error
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return module


def _tell(row: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """Return *row*; people see it as soon as it is there."""
    if not as_json:
        what = f"{row['events']} events, {row['bytes']} bytes" if row["sha256"] else ""
        text = row["message"] if row["state"] == "failed" else what
        typer.echo(f"{row['state']}: {row['url']}: {text}")
    return row


def _end(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo(nothing)
    if any(row["state"] == "failed" for row in rows):
        raise typer.Exit(1)


def _url_of(found: list[dict[str, Any]], period: str) -> str:
    if not found:
        raise AuditSchemaError(
            f"no archive holds {period}\nHINT: See audit-schema archive list, or name the file."
        )
    return str(found[0]["url"])
