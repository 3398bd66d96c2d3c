"""What work costs: on-CPU time of a server process, WAL, growth of relations, latencies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from audit_schema.errors import AuditSchemaError

NOT_HERE: Final = (
    "The CPU time of the server can't be read: it runs on another machine, or in another "
    "container. Times are elapsed times, as the client saw them."
)

SLEEPS_WITHIN: Final = 10
"""Seconds after which a server process must be idle."""

# A partition counts as its parent, an index of its own as one of the parent's, a TOAST table and
# its index as `toast` of their table.
RELATIONS: Final = """
    WITH relation AS (
        SELECT c.oid, pg_relation_size(c.oid) AS bytes, c.relkind,
               COALESCE(i.indrelid, c.oid) AS holder
          FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
         WHERE c.relkind IN ('r', 'm', 't', 'i') AND c.relpersistence <> 't'
           AND c.relnamespace NOT IN ('pg_catalog'::regnamespace,
                                      'information_schema'::regnamespace)),
    owned AS (
        SELECT r.bytes, COALESCE(o.oid, r.holder) AS owner,
               CASE WHEN o.oid IS NOT NULL THEN 'toast'
                    WHEN r.relkind = 'i' THEN 'index' ELSE 'heap' END AS kind,
               CASE WHEN o.oid IS NOT NULL THEN o.oid ELSE r.oid END AS shown
          FROM relation AS r LEFT JOIN pg_class AS o ON o.reltoastrelid = r.holder)
    SELECT kind,
           COALESCE(
               pg_partition_root(shown)::regclass::text,
               (SELECT pg_partition_root(t.oid)::regclass
                       || substr(i.relname, length(t.relname) + 1)
                  FROM pg_index AS x
                  JOIN pg_class AS i ON i.oid = x.indexrelid
                  JOIN pg_class AS t ON t.oid = x.indrelid AND t.relispartition
                 WHERE x.indexrelid = shown AND starts_with(i.relname, t.relname)),
               shown::regclass::text) AS name,
           sum(bytes)::bigint AS bytes
      FROM owned
     WHERE owner <> ALL (%s::regclass[]::oid[]) AND bytes > 0
     GROUP BY kind, name"""

Sizes = dict[tuple[str, str], int]
"""Bytes by kind (heap, toast, index) and name of the table or index."""


@dataclass(frozen=True)
class Cost:
    """What one piece of work took, the times in nanoseconds.

    cpu_ns: None where it can't be read. reader_ns: of the reader of a slot; None without one.
    """

    elapsed_ns: int
    cpu_ns: int | None
    wal_bytes: int
    reader_ns: int | None


class Meter:
    """Measures what the session of *connection* does, and the reader of its changes, if any."""

    def __init__(
        self, connection: psycopg.Connection[Any], reader: psycopg.Connection[Any] | None = None
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._schedstat = schedstat(connection)

    def measure(self, work: Callable[[], object]) -> Cost:
        """Do *work*, which uses the connection, and return what it took."""
        before = self._wal()
        cpu = self._cpu()
        begin = time.perf_counter_ns()
        work()
        elapsed = time.perf_counter_ns() - begin
        used = None if cpu is None else (self._cpu() or 0) - cpu
        wal = self._wal() - before
        reader = _drain(self._reader) if self._reader else None
        return Cost(elapsed, used, wal, reader)

    def _cpu(self) -> int | None:
        return on_cpu(self._schedstat) if self._schedstat else None

    def _wal(self) -> int:
        query = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
        row = self._connection.execute(query).fetchone()
        return int(row[0]) if row else 0


def schedstat(connection: psycopg.Connection[Any]) -> Path | None:
    """Return the kernel's file on the server process of *connection*; None if it isn't here."""
    process = Path("/proc") / str(connection.info.backend_pid)
    try:
        command = (process / "cmdline").read_bytes()
        known = command.startswith(b"postgres") and connection.info.dbname.encode() in command
        return process / "schedstat" if known and on_cpu(process / "schedstat") else None
    except OSError:
        return None


def on_cpu(file: Path) -> int:
    """Return the nanoseconds that the process of a file schedstat has run on a processor.

    Waits until it sleeps: the kernel counts the time of a running process once a tick only, and
    the client has its answer before the server process has gone to sleep.
    Raises AuditSchemaError when the process goes on running.
    """
    deadline = time.monotonic() + SLEEPS_WITHIN
    before = -1
    while time.monotonic() < deadline:
        state = file.with_name("stat").read_text().rpartition(")")[2].split()[0]
        ran = int(file.read_text().split()[0])
        if state == "S" and ran == before:
            return ran
        before = ran
    raise AuditSchemaError(f"process {file.parent.name} is still running, which must be idle here")


def sizes(connection: psycopg.Connection[Any], workload: Sequence[str]) -> Sizes:
    """Return the sizes of all relations that don't belong to the tables of *workload*."""
    rows = connection.execute(RELATIONS, [list(workload)]).fetchall()
    return {(kind, name): size for kind, name, size in rows}


def growth(before: Sizes, after: Sizes) -> Sizes:
    """Return by how much each relation has grown, those that have not left out."""
    grown = {key: size - before.get(key, 0) for key, size in after.items()}
    return {key: size for key, size in grown.items() if size}


def by_kind(grown: Sizes) -> dict[str, int]:
    """Return the sum for each of heap, toast and index."""
    return {
        wanted: sum(size for (kind, _), size in grown.items() if kind == wanted)
        for wanted in ("heap", "toast", "index")
    }


def percentiles(values: Iterable[float], wanted: Sequence[float] = (50, 95, 99)) -> list[float]:
    """Return the values below which so many per cent of *values* lie (nearest rank)."""
    ordered = sorted(values)
    ranks = [max(0, math.ceil(percent / 100 * len(ordered)) - 1) for percent in wanted]
    return [ordered[rank] for rank in ranks]


def _drain(reader: psycopg.Connection[Any]) -> int:
    """Read all that the slots of the database hold; return the CPU time of that."""
    file = schedstat(reader)
    before = on_cpu(file) if file else 0
    reader.execute(
        "SELECT count(c.*) FROM pg_replication_slots AS s,"
        " pg_logical_slot_get_changes(s.slot_name, NULL, NULL) AS c"
        " WHERE s.database = current_database()"
    )
    return on_cpu(file) - before if file else 0
