"""Load from pgbench, with the latency of each transaction and the CPU time of the whole server."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg

from audit_schema.bench.meter import percentiles
from audit_schema.errors import AuditSchemaError
from audit_schema.local_server import LocalServer

TICK: Final = os.sysconf("SC_CLK_TCK")
WAL: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
SESSIONS: Final = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend'
       AND pid <> pg_backend_pid() AND application_name = 'pgbench'"""


@dataclass(frozen=True)
class Load:
    """What pgbench does: *scripts* by turns, from so many *clients*, for so many *seconds*.

    session: statements that each client runs before its first transaction. rate: transactions a
    second, else as many as possible. settings: of the sessions.
    """

    scripts: Sequence[str]
    clients: int
    seconds: float
    session: Sequence[str] = ()
    rate: float | None = None
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of it. *samples*: for each transaction its end, in seconds since the first one's
    start, and its latency in milliseconds; with a rate it counts from when it was due."""

    seconds: float
    samples: list[tuple[float, float]] = field(repr=False)
    server_cpu: float
    client_cpu: float
    wal_bytes: int

    @property
    def tps(self) -> float:
        return len(self.samples) / self.seconds

    def figures(self) -> dict[str, float]:
        """Transactions a second, latencies, and what one transaction took."""
        count = len(self.samples)
        p50, p95, p99 = percentiles(latency for _, latency in self.samples)
        return {
            "transactions": count,
            "tps": self.tps,
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
            "cpu_us": self.server_cpu / count * 1e6,
            "wal_bytes": self.wal_bytes / count,
            "server_cores": self.server_cpu / self.seconds,
            "client_cores": self.client_cpu / self.seconds,
        }

    def slices(self, length: float) -> list[dict[str, float]]:
        """Latencies of each slice of so many seconds; what is left at the end is not in one."""
        found: dict[int, list[float]] = {}
        for end, latency in self.samples:
            found.setdefault(int(end / length), []).append(latency)
        return [
            {
                "second": number * length,
                "transactions": len(found[number]),
                **dict(
                    zip(("p50_ms", "p95_ms", "p99_ms"), percentiles(found[number]), strict=True)
                ),
            }
            for number in sorted(found)
            if (number + 1) * length <= self.seconds
        ]


def run(server: LocalServer, database: str, load: Load) -> Outcome:
    """Put *load* on a database of *server* and return what came of it.

    Raises AuditSchemaError when pgbench fails.
    """
    with (
        server.connect(database, autocommit=True) as watcher,
        TemporaryDirectory(dir=server.folder.parent) as folder,
    ):
        command = _command(server, load, Path(folder))
        before = server_cpu(server), _children_cpu(), _wal(watcher)
        begin = time.time()
        _run(command, server.url(database), load)
        _wait_for_the_end(watcher)
        after = server_cpu(server), _children_cpu(), _wal(watcher)
        samples = list(_samples(Path(folder), begin))
    seconds = max(end for end, _ in samples)
    server_used, client_used, wal = (b - a for a, b in zip(before, after, strict=True))
    return Outcome(seconds, samples, server_used, client_used, int(wal))


def server_cpu(server: LocalServer) -> float:
    """Seconds of CPU that all processes of *server* have used, those that have ended too."""
    if server.process is None:
        raise AuditSchemaError("the server is not running")
    postmaster = server.process.pid
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    used = sum(_stat(postmaster, range(14, 18)))
    for child in children:
        used += sum(_stat(int(child), range(14, 16)))
    return used / TICK


def _stat(pid: int, fields: Sequence[int]) -> Iterator[int]:
    """Fields of /proc/<pid>/stat, by the numbers of proc(5); none when the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return
    words = text.rpartition(")")[2].split()
    for number in fields:
        yield int(words[number - 3])


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wal(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(WAL).fetchone()
    assert row is not None
    return int(row[0])


def _command(server: LocalServer, load: Load, folder: Path) -> list[str]:
    session = "".join(f"{statement};\n" for statement in load.session)
    first = f"\\if :ready = 0\n\\set ready 1\n{session}\\endif\n" if session else ""
    command: list[object] = [server.bindir / "pgbench", "-n", "-M", "prepared", "-D", "ready=0"]
    command += ["-c", load.clients, "-j", min(load.clients, os.cpu_count() or 1)]
    command += ["-T", load.seconds, "-l", f"--log-prefix={folder}/log"]
    command += ["--rate", load.rate] if load.rate else []
    for number, script in enumerate(load.scripts):
        file = folder / f"{number}.sql"
        file.write_text(first + script, encoding="utf-8")
        command += ["-f", file]
    return [str(word) for word in command]


def _run(command: Sequence[str], url: str, load: Load) -> None:
    options = " ".join(f"-c {setting}" for setting in load.settings)
    done = subprocess.run(
        [*command, url],
        env=os.environ | {"PGOPTIONS": options, "PGAPPNAME": "pgbench"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise AuditSchemaError(f"pgbench failed: {done.stderr.strip()}")


def _samples(folder: Path, begin: float) -> Iterator[tuple[float, float]]:
    """Read the logs of pgbench: client, number, latency in µs, script, second, microsecond."""
    for log in folder.glob("log.*"):
        with log.open() as lines:
            for line in lines:
                _, _, latency, _, second, microsecond, *_ = line.split()
                yield int(second) + int(microsecond) / 1e6 - begin, int(latency) / 1000


def _wait_for_the_end(watcher: psycopg.Connection[Any]) -> None:
    """Wait until no session of pgbench is left, so that the server knows what they have used."""
    while watcher.execute(SESSIONS).fetchone() != (0,):
        time.sleep(0.02)
    time.sleep(0.1)
