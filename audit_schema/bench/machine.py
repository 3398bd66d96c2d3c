"""What the figures depend on: processor, memory, kernel, server, settings and versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psycopg

SETTINGS: Final = (
    "shared_buffers",
    "work_mem",
    "max_wal_size",
    "checkpoint_timeout",
    "wal_level",
    "wal_compression",
    "default_toast_compression",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "autovacuum",
    "jit",
    "track_functions",
    "shared_preload_libraries",
)
EXTENSION: Final = "SELECT default_version FROM pg_available_extensions WHERE name = %s"


def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory, kernel and Python of this machine; no names, no paths."""
    return {
        "processor": _field("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def describe_server(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return version and settings of the server, read in the session of *connection*."""
    rows = connection.execute(
        "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY (%s)"
        " ORDER BY array_position(%s, name)",
        [list(SETTINGS), list(SETTINGS)],
    )
    settings = {name: value for name, value in rows if value != ""}
    version = connection.info.parameter_status("server_version") or ""
    return {"version": version.split()[0], "settings": settings}


def describe_packages(
    names: Iterable[str], connection: psycopg.Connection[Any] | None = None
) -> dict[str, str]:
    """Return the version of each package: of Python, of Debian, or an extension of the server."""
    return {name: _version(name, connection) for name in dict.fromkeys(names)}


def _version(name: str, connection: psycopg.Connection[Any] | None) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
    if connection is not None and (row := connection.execute(EXTENSION, [name]).fetchone()):
        return str(row[0])
    return _debian_version(name) or "version not known"


def _debian_version(name: str) -> str | None:
    if shutil.which("dpkg-query") is None:
        return None
    command = ["dpkg-query", "--show", "--showformat=${Version}", name]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout or None


def _memory() -> str:
    kilobytes = _field("/proc/meminfo", r"MemTotal:\s*(\d+)")
    return f"{int(kilobytes) / 1024**2:.0f} GB" if kilobytes else "not known"


def _field(file: str, pattern: str) -> str | None:
    """Return what the first match of *pattern* in a file of the kernel captured, if it is there."""
    path = Path(file)
    found = re.search(pattern, path.read_text()) if path.exists() else None
    return found[1].strip() if found else None
