"""A real PgBouncer in front of a test server."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
import pytest

import servers
from servers import Database, Server

PORT = 6432
SERVER_CONNECTIONS = 3
CONFIGURATION = """
[databases]
{database} = host={folder} port={port}

[pgbouncer]
listen_addr =
listen_port = {pooler_port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
logfile = {folder}/pgbouncer.log
"""


@contextmanager
def pooled(server: Server, database: Database) -> Iterator[str]:
    """PgBouncer in transaction mode with SERVER_CONNECTIONS to a database; gives its address."""
    program = servers.pooler_of(server.name)
    if not program.exists():
        pytest.skip(f"{server.name} has no {servers.POOLER}")
    folder = server.folder
    (folder / "users").write_text('"app" ""\n')
    (folder / "pgbouncer.ini").write_text(
        CONFIGURATION.format(
            database=database.name,
            folder=folder,
            port=server.port,
            pooler_port=PORT,
            size=SERVER_CONNECTIONS,
        )
    )
    process = server.popen(program, "-q", folder / "pgbouncer.ini")
    url = f"postgresql://app@/{database.name}?host={quote(str(folder), safe='')}&port={PORT}"
    try:
        _wait(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "PgBouncer ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)
