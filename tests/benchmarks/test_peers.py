"""The benchmark's peers record what they are measured for; one that records nothing is refused."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from audit_schema.bench.variant import Variant, parse_peer
from audit_schema.bench.workload import ACCOUNT
from audit_schema.errors import AuditSchemaError
from audit_schema.local_server import LocalServer
from benchmarks import orm
from benchmarks.lab import found_peers
from benchmarks.orm import OrmVariant
from benchmarks.parts.orm import PEERS
from benchmarks.peers import MODULES, installed
from benchmarks.peers.proof import proven
from servers import Database, Server

TINY = """
    CREATE TABLE log (at timestamptz DEFAULT now(), old jsonb, new jsonb);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.log (old, new) VALUES (to_jsonb(OLD), to_jsonb(NEW));
        RETURN NULL;
    END $$;
    CREATE TRIGGER log AFTER INSERT OR UPDATE{delete} ON account
        FOR EACH ROW EXECUTE FUNCTION log();
"""

NAMES = (
    "auditrum",
    "django-pghistory",
    "postgresql-audit-row",
    "postgresql-audit-statement",
    "table_log",
    "wal2json",
)


@pytest.fixture
def workload(clone: Callable[[str], Database]) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to a database that holds nothing but a table with a few rows."""
    with clone("blank").connect("postgres", autocommit=True) as connection:
        ACCOUNT.create(connection, 10)
        yield connection


def script(folder: Path, text: str) -> Variant:
    file = folder / "peer.sql"
    file.write_text(text)
    return parse_peer(f"tiny={file}")


def test_a_script_is_a_peer(workload: psycopg.Connection[Any], tmp_path: Path) -> None:
    peer = proven(script(tmp_path, TINY.format(delete=" OR DELETE")), rows=3)
    peer.setup(workload, [ACCOUNT.table])
    assert workload.execute("SELECT count(*) FROM log").fetchone() == (0,)


def test_the_table_is_as_before(workload: psycopg.Connection[Any], tmp_path: Path) -> None:
    rows = "SELECT * FROM account ORDER BY id"
    before = workload.execute(rows.encode()).fetchall()
    proven(script(tmp_path, TINY.format(delete=" OR DELETE"))).setup(workload, [ACCOUNT.table])
    assert workload.execute(rows.encode()).fetchall() == before


@pytest.mark.parametrize(
    ("text", "found"), [("SELECT 1", 0), (TINY.format(delete=""), 2)], ids=["nothing", "no DELETE"]
)
def test_a_peer_that_misses_changes_is_refused(
    workload: psycopg.Connection[Any], tmp_path: Path, text: str, found: int
) -> None:
    with pytest.raises(AuditSchemaError, match=f"tiny recorded {found} rows"):
        proven(script(tmp_path, text)).setup(workload, [ACCOUNT.table])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_peer_records(server: Server, name: str) -> None:
    peers = {peer.name: peer for peer in found_peers(server.bindir)}
    assert peers.keys() <= set(NAMES)
    if name not in peers:
        pytest.skip(f"{name} is not installed here: make .venv-bench/done servers")
    peer = peers[name]
    settings = {"wal_level": "logical"} if peer.logical else {}
    with LocalServer(server.bindir, settings) as own, own.connect(autocommit=True) as connection:
        ACCOUNT.create(connection, 10)
        peer.setup(connection, [ACCOUNT.table])  # fails unless all is recorded


@pytest.mark.slow
@pytest.mark.parametrize("variant", [orm.BARE, orm.OURS, *PEERS], ids=lambda one: one.name)
def test_orm_variant_records(server: Server, variant: OrmVariant) -> None:
    if not all(installed(package) for package in variant.packages if package in MODULES):
        pytest.skip(f"{variant.name} is not installed here: make .venv-bench/done")
    server.template("native")  # first: there a migration by `deployer` makes the roles
    with server.clone("blank") as database:
        url = database.url("postgres", driver="psycopg")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            process.submit(orm.start, variant, url).result()
            for action in (orm.INSERT, orm.UPDATE, orm.DELETE, orm.INSERT_MANY):
                figures = process.submit(orm.measure, action, 1).result()
                assert figures["server_us"] > 0
