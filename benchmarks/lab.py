"""Where the parts measure: servers with pinned settings, progress, and who takes part."""

from __future__ import annotations

import importlib
import os
import pkgutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console

from audit_schema.bench import machine
from audit_schema.bench import variant as builtin
from audit_schema.bench.variant import OURS, Variant
from audit_schema.errors import AuditSchemaError
from audit_schema.local_server import LocalServer
from benchmarks import peers

T = TypeVar("T")

MAJOR: Final = "17"
"""The server that the report is about."""

PINNED: Final[Mapping[str, object]] = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "wal_compression": "lz4",
    "default_toast_compression": "lz4",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "autovacuum": "off",
    "jit": "off",
}
SMOKE: Final[Mapping[str, object]] = {
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "fsync": "off",
}

STRONGEST: Final = ("django-pghistory", "postgresql-audit-statement")
"""Names of the two peers that are measured wherever all of them would take too long."""


@dataclass
class Lab:
    """What a part needs to measure.

    rounds: to count, after one to warm up. smoke: everything tiny, to see that it works. peers:
    all variants that are not ours. bindir: programs of the server. data: folder of its data.
    rows: of a bulk statement.
    """

    bindir: Path
    rounds: int = 3
    smoke: bool = False
    peers: Sequence[Variant] = ()
    data: Path = Path("/tmp")
    rows: int = 40_000
    console: Console = field(default_factory=Console)
    environment: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def server(self, settings: Mapping[str, object] | None = None) -> Iterator[LocalServer]:
        """Yield a new server with PINNED and then *settings*; it vanishes afterwards.

        The first one is described in `environment`, which goes into the part's JSON.
        """
        if not self.smoke:
            _require_disk(self.data)
        chosen = {**PINNED, **(SMOKE if self.smoke else {}), **(settings or {})}
        with LocalServer(self.bindir, chosen, parent=self.data) as server:
            if not self.environment:
                self._describe(server)
            yield server

    def _describe(self, server: LocalServer) -> None:
        names = [name for variant in (OURS, *self.peers) for name in variant.packages]
        with server.connect() as connection:
            self.environment["server"] = machine.describe_server(connection)
            self.environment["packages"] = machine.describe_packages(names, connection)

    def amount(self, full: T, smoke: T) -> T:
        """Return *full*, or *smoke* when everything shall be tiny."""
        return smoke if self.smoke else full

    @property
    def strongest(self) -> list[Variant]:
        """The peers named in STRONGEST, and those given as scripts."""
        known = {peer.name: peer for peer in self.peers}
        for name in STRONGEST:
            if name not in known and not self.smoke:
                self.console.print(f"takes no part: {name}", style="yellow")
        given = [peer for peer in self.peers if peer not in found_peers()]
        return [known[name] for name in STRONGEST if name in known] + given

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show *text* while something goes on, then how long it took."""
        begin = time.monotonic()
        with self.console.status(text):
            yield
        took = f"[dim]({time.monotonic() - begin:.1f} s)[/]"
        self.console.print(f"[green]✓[/] {text} {took}", soft_wrap=True, highlight=False)


def _require_disk(folder: Path) -> None:
    """Refuse a folder in memory, where a commit costs nothing."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    path = folder.resolve()
    holders = [mount for mount in mounts if path.is_relative_to(mount[1])]
    kind = max(holders, key=lambda mount: len(mount[1]))[2]
    if kind in ("tmpfs", "ramfs"):
        raise AuditSchemaError(
            f"{folder} is in memory ({kind}), where commits cost nothing; "
            "name a folder on a disk with --data"
        )


def found_peers(bindir: Path | None = None) -> list[Variant]:
    """Return each Variant that a module of benchmarks.peers makes.

    bindir: leave out those that the server of these programs can't run.
    """
    own = [value for value in vars(builtin).values() if isinstance(value, Variant)]
    absent = peers.missing(bindir) if bindir else []
    found: dict[str, Variant] = {}
    for module in pkgutil.iter_modules(peers.__path__):
        loaded = importlib.import_module(f"{peers.__name__}.{module.name}")
        for value in vars(loaded).values():
            if isinstance(value, Variant) and value not in own and value.name not in absent:
                found[value.name] = value
    return list(found.values())


def default_bindir(major: str = MAJOR) -> Path:
    """Return the programs of the server that `make servers` has made."""
    folder = os.environ.get("AUDIT_SCHEMA_SERVERS")
    if folder is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = str(Path("/var/cache" if os.geteuid() == 0 else home) / "audit-schema/servers")
    return Path(folder) / major / "usr/lib/postgresql" / major / "bin"
