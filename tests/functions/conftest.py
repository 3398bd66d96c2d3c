"""Connections of other roles than the deploying one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from functions.trail import Connection
from servers import Database


@pytest.fixture
def root_tx(shared_database: Database) -> Iterator[Connection]:
    """The superuser's connection to the shared database, rolled back afterwards."""
    with shared_database.connect("postgres") as connection:
        yield connection
        connection.rollback()
