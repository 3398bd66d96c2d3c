"""`python -m benchmarks [PART ...]`: measure, keep the figures as JSON, write the report."""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, cast

import typer
from rich.console import Console

from audit_schema.bench.machine import describe_machine
from audit_schema.bench.variant import parse_peer
from audit_schema.errors import AuditSchemaError
from benchmarks import peers
from benchmarks.lab import Lab, default_bindir, found_peers
from benchmarks.peers.proof import proven
from benchmarks.report import Page

ROOT: Final = Path(__file__).parents[1]
PARTS: Final = (
    "capture",
    "transactions",
    "tpcb",
    "shapes",
    "storage",
    "profiles",
    "profile",
    "orm",
    "curves",
    "queries",
    "archive",
    "sustained",
)
IN_ROUNDS: Final = {"capture", "transactions", "tpcb", "shapes", "storage", "profiles", "orm"}
"""The parts that take so many rounds as they are told."""
ROUNDS: Final = 3

INTRODUCTION: Final = """
Written by `make bench` from the figures in `benchmarks/results`; do not edit. `make bench
ARGS=capture` measures one part again, `make bench ARGS=--report` only writes this page.
`audit-schema bench` measures on a server of yours.
"""
METHOD: Final = """
Each part starts a server of its own, with the data on a disk and fsync on, and gives each variant
a database of its own with the same rows. Rounds are taken in turn: every variant once, then every
variant again in another order. The first round warms up and is not counted. Differences and ratios
are taken against the bare tables of the same round, and the medians of these are shown; the JSON
files keep the smallest and the largest as well.

CPU is the time that the server process of the session ran on a processor, as the kernel counts it
(`/proc/<pid>/schedstat`): parsing, planning, triggers, index entries, WAL records, commit. Work
that other processes do later (checkpointer, WAL writer, autovacuum) is not in it, unless a part
says so. WAL is the distance of `pg_current_wal_insert_lsn()`. Bytes on disk are the growth of all
tables, TOAST tables and indexes that are not the workload's own.

JIT is off: with it, a plan that some peers make for a bulk statement compiles code again in each
later one-row statement of the session, which takes tens of milliseconds. Capture of ours turns it
off for itself.

Every variant that can carry a context carries the same: an actor and about 110 bytes of metadata.
Peers are set up as their own documentation says, with their default tables and indexes. They do
not all record the same; what one leaves out is said beside its figures.
"""


class Part(Protocol):
    """A module of benchmarks.parts."""

    TITLE: str

    def measure(self, lab: Lab) -> dict[str, Any]:
        """Return the figures, as JSON can keep them."""

    def render(self, result: dict[str, Any], page: Page) -> None:
        """Add text, tables and plots to the page."""


def load(name: str) -> Part:
    """Return the module of a part."""
    return cast(Part, importlib.import_module(f"benchmarks.parts.{name}"))


def available() -> list[str]:
    """Return the names of the parts that are there, in the order of the report."""
    return [name for name in PARTS if find_spec(f"benchmarks.parts.{name}")]


def measure(name: str, lab: Lab, results: Path) -> None:
    """Measure one part and keep what came out."""
    part = load(name)
    lab.console.rule(f"{name}: {part.TITLE}")
    begin = time.monotonic()
    lab.environment.clear()
    result = part.measure(lab)
    document = {
        "part": name,
        "title": part.TITLE,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "rounds": lab.rounds,
        "smoke": lab.smoke,
        "machine": describe_machine(),
        **lab.environment,
        "result": result,
    }
    results.mkdir(parents=True, exist_ok=True)
    unfinished = results / f"{name}.json.part"
    unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(results / f"{name}.json")


def write_report(results: Path, folder: Path) -> Path:
    """Write the page from all results that are there; return its file."""
    documents = [
        json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        for name in available()
        if (results / f"{name}.json").exists()
    ]
    page = Page(folder)
    page.heading("Performance", level=1)
    page.add(INTRODUCTION)
    page.heading("Method")
    page.add(METHOD)
    if documents:
        _add_environment(documents[0], page)
    for document in documents:
        part = load(document["part"])
        page.heading(part.TITLE)
        page.add(_provenance(document, documents[0]))
        part.render(document["result"], page)
    page.write()
    return page.file


def _add_environment(document: Mapping[str, Any], page: Page) -> None:
    rows = [*document["machine"].items(), ("PostgreSQL", document["server"]["version"])]
    rows += document["server"]["settings"].items()
    page.table(["machine and server", ""], rows)
    packages = document["packages"]
    if packages:
        versions = ", ".join(f"{name} {version}" for name, version in packages.items())
        page.add(f"Versions: {versions}.")


def _provenance(document: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    warning = "A smoke run: these figures say nothing. " if document["smoke"] else ""
    other = document["machine"] != first["machine"]
    where = f" on another machine ({', '.join(document['machine'].values())})" if other else ""
    rounds = f"{document['rounds']} rounds, " if document["part"] in IN_ROUNDS else ""
    return (
        f"{warning}Measured on {document['measured_at'][:10]}{where} with PostgreSQL "
        f"{document['server']['version']}, {rounds}in "
        f"{document['minutes']} minutes: `make bench ARGS={document['part']}`."
    )


def unfinished(names: Sequence[str], results: Path) -> list[str]:
    """Return those of *names* that no run of the last day has finished."""
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    left = []
    for name in names:
        file = results / f"{name}.json"
        if not file.exists() or json.loads(file.read_text())["measured_at"] < since:
            left.append(name)
    return left


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of: {', '.join(PARTS)}.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Everything tiny: does it work?")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what was finished within a day.")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Only write the page.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = ROUNDS,
    rows: Annotated[int, typer.Option(min=1000, help="Rows of a bulk statement.")] = 40_000,
    peer: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE.sql", help="One more variant.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave out this peer.")
    ] = None,
    bindir: Annotated[
        Path | None, typer.Option(help="Programs of the server; default: of `make servers`.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Where the servers keep their data.")] = Path("/tmp"),
    output: Annotated[
        Path | None, typer.Option(help="Folder for figures and page; default: this checkout.")
    ] = None,
) -> None:
    """Measure the parts one after the other, all without names, and write the report."""
    if smoke and output is None:
        raise AuditSchemaError("--smoke gives no figures to keep: name a folder with --output")
    results = output / "results" if output else ROOT / "benchmarks/results"
    names = parts or available()
    if unknown := set(names) - set(available()):
        raise AuditSchemaError(
            f"no such part: {', '.join(unknown)}; there are {', '.join(available())}"
        )
    if resume:
        names = unfinished(names, results)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves through the clean-up, too
    if not report:
        lab = _lab(bindir or default_bindir(), without or (), peer or ())
        lab.rounds, lab.smoke, lab.data, lab.rows = 1 if smoke else rounds, smoke, data, rows
        for name in names:
            measure(name, lab, results)
    print(f"Written: {write_report(results, output or ROOT / 'docs')}")


def _lab(bindir: Path, without: Sequence[str], given: Sequence[str]) -> Lab:
    """Return a lab with all peers that there are, but those to leave out."""
    lab = Lab(bindir)
    for name in peers.missing(bindir):
        lab.console.print(f"takes no part, for it is not installed: {name}", style="yellow")
    found = [one for one in found_peers(bindir) if one.name not in without]
    lab.peers = [*found, *(proven(parse_peer(text)) for text in given)]
    return lab


if __name__ == "__main__":
    try:
        app()
    except AuditSchemaError as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False)
        raise SystemExit(2) from None
