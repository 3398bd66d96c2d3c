"""What an archive of a closed partition takes: time, memory, bytes; and its way back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from audit_schema.bench.variant import install
from audit_schema.errors import AuditSchemaError
from audit_schema.local_server import LocalServer
from benchmarks import synthetic
from benchmarks.lab import Lab
from benchmarks.parts.queries import SETTINGS
from benchmarks.report import Page
from benchmarks.synthetic import Connection, Trail

TITLE: Final = "Archives"

SIZES: Final = (100_000, 1_000_000, 5_000_000)
# It says itself how much memory it took at most: what its parent is told also counts the parent.
COMMAND: Final = """
import atexit
from pathlib import Path

from audit_schema.cli import app

@atexit.register
def tell():
    status = Path("/proc/self/status").read_text()
    print(status.split("VmHWM:")[1].split()[0], flush=True)

app()
"""
# As if maintenance had found out that nobody can write to the month any more.
CLOSE: Final = "UPDATE audit.counting SET settled_to = %(end)s, counted_to = %(end)s"
HEAP: Final = """
    SELECT pg_table_size(format('audit.%%I', partition)::regclass), total_bytes
      FROM audit.partition WHERE from_time = %s"""
FOUND: Final = "SELECT state, events, bytes FROM audit.archive"

METHOD: Final = """
One month of the trail of the part before, in one partition, archived on the disk of the server by
`audit-schema archive run` (which writes the file and reads it back), read again by `verify`, and
loaded as a table by `restore`. CPU and memory are those of the process of the command; the server
sorts and sends beside it.
"""


def measure(lab: Lab) -> dict[str, Any]:
    """Archive a month of each size, verify it, and restore it."""
    return {"runs": [_measure(lab, size) for size in lab.amount(SIZES, (2_000, 10_000))]}


def _measure(lab: Lab, events: int) -> dict[str, Any]:
    end = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = (end - timedelta(days=1)).replace(day=1)
    with lab.server(SETTINGS) as server, server.connect(autocommit=True) as connection:
        with lab.step(f"{events:,} events: filling"):
            install(connection)
            trail = Trail(events, start, end)
            synthetic.prepare(connection, trail)
            for partition in synthetic.partitions(connection, trail):
                synthetic.fill(lambda: server.connect(autocommit=True), trail, partition)
            connection.execute(CLOSE, {"end": end})
        with TemporaryDirectory(dir=lab.data) as folder:
            Path(folder).chmod(0o755)
            connection.execute("SELECT audit.set_archive(%s)", [folder])
            steps = {
                "run": ["run"],
                "verify": ["verify"],
                "restore": ["restore", f"{start:%Y-%m-%d}", "--into", "public.restored"],
            }
            timed: dict[str, Any] = {}
            for name, arguments in steps.items():
                with lab.step(f"{events:,} events: {name}"):
                    timed[name] = _command(server, arguments)
        return _sizes(connection, start) | {"steps": timed}


def _command(server: LocalServer, arguments: Sequence[str]) -> dict[str, float]:
    """Run audit-schema archive; return its seconds, CPU seconds, and most memory in MB."""
    environment = {**os.environ, "DATABASE_URL": server.url()}
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "archive", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise AuditSchemaError(f"archive {' '.join(arguments)} failed")
    return {
        "seconds": time.monotonic() - begin,
        "cpu": usage.ru_utime + usage.ru_stime,
        "megabytes": int(said.split()[-1]) / 1024,
    }


def _sizes(connection: Connection, start: datetime) -> dict[str, Any]:
    table, total = connection.execute(HEAP, [start]).fetchall()[0]
    [(state, events, size)] = connection.execute(FOUND).fetchall()
    if state != "verified":
        raise AuditSchemaError(f"the archive is {state}")
    return {"events": events, "table": table, "total": total, "file": size}


def render(result: dict[str, Any], page: Page) -> None:
    """Bytes an event, then rates and memory of each step."""
    page.add(METHOD)
    runs = result["runs"]
    page.table(
        ["bytes an event", "table", "with indexes", "archive", "times smaller"],
        [
            [
                f"{run['events']:,} events",
                *(run[name] / run["events"] for name in ("table", "total", "file")),
                run["total"] / run["file"],
            ]
            for run in runs
        ],
    )
    page.table(
        ["step", "events", "events a second", "CPU µs an event", "memory, MB"],
        [
            [
                name,
                f"{run['events']:,}",
                run["events"] / step["seconds"],
                step["cpu"] / run["events"] * 1e6,
                step["megabytes"],
            ]
            for name in runs[0]["steps"]
            for run in runs
            for step in [run["steps"][name]]
        ],
    )
