"""What an upgrade or downgrade refuses: with the reason and the remedy, changing nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from psycopg import sql

from audit_schema import schema
from audit_schema.errors import AuditSchemaError
from audit_schema.replaceable import MIGRATIONS
from servers import ROOT, Database, Server

from .conftest import DumpSchema, quietly


def refused(command: object, *arguments: str, **options: object) -> str:
    """The message with which a command of audit_schema.schema refuses."""
    with pytest.raises(AuditSchemaError) as caught:
        quietly(command, *arguments, **options)  # type: ignore[arg-type]
    return str(caught.value)


def run_as_admin(database: Database, *statements: str) -> None:
    with database.connect("postgres") as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "made", ["CREATE TABLE audit.log (id int)", "CREATE FUNCTION audit.f() RETURNS int RETURN 1"]
)
def test_a_foreign_schema_audit_is_left_alone(
    made: str, blank_database: Database, dump_schema: DumpSchema
) -> None:
    run_as_admin(blank_database, "CREATE SCHEMA audit", made)
    before = dump_schema(blank_database)
    message = refused(schema.upgrade, blank_database.url())
    assert 'schema "audit" exists already and was not made by audit_schema' in message
    assert "RENAME" in message
    assert dump_schema(blank_database) == before


def test_a_half_installed_schema_is_said_to_be_so(database: Database) -> None:
    run_as_admin(database, "DELETE FROM audit.schema_version")
    message = refused(schema.upgrade, database.url())
    assert 'schema "audit" is half installed' in message
    assert "INSERT INTO audit.schema_version" in message


def test_what_was_altered_since_the_last_upgrade_is_said(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    schema.upgrade(database.url())
    assert "is not as the last upgrade left it" not in capsys.readouterr().err
    run_as_admin(
        database,
        "ALTER FUNCTION audit.history RESET ALL",
        "CREATE VIEW audit.mine AS TABLE pg_class",
    )
    schema.upgrade(database.url())
    said = capsys.readouterr().err
    assert "WARNING: the schema audit is not as the last upgrade left it:" in said
    assert "audit.mine: it does not belong to the audit trail" in said
    assert "it was altered" in said


def test_a_planted_schema_is_not_trusted_for_what_it_says(blank_database: Database) -> None:
    """Somebody who may create schemas waits for a superuser to run his trigger."""
    run_as_admin(
        blank_database,
        "CREATE SCHEMA audit AUTHORIZATION app",
        "CREATE TABLE audit.schema_version (version_num varchar(32) PRIMARY KEY)",
        "ALTER TABLE audit.schema_version OWNER TO app",
    )
    for user in ("postgres", "deployer"):
        message = refused(schema.upgrade, blank_database.url(user))
        assert 'schema "audit" belongs to role "app", not to "audit_owner"' in message
    with blank_database.connect("postgres") as connection:
        member = connection.execute("SELECT pg_has_role('deployer', 'app', 'MEMBER')").fetchone()
    assert member == (False,)


def test_a_schema_in_which_others_may_create_is_refused(database: Database) -> None:
    run_as_admin(database, "GRANT CREATE ON SCHEMA audit TO app")
    message = refused(schema.upgrade, database.url())
    assert "others than its owner may create objects" in message
    assert "REVOKE CREATE ON SCHEMA audit" in message


def test_an_empty_schema_of_another_owner_is_refused(blank_database: Database) -> None:
    run_as_admin(blank_database, "CREATE SCHEMA audit")
    message = refused(schema.upgrade, blank_database.url())
    assert "ALTER SCHEMA audit OWNER TO audit_owner;" in message


def test_without_create_on_the_database_the_grant_is_named(
    blank_database: Database, dump_schema: DumpSchema
) -> None:
    run_as_admin(blank_database, f"REVOKE CREATE ON DATABASE {blank_database.name} FROM deployer")
    before = dump_schema(blank_database)
    message = refused(schema.upgrade, blank_database.url())
    assert 'role "deployer" may not create schemas' in message
    assert f"GRANT CREATE ON DATABASE {blank_database.name} TO deployer;" in message
    assert dump_schema(blank_database) == before


@pytest.fixture
def plain_deployer(blank_database: Database) -> str:
    """A role that may create schemas but no roles."""
    run_as_admin(
        blank_database,
        "DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN END $$",
        f"GRANT CREATE ON DATABASE {blank_database.name} TO plain",
    )
    return "plain"


def test_a_role_that_may_not_create_roles_is_told_what_a_dba_must_run(
    blank_database: Database, plain_deployer: str
) -> None:
    message = refused(
        schema.upgrade,
        blank_database.url(plain_deployer),
        owner_role="mine_owner",
        admin_role="mine_admin",
        reader_role="mine_reader",
        nobody_role="mine_nobody",
    )
    assert 'role "plain" may not create roles' in message
    assert "CREATE ROLE mine_owner NOLOGIN;" in message
    assert "GRANT mine_owner TO plain; GRANT mine_nobody TO mine_owner;" in message
    assert "-x owner_role=" in message


def test_a_role_that_may_not_create_roles_can_name_existing_ones(
    blank_database: Database, plain_deployer: str
) -> None:
    names = {
        kind: f"{kind}_{blank_database.name}" for kind in ("owner", "admin", "reader", "nobody")
    }
    run_as_admin(blank_database, *(f"CREATE ROLE {name}" for name in names.values()))
    run_as_admin(
        blank_database,
        f"GRANT {names['owner']} TO {plain_deployer}",
        f"GRANT {names['nobody']} TO {names['owner']}",
    )
    roles = {f"{kind}_role": name for kind, name in names.items()}
    quietly(schema.upgrade, blank_database.url(plain_deployer), **roles)

    with blank_database.connect("postgres") as connection:
        owner = connection.execute(
            "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'audit'"
        ).fetchone()
        readable = connection.execute(
            "SELECT has_table_privilege(%s, 'audit.change', 'SELECT'),"
            " has_function_privilege(%s, to_regproc('audit.attach'), 'EXECUTE'),"
            " has_table_privilege('audit_reader', 'audit.change', 'SELECT')",
            (names["reader"], names["admin"]),
        ).fetchone()
    assert owner == (names["owner"],)
    assert readable == (True, True, False)

    # later commands are told the owner only, and a downgrade keeps what it did not make
    url, owner_role = blank_database.url(plain_deployer), names["owner"]
    message = refused(schema.upgrade, url)
    assert f'schema "audit" belongs to role "{owner_role}", not to "audit_owner"' in message
    assert f"owner_role={owner_role}" in message
    quietly(schema.downgrade, url, "0001", owner_role=owner_role)
    quietly(schema.upgrade, url, owner_role=owner_role)
    quietly(schema.downgrade, url, "base", owner_role=owner_role)
    with blank_database.connect("postgres") as connection:
        query = sql.SQL("SELECT count(*) FROM pg_roles WHERE rolname = ANY ({})")
        kept = connection.execute(query.format(sql.Literal(list(names.values())))).fetchone()
        assert kept == (4,)
        for name in names.values():
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_stranger_may_not_upgrade(database: Database, plain_deployer: str) -> None:
    message = refused(schema.upgrade, database.url(plain_deployer))
    assert 'role "plain" may not act as "audit_owner"' in message
    assert "GRANT audit_owner TO plain;" in message


def test_an_older_server_is_refused(blank_database: Database) -> None:
    """No such server is at hand: ask for a version that none has."""
    script = (MIGRATIONS / "bootstrap.sql").read_text()
    assert "< 150000" in script
    with (
        blank_database.connect() as connection,
        pytest.raises(Exception, match="needs PostgreSQL 15 or newer, this server is") as caught,
    ):
        connection.execute(script.replace("< 150000", "< 990000").encode())
    assert caught.value.sqlstate == "0A000"  # type: ignore[attr-defined]


def test_a_trail_with_events_is_not_dropped_by_accident(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE app_data.orders (id int PRIMARY KEY)")
        connection.execute("SELECT audit.attach('app_data.orders')")
        connection.execute("INSERT INTO app_data.orders VALUES (1)")
    message = refused(schema.downgrade, database.url(), "base")
    assert "changes of these tables are still captured: app_data.orders" in message
    assert "drop_trail=yes" in message

    with database.connect() as connection:
        connection.execute("SELECT audit.detach('app_data.orders')")
    message = refused(schema.downgrade, database.url(), "base")
    assert "the audit trail holds events" in message

    with database.connect() as connection:
        connection.execute("SELECT audit.attach('app_data.orders')")
    quietly(schema.downgrade, database.url(), "base", drop_trail=True)
    with database.connect() as connection:
        connection.execute("INSERT INTO app_data.orders VALUES (2)")
        schemas = connection.execute("SELECT to_regnamespace('audit')").fetchone()
    assert schemas == (None,)


def test_a_newer_database_is_said_to_be_newer(database: Database) -> None:
    run_as_admin(database, "UPDATE audit.schema_version SET version_num = '9999'")
    assert "newer" in refused(schema.upgrade, database.url())


def test_a_downgrade_goes_through_without_pg_partman_as_well(server: Server) -> None:
    server.require("pg_partman")
    with server.clone("partman") as database:
        run_as_admin(database, "DROP EXTENSION pg_partman CASCADE")
        quietly(schema.downgrade, database.url(), "base")
        with database.connect() as connection:
            assert connection.execute("SELECT to_regnamespace('audit')").fetchone() == (None,)


def test_alembic_says_in_one_line_what_the_server_refuses_or_that_there_is_none(
    blank_database: Database,
) -> None:
    def alembic(*arguments: str, url: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "alembic", *arguments]
        environment = {**os.environ, "DATABASE_URL": url}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.returncode, done.stderr

    code, said = alembic("upgrade", "head", url="postgresql://nobody@127.0.0.1:1/none")
    assert code != 0
    assert "can't connect to" in said
    assert "Traceback" not in said

    run_as_admin(blank_database, "CREATE SCHEMA audit")
    code, said = alembic("upgrade", "head", url=blank_database.url())
    assert code != 0
    assert 'schema "audit" belongs to role "postgres"' in said
    assert "Traceback" not in said

    run_as_admin(blank_database, "DROP SCHEMA audit")
    assert alembic("stamp", "head", url=blank_database.url())[0] == 0


def test_a_role_with_rights_cannot_be_nobody(blank_database: Database) -> None:
    for name in ("postgres", "deployer", "audit_owner"):
        message = refused(schema.upgrade, blank_database.url("postgres"), nobody_role=name)
        assert f'role "{name}" has rights of its own' in message


def test_roles_go_with_the_last_installation_of_a_cluster(server: Server) -> None:
    names = [f"last_{kind}" for kind in ("owner", "admin", "reader", "nobody")]
    roles = {f"{name.removeprefix('last_')}_role": name for name in names}
    query = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'last!_%' ESCAPE '!'"
    with server.clone("blank") as one, server.clone("blank") as two:
        for database in (one, two):
            quietly(schema.upgrade, database.url(), **roles)
        quietly(schema.downgrade, one.url(), "base", owner_role="last_owner")
        assert server.admin.execute(query).fetchone() == (4,)
        quietly(schema.downgrade, two.url(), "base", owner_role="last_owner")
        assert server.admin.execute(query).fetchone() == (0,)
