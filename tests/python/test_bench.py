"""`audit-schema bench`, and that what it measures is what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from rich.console import Console
from typer.testing import CliRunner

from audit_schema.bench import capture, meter
from audit_schema.bench.by_hand import BY_HAND, ByHand
from audit_schema.bench.rounds import rotated, summarise, take_rounds
from audit_schema.bench.stage import Stage, staged
from audit_schema.bench.variant import BARE, OURS, Variant
from audit_schema.bench.workload import ACCOUNT, Shape, Writer
from audit_schema.cli import app
from audit_schema.database import sqlalchemy_url
from audit_schema.local_server import LocalServer
from servers import Server
from trail import Row, rows, value

QUIET = Console(quiet=True)
SIZE = capture.Size(40)
ARGUMENTS = ["bench", "--rows", "1000", "--rounds", "1"]
STATE = """
    SELECT (SELECT array_agg(rolname ORDER BY 1) FROM pg_roles),
           (SELECT array_agg(datname ORDER BY 1) FROM pg_database)"""
COPY_OF_ROWS = """
    CREATE TABLE public.log (account jsonb);
    CREATE FUNCTION public.log() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN INSERT INTO public.log VALUES (to_jsonb(NEW)); RETURN NULL; END';
    CREATE TRIGGER log AFTER INSERT OR UPDATE ON public.account
        FOR EACH ROW EXECUTE FUNCTION public.log();"""


@pytest.fixture
def stage(server: Server) -> Iterator[Stage[Shape]]:
    """Small databases of a bare table, one captured, and one written by hand."""
    server.template("native")  # first: there a migration by `deployer` makes the roles
    url = sqlalchemy_url(server.url())
    with staged(url, ACCOUNT, SIZE.rows, [BARE, OURS, BY_HAND], QUIET) as stage:
        yield stage


@pytest.mark.slow
def test_bench_on_a_server_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    script = tmp_path / "copy.sql"
    script.write_text(COPY_OF_ROWS)
    result = CliRunner().invoke(app, [*ARGUMENTS, "--json", "--peer", f"copy={script}"])
    assert result.exit_code == 0, result.stderr
    figures = json.loads(result.stdout)
    assert list(figures["result"]) == ["bare", "audit_schema", "copy"]
    assert figures["server"]["settings"]["fsync"] == "on"
    for action in figures["result"]["bare"]:
        captured = figures["result"]["audit_schema"][action]
        assert captured["cpu_us"]["ratio"] > 1
        assert captured["index_bytes"]["median"] > 0
        assert figures["result"]["copy"][action]["index_bytes"]["median"] == 0


@pytest.mark.slow
def test_bench_on_a_given_server_leaves_nothing(server: Server) -> None:
    server.template("native")  # first: there a migration by `deployer` makes the roles
    before = server.admin.execute(STATE).fetchone()
    result = CliRunner().invoke(app, [*ARGUMENTS, "--url", server.url(tcp=True)])
    assert result.exit_code == 0, result.stderr
    assert "bulk INSERT" in result.stdout
    assert server.admin.execute(STATE).fetchone() == before


def test_cut_off_bench_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = server.admin.execute(STATE).fetchone()
    monkeypatch.setattr(capture, "measure_action", interrupt)
    result = CliRunner().invoke(app, [*ARGUMENTS, "--url", server.url()])
    assert result.exit_code in (1, 130)
    assert server.admin.execute(STATE).fetchone() == before


def test_bench_drops_no_database_of_others(server: Server) -> None:
    server.admin.execute("CREATE DATABASE audit_schema_bench_audit_schema")
    try:
        result = CliRunner().invoke(app, [*ARGUMENTS, "--url", server.url()])
        assert result.exit_code == 2
        assert "the database audit_schema_bench_audit_schema exists already" in result.stderr
        query = "SELECT datname FROM pg_database WHERE datname LIKE 'audit_schema_bench%'"
        assert server.admin.execute(query).fetchall() == [("audit_schema_bench_audit_schema",)]
    finally:
        server.admin.execute("DROP DATABASE audit_schema_bench_audit_schema")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peer.sql", "a peer is given as name=file.sql, got 'peer.sql'"),
        ("=peer.sql", "a peer is given as name=file.sql, got '=peer.sql'"),
        ("bare=missing.sql", "the script of peer 'bare' is not there: missing.sql"),
    ],
)
def test_misspelt_peer(text: str, message: str) -> None:
    result = CliRunner().invoke(app, [*ARGUMENTS, "--peer", text])
    assert result.exit_code == 2
    assert message in result.stderr


def test_peer_needs_a_name_of_its_own(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "peer.sql"
    script.write_text("SELECT 1")
    arguments = [*ARGUMENTS, "--peer", f"Bare={script}", "--url", server.url()]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "two variants are called 'bare'; give the peer another name" in result.stderr


def test_script_that_fails_is_named(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "broken.sql"
    script.write_text("SELECT 1;\nSELECT nonsense;")
    arguments = [*ARGUMENTS, "--peer", f"broken={script}", "--url", server.url()]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert 'error: broken.sql failed: column "nonsense" does not exist' in result.stderr


# --- what is measured ----------------------------------------------------------------------------


def written(stage: Stage[Shape], variant: Variant, writer: Writer) -> list[Row]:
    """What a variant recorded of an INSERT, an UPDATE and a DELETE, under the session's context."""
    with stage.connect(variant) as connection, connection.transaction():
        connection.execute(writer.insert_bulk(1001, 1003))
        connection.execute(writer.update(ACCOUNT.few, sql.SQL("BETWEEN 1002 AND 1003")))
        connection.execute(writer.delete(sql.SQL("= 1003")))
        return rows(
            connection,
            "SELECT action, row_key, old_values - 'updated_at' AS old_values,"
            "       new_values - 'updated_at' AS new_values, actor, metadata, database_user,"
            "       count(transaction_id) OVER () AS events_of_transactions"
            "  FROM audit.change WHERE row_key IS NOT NULL ORDER BY event_id",
        )


