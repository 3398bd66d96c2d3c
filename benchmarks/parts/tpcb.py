"""pgbench's TPC-B with more and more clients: throughput, latency and CPU of the whole server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg

from audit_schema.bench.rounds import Figures, Round, summarise, take_rounds
from audit_schema.bench.stage import Stage, staged
from audit_schema.bench.variant import BARE, OURS, Variant
from audit_schema.database import sqlalchemy_url
from audit_schema.errors import AuditSchemaError
from audit_schema.local_server import LocalServer
from benchmarks import pgbench
from benchmarks.lab import Lab
from benchmarks.report import Page, number_text

TITLE: Final = "TPC-B with many clients"

COMMITS: Final = ("on", "off")
FIGURES: Final = ("tps", "p50_ms", "p95_ms", "p99_ms", "cpu_us", "wal_bytes")
TABLES: Final = ("accounts", "tellers", "branches", "history")
HISTORY_KEY: Final = (
    "ALTER TABLE pgbench_history ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
)
METHOD: Final = """
TPC-B as pgbench has it (three UPDATEs, one SELECT, one INSERT in a transaction: four events), scale
{scale}, prepared statements, {seconds} seconds a run; autovacuum is on. pgbench_history has a key,
which some peers need. pgbench runs on the same
{cores} cores as the server, so that with more than a few clients the processors are the limit, and
throughput falls as CPU rises. CPU is that of all processes of the server: sessions, WAL writer,
checkpointer, autovacuum. Latency is that of every transaction, as pgbench saw it. Of the peers
only two run here, for the time it takes.
"""


@dataclass(frozen=True)
class Bank:
    """The tables of pgbench, made by it."""

    pgbench: Path

    @property
    def tables(self) -> Sequence[str]:
        """Their names with schema."""
        return [f"public.pgbench_{name}" for name in TABLES]

    def create(self, connection: psycopg.Connection[Any], rows: int) -> None:
        """Make and fill them: *rows* is the scale."""
        command = [str(self.pgbench), "-i", "-q", "-s", str(rows), connection.info.dsn]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise AuditSchemaError(f"pgbench failed: {done.stderr.strip()}")
        connection.execute(HISTORY_KEY)


@dataclass(frozen=True)
class Plan:
    """What one round does."""

    clients: tuple[int, ...]
    seconds: int
    scale: int


def measure(lab: Lab) -> dict[str, Any]:
    """Measure at most three rounds of bare, ours and the strongest peers."""
    plan = lab.amount(Plan((1, 2, 4, 8, 16, 32), 2, 50), Plan((2,), 1, 1))
    variants = [BARE, OURS, *lab.strongest]
    with lab.server({"autovacuum": "on"}) as server:
        bank = Bank(server.bindir / "pgbench")
        url = sqlalchemy_url(server.url())
        with staged(url, bank, plan.scale, variants, lab.console) as stage:
            run = partial(_run, server, stage, plan)
            rounds = take_rounds(variants, min(lab.rounds, 3), run, lab.console)
    return {
        "clients": plan.clients,
        "seconds": plan.seconds,
        "scale": plan.scale,
        "cores": os.cpu_count(),
        "titles": {variant.name: variant.title for variant in variants},
        "figures": summarise(rounds, BARE.name),
    }


def _run(server: LocalServer, stage: Stage[Bank], plan: Plan, variant: Variant, _: int) -> Round:
    """Run pgbench with each kind of commit and each number of clients."""
    script = _script(stage.shape.pgbench, plan.scale)
    database = str(stage.database(variant).database)
    figures: dict[str, Figures] = {}
    for commit in COMMITS:
        for clients in plan.clients:
            settings = [f"synchronous_commit={commit}"]
            load = pgbench.Load([script], clients, plan.seconds, variant.session, None, settings)
            outcome = pgbench.run(server, database, load).figures()
            figures[_named(commit, clients)] = {name: outcome[name] for name in FIGURES}
    return figures


def _script(program: Path, scale: int) -> str:
    shown = subprocess.run([program, "--show-script=tpcb-like"], capture_output=True, text=True)
    return shown.stderr.replace(":scale", str(scale))


def _named(commit: str, clients: int) -> str:
    return f"{commit}, {clients}"


def render(result: dict[str, Any], page: Page) -> None:
    """For each kind of commit: throughput, CPU and latency by the number of clients."""
    page.add(METHOD.format(**result))
    for commit in COMMITS:
        page.heading(f"synchronous_commit = {commit}", level=3)
        clients = [f"{number} client{'s' * (number > 1)}" for number in result["clients"]]
        page.table(["transactions a second", *clients], _rows(result, commit, "tps"))
        page.table(["CPU µs a transaction", *clients], _rows(result, commit, "cpu_us"))
        page.table(["WAL bytes a transaction", *clients], _rows(result, commit, "wal_bytes"))
        page.table(["ms: median / 95 % / 99 %", *clients], _latency_rows(result, commit))
        page.plot(
            f"tpcb-{commit}",
            {title: _points(result, name, commit) for name, title in result["titles"].items()},
            title=f"TPC-B, synchronous_commit = {commit}",
            x="clients",
            y="transactions a second",
            log_x=True,
        )


def _rows(result: Mapping[str, Any], commit: str, figure: str) -> list[list[object]]:
    return [
        [
            result["titles"][name],
            *(runs[_named(commit, number)][figure]["median"] for number in result["clients"]),
        ]
        for name, runs in result["figures"].items()
    ]


def _latency_rows(result: Mapping[str, Any], commit: str) -> list[list[object]]:
    return [
        [
            result["titles"][name],
            *(_latencies(runs[_named(commit, number)]) for number in result["clients"]),
        ]
        for name, runs in result["figures"].items()
    ]


def _latencies(run: Mapping[str, Any]) -> str:
    return " / ".join(number_text(run[name]["median"]) for name in ("p50_ms", "p95_ms", "p99_ms"))


def _points(result: Mapping[str, Any], name: str, commit: str) -> list[tuple[float, float]]:
    runs = result["figures"][name]
    return [(number, runs[_named(commit, number)]["tps"]["median"]) for number in result["clients"]]
