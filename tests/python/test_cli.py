"""The command audit-schema: what it prints, its exit codes, and how it refuses bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

import audit_schema
from audit_schema import demo
from audit_schema.cli import app
from servers import Database, Server

Command = Callable[..., Any]
TABLE = "app_data.orders"


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs audit-schema on a migrated database with two tables."""
    with database.connect() as connection:
        connection.execute(f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, amount numeric)")
        connection.execute('CREATE TABLE app_data."No key" (a integer)')
        connection.execute("CREATE TABLE app_data.pairs (a int, b int, PRIMARY KEY (a, b))")
    monkeypatch.setenv("DATABASE_URL", database.url())
    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_attach_history_detach(command: Command, database: Database) -> None:
    result = command("attach", TABLE, 'app_data."No key"', "app_data.pairs")
    assert (result.exit_code, result.stdout) == (
        0,
        f'attached: {TABLE}, app_data."No key", app_data.pairs\n',
    )
    assert 'NOTICE: table app_data."No key" has no primary key' in result.stderr
    with audit_schema.install(database.connect()) as connection, audit_schema.context("7", why="x"):
        connection.execute(f"INSERT INTO {TABLE} VALUES (1, 1.10)")
        connection.execute(f"UPDATE {TABLE} SET amount = 1.20")
        connection.execute("INSERT INTO app_data.pairs VALUES (1, 2)")
    result = command("history", TABLE, "1")
    assert result.exit_code == 0
    assert 'update   app_data.orders {"id": 1}  by 7 {"why": "x"}' in result.stdout
    assert "    amount: 1.10 → 1.20\n" in result.stdout
    pair = json.loads(command("history", "app_data.pairs", '{"a": 1, "b": 2}', "--json").stdout)
    assert [change["new_values"] for change in pair] == [{"a": 1, "b": 2}]
    changes = json.loads(command("activity", "7", "--json", "--since=-infinity").stdout)
    assert len(changes) == 3
    assert command("activity", "7", "--limit", "1").stdout.count("by 7") == 1
    same = command("transaction", changes[0]["transaction_id"], "--json")
    assert json.loads(same.stdout) == changes[::-1]
    assert command("activity", "nobody").stdout == "no changes in this period\n"
    found = command("search", "--metadata", '{"why": "x"}', "--json").stdout
    assert json.loads(found) == changes
    found = command("search", "--new-values", '{"amount": 1.1}', "--json").stdout
    assert json.loads(found) == changes[-1:]
    result = command("detach", TABLE, 'app_data."No key"')
    assert result.stdout == f'{TABLE}: detached\napp_data."No key": detached\n'
    assert command("detach", TABLE).stdout == f"{TABLE}: was not attached\n"
    assert command("history", TABLE).stdout.count("by 7") == 2


def test_attach_with_a_policy(command: Command, database: Database) -> None:
    policy = ["--exclude", "note", "--redact", "card", "--hash", "email", "--require-actor"]
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE app_data.person"
            " (id integer PRIMARY KEY, note text, card text, email text)"
        )
        assert command("attach", "app_data.person", *policy).exit_code == 0
        query = "SELECT policy, require_actor FROM audit.tracked_table"
        assert connection.execute(query).fetchone() == (
            {"exclude": ["note"], "redact": ["card"], "hash": ["email"]},
            True,
        )
        assert command("attach", "app_data.person", "--only", "note").exit_code == 0
        assert connection.execute(query).fetchone() == ({"only": ["id", "note"]}, False)
    command("detach", "app_data.person")
    shown = command("history", "app_data.person").stdout
    assert "detach" in shown
    assert "require_actor" in shown
    assert command("attach", "app_data.person", "--hash", "age").exit_code == 2


