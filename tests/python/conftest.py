"""A database for tests that need nothing but a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers import Database, Server


@pytest.fixture(scope="session")
def plain_database(server: Server) -> Iterator[Database]:
    """One empty database for all tests that leave nothing in it."""
    with server.clone("blank") as database:
        yield database