def test_events_by_hand_are_those_of_capture(stage: Stage[Shape]) -> None:
    captured = written(stage, OURS, ACCOUNT)
    assert [row["action"] for row in captured] == ["insert"] * 3 + ["update"] * 2 + ["delete"]
    assert {row["actor"] for row in captured} == {"user-1234"}
    assert written(stage, BY_HAND, ByHand(ACCOUNT)) == captured


def test_each_action_makes_its_events(stage: Stage[Shape]) -> None:
    for variant in (OURS, BY_HAND):
        with stage.connect(variant) as connection:
            for action in capture.actions(connection, ACCOUNT, SIZE, 0, variant):
                before = value(connection, "SELECT count(*) FROM audit.event")
                action.work()
                after = value(connection, "SELECT count(*) FROM audit.event")
                assert after - before == action.events, (variant.name, action.name)


def test_meter_sees_cpu_wal_and_growth(stage: Stage[Shape]) -> None:
    with stage.connect(OURS) as connection:
        before = meter.sizes(connection, ACCOUNT.tables)
        cost = meter.Meter(connection).measure(
            lambda: connection.execute(ACCOUNT.insert_bulk(1001, 1200))
        )
        grown = meter.growth(before, meter.sizes(connection, ACCOUNT.tables))
        idle = meter.Meter(connection).measure(lambda: None)
    assert idle.cpu_ns is not None
    assert cost.cpu_ns is not None
    assert 0 <= idle.cpu_ns < cost.cpu_ns <= cost.elapsed_ns
    assert 0 <= idle.wal_bytes < 1000 < cost.wal_bytes
    assert grown["heap", "audit.event"] > 0
    assert {name for _, name in grown if "account" in name} == set()
    assert meter.by_kind(grown)["heap"] >= grown["heap", "audit.event"]


def test_cpu_time_of_another_machine_is_not_read(
    stage: Stage[Shape], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.connect(BARE) as connection:
        assert meter.schedstat(connection) is not None
        monkeypatch.setattr(type(connection.info), "backend_pid", 1)
        assert meter.schedstat(connection) is None
        assert meter.Meter(connection).measure(lambda: None).cpu_ns is None


def test_toast_counts_for_its_table(stage: Stage[Shape]) -> None:
    with stage.connect(BARE) as connection:
        connection.execute("CREATE TABLE log (entry text)")
        connection.execute("ALTER TABLE log ALTER entry SET STORAGE EXTERNAL")
        before = meter.sizes(connection, ACCOUNT.tables)
        connection.execute("INSERT INTO log SELECT repeat('x', 9000)")
        grown = meter.growth(before, meter.sizes(connection, ACCOUNT.tables))
    assert set(grown) == {("heap", "log"), ("toast", "log")}
    assert grown["toast", "log"] >= 9000


@pytest.mark.slow
def test_reader_of_a_slot_is_measured_as_well(server: Server) -> None:
    def slot(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
        connection.execute("SELECT pg_create_logical_replication_slot('bench', 'test_decoding')")

    variant = Variant("decoding", "logical decoding", slot, logical=True)
    with LocalServer(server.bindir, {"wal_level": "logical"}) as logical:
        url = sqlalchemy_url(logical.url())
        figures = capture.measure(url, [BARE, variant], SIZE, 1, QUIET)
        with logical.connect() as connection:
            assert value(connection, "SELECT count(*) FROM pg_replication_slots") == 0
    for action in figures["decoding"].values():
        assert 0 < action["reader_us"]["median"] < action["cpu_us"]["median"]


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert meter.percentiles(range(1, 101)) == [50, 95, 99]
    assert meter.percentiles([7.0]) == [7.0, 7.0, 7.0]


def test_rounds_are_taken_in_turn_and_the_first_is_dropped() -> None:
    order: list[tuple[str, int]] = []

    def run(variant: Variant, number: int) -> dict[str, dict[str, float]]:
        order.append((variant.name, number))
        return {"work": {"cpu_us": 100.0 if number == 0 else number}}

    kept = take_rounds([BARE, OURS], 2, run, QUIET)
    bare, ours = BARE.name, OURS.name
    assert order == [(bare, 0), (ours, 0), (ours, 1), (bare, 1), (bare, 2), (ours, 2)]
    assert [one["work"]["cpu_us"] for one in kept[ours]] == [1, 2]
    assert rotated([BARE, OURS, BY_HAND], 4) == [OURS, BY_HAND, BARE]


def test_differences_and_ratios_are_taken_round_by_round() -> None:
    taken = {
        "bare": [{"work": {"cpu_us": value}} for value in (10.0, 20.0, 40.0)],
        "ours": [{"work": {"cpu_us": value}} for value in (15.0, 60.0, 50.0)],
    }
    assert summarise(taken, "bare")["ours"]["work"]["cpu_us"] == {
        "median": 50.0,
        "min": 15.0,
        "max": 60.0,
        "added": 10.0,
        "ratio": 1.5,
    }