def test_baseline(command: Command, database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute(f"INSERT INTO {TABLE} (id) SELECT generate_series(1, 25)")
    assert command("baseline", TABLE).exit_code == 2
    command("attach", TABLE)
    assert command("baseline", TABLE, "--batch", "10").stdout == f"{TABLE}: 25 rows recorded\n"
    again = command("baseline", TABLE, "--json").stdout
    assert json.loads(again) == {"table": TABLE, "rows": 0}
    assert "baseline" in command("history", TABLE, "17").stdout


def test_check(command: Command, database: Database) -> None:
    command("attach", TABLE)
    found = command("check")
    assert (found.exit_code, found.stdout) == (0, "no problems found\n")
    assert command("check", "--json").stdout == "[]\n"
    with database.connect(autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER _audit_insert")
    found = command("check")
    assert found.exit_code == 1
    assert "_audit_insert" in found.stdout
    [problem] = json.loads(command("check", "--json").stdout)
    assert list(problem) == ["subject", "problem", "remedy"]


def test_attach_all_or_none(command: Command) -> None:
    assert command("attach", TABLE, "missing").exit_code == 2
    assert command("detach", TABLE).stdout == f"{TABLE}: was not attached\n"


def test_status(command: Command, database: Database) -> None:
    with database.connect("postgres") as connection:
        connection.execute("SELECT audit.run_maintenance()")
    assert "future partitions" in command("status").stdout
    states = {row["item"]: row["state"] for row in json.loads(command("status", "--json").stdout)}
    assert states["future partitions"] == "ok"
    command("attach", TABLE)
    with database.connect() as connection:
        connection.execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
    result = command("status")
    assert result.exit_code == 1
    assert "warning" in result.stdout


def test_maintain_and_set_partitioning(command: Command) -> None:
    assert command("set-partitioning", "week", "6").stdout == "partitions by week, 6 ahead\n"
    result = command("maintain")
    assert result.exit_code == 0
    assert result.stdout.startswith("maintenance ok: ")
    assert json.loads(command("maintain", "--json").stdout)["status"] == "ok"


def test_set_index_profile(command: Command) -> None:
    result = command("set-index-profile", "lean", "search")
    assert result.stdout == "indexes: lean while written to, search once closed\n"
    items = {row["item"]: row["value"] for row in json.loads(command("status", "--json").stdout)}
    assert items["index profiles"] == "lean while written to, search once closed; 0 closing"


@pytest.mark.slow
def test_maintain_goes_on_until_all_rows_are_home(command: Command, database: Database) -> None:
    with database.connect("postgres", autocommit=True) as connection:
        for years, count in ((3, 100_000), (2, 5), (1, 5)):
            connection.execute(
                """
                INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
                SELECT now() - %s * interval '1 year', now(), 1, 1, 'truncate'
                  FROM generate_series(1, %s)
                """,
                [years, count],
            )
        connection.execute("DELETE FROM audit.maintenance_run")
        found = json.loads(command("maintain", "--json").stdout)
        runs = connection.execute("SELECT rows_moved FROM audit.maintenance_run ORDER BY id")
        assert runs.fetchall() == [(100_000,), (10,), (0,)]
    wanted = {"status": "ok", "partitions_created": 3, "rows_moved": 100_010, "rows_left": 0}
    assert {name: found[name] for name in wanted} == wanted


def test_maintain_goes_on_until_nothing_more_expires(command: Command, database: Database) -> None:
    with database.connect("postgres", autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.attach('t')")
        connection.execute("""
            INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
            SELECT now() - y * interval '1 year', now(), 1, 1, 'truncate'
              FROM generate_series(1, 3) AS y
        """)
        command("maintain")
        connection.execute("""
            UPDATE audit.counting SET settled_to = date_trunc('day', now()),
                                      counted_to = date_trunc('day', now());
            SELECT audit.set_retention('30 days');
        """)
        connection.execute("DELETE FROM audit.maintenance_run")
        assert "0 rows moved, 3 events expired" in command("maintain").stdout
        runs = connection.execute("SELECT events_expired FROM audit.maintenance_run ORDER BY id")
        assert runs.fetchall() == [(1,), (1,), (1,), (0,)]


def test_set_partition_backend(command: Command) -> None:
    assert command("set-partition-backend", "native").stdout == "partitions made by native\n"


def test_failed_maintenance_is_a_finding(command: Command, database: Database) -> None:
    with database.connect("postgres") as connection:
        connection.execute("ALTER TABLE audit.event_default RENAME TO hidden")
    result = command("maintain")
    assert result.exit_code == 1
    assert result.stdout.startswith("maintenance failed: ")


def test_upgrade_and_downgrade(blank_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", blank_database.url())
    run = CliRunner().invoke
    head = run(app, ["upgrade"])
    assert head.exit_code == 0
    assert "(before: none)" in head.stdout
    assert run(app, ["downgrade", "0001"]).stdout == "audit schema at revision 0001\n"
    assert "(before: 0001)" in run(app, ["upgrade"]).stdout
    assert run(app, ["downgrade", "base"]).stdout == "audit schema at revision none\n"


def test_upgrade_sql_needs_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    result = CliRunner().invoke(app, ["upgrade", "--sql"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.startswith("BEGIN;")
    assert "CREATE OR REPLACE FUNCTION audit.attach(" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attach", "missing"], 'relation "missing" does not exist'),
        (["attach", TABLE, "--mode", "x"], "unknown capture mode 'x'\nHINT: Use statement"),
        (["attach", TABLE, "--key", "x"], "has no column"),
        (["attach", "pg_class"], "HINT"),
        (["detach", "missing"], 'relation "missing" does not exist'),
        (["history", "missing"], 'relation "missing" does not exist'),
        (["history", "pg_class"], "was never attached"),
        (["history", TABLE, '{"id"'], """the key '{"id"' is not JSON"""),
        (["history", TABLE, "--since", "tomorow"], "invalid input syntax for type timestamp"),
        (["history", TABLE, "--limit", "0"], "Invalid value for '--limit'"),
        (["activity", "7", "--before", "x"], "not a cursor: 'x'\nHINT"),
        (["search"], "nothing to search for"),
        (["search", "--metadata", "{"], "the option --metadata '{' is not JSON"),
        (["set-index-profile", "lean", "x"], "unknown index profile 'x'\nHINT: Use lean"),
        (["transaction", "x"], 'invalid input syntax for type uuid: "x"'),
        (["set-partitioning", "hour", "4"], "hour"),
        (["set-partitioning", "day", "0"], "premake must be between"),
        (["set-partition-backend", "x"], "unknown partition backend 'x'\nHINT: Use native"),
        (["upgrade", "nope"], "Can't locate revision identified by 'nope'"),
        (["downgrade", "nope"], "Can't locate revision identified by 'nope'"),
        (["status", "--url", "postgresql://127.0.0.1:1/x"], "can't connect to"),
        (["upgrade", "--url", "postgresql://127.0.0.1:1/x"], "can't connect to"),
        (["demo", "--url", "postgresql://127.0.0.1:1/x"], "can't connect to"),
        (["status", "--url", "sqlite:///x"], "needs PostgreSQL, the URL says 'sqlite'"),
        (["status", "--url", "nonsense"], "the database URL can't be read"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_input(command: Command, arguments: list[str], message: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_key_of_the_wrong_type(command: Command) -> None:
    command("attach", TABLE)
    result = command("history", TABLE, "seventeen")
    assert result.exit_code == 2
    assert 'invalid input syntax for type bigint: "seventeen"' in result.stderr


@pytest.mark.parametrize("arguments", [["status"], ["maintain"], ["attach", "app_data.x"]])
def test_not_installed(
    blank_database: Database, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", blank_database.url())
    with blank_database.connect() as connection:
        connection.execute("CREATE TABLE app_data.x (a integer)")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "HINT: Install it first: audit-schema upgrade" in result.stderr


def test_role_without_rights(command: Command, database: Database) -> None:
    for arguments in (["status"], ["maintain"], ["set-partitioning", "day", "3"]):
        result = command(*arguments, "--url", database.url("app"))
        assert result.exit_code == 2
        assert "permission denied" in result.stderr


def test_every_command_has_an_example() -> None:
    for name in app.registered_commands:
        assert name.callback is not None
        verb = name.callback.__name__.replace("_", "-")
        assert f"Example: audit-schema {verb}" in (name.callback.__doc__ or "")


def test_help_imports_no_driver() -> None:
    code = (
        "import sys; from audit_schema.cli import app; app(['--help'], standalone_mode=False);"
        "print([m for m in ('psycopg', 'sqlalchemy', 'alembic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture
def small_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SCALE", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("small_bank")
def test_demo_on_a_server_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    result = CliRunner().invoke(app, ["demo", "--seconds", "1", "--clients", "2", "--json"])
    assert result.exit_code == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["events"] > 0
    assert [row["mismatches"] for row in figures["reconciled"]] == [0, 0, 0, 0]
    assert figures["reconciled"][0]["rows_checked"] == 100_000


@pytest.mark.slow
@pytest.mark.usefixtures("small_bank")
def test_demo_on_a_given_server_leaves_nothing(server: Server) -> None:
    arguments = ["demo", "--seconds", "1", "--clients", "2", "--url", server.url(tcp=True)]
    query = (
        "SELECT (SELECT array_agg(rolname ORDER BY 1) FROM pg_roles),"
        " (SELECT array_agg(datname ORDER BY 1) FROM pg_database)"
    )
    before = server.admin.execute(query).fetchone()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "clerk-1" in result.stdout
    assert server.admin.execute(query).fetchone() == before


@pytest.mark.slow
@pytest.mark.usefixtures("small_bank")
def test_demo_finds_a_change_behind_the_back_of_the_trail(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = demo._reconcile

    def tampered(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
        connection.execute("ALTER TABLE pgbench_tellers DISABLE TRIGGER USER")
        connection.execute("UPDATE pgbench_tellers SET tbalance = tbalance + 1 WHERE tid = 1")
        connection.execute("ALTER TABLE pgbench_history DISABLE TRIGGER USER")
        connection.execute("UPDATE pgbench_history SET delta = 0 WHERE ctid = '(0,1)'")
        return honest(connection)

    monkeypatch.setattr(demo, "_reconcile", tampered)
    arguments = ["demo", "--seconds", "1", "--clients", "1", "--json", "--url", server.url()]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    found = {row["checked"]: row["mismatches"] for row in json.loads(result.stdout)["reconciled"]}
    assert found["pgbench_tellers"] == 1
    assert found["pgbench_accounts"] == 0
    assert found["pgbench_history"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("small_bank")
def test_kept_demo(server: Server) -> None:
    arguments = ["demo", "--seconds", "1", "--clients", "1", "--url", server.url(tcp=True)]
    try:
        result = CliRunner().invoke(app, [*arguments, "--keep"])
        assert result.exit_code == 0, result.stderr
        assert f"Kept: postgresql://postgres@127.0.0.1:{server.port}" in result.stdout
        again = CliRunner().invoke(app, arguments)
        assert again.exit_code == 2
        assert "HINT: Drop it first: DROP DATABASE audit_schema_demo;" in again.stderr
    finally:
        server.admin.execute("DROP DATABASE IF EXISTS audit_schema_demo WITH (FORCE)")
