"""upgrade(), downgrade() and current() on each kind of target."""

from __future__ import annotations

import io

import pytest
import sqlalchemy
from sqlalchemy import text

import audit_schema
from audit_schema import AuditSchemaError, schema
from servers import Database


def test_url_engine_and_connection(blank_database: Database) -> None:
    url = blank_database.url(driver="psycopg")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    assert audit_schema.current(url) is None
    assert audit_schema.current(engine) is None
    audit_schema.upgrade(engine, "0001")
    assert audit_schema.current(engine) == "0001"
    audit_schema.upgrade(blank_database.url())
    with engine.connect() as connection:
        head = audit_schema.current(connection)
        assert head is not None
        assert head > "0001"
        audit_schema.upgrade(connection)
        connection.rollback()
        audit_schema.downgrade(connection, "base")
        assert audit_schema.current(connection) is None
    assert audit_schema.current(url) is None


def test_transaction_of_the_caller(blank_database: Database) -> None:
    engine = sqlalchemy.create_engine(
        blank_database.url(driver="psycopg"), poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection, connection.begin() as transaction:
        audit_schema.upgrade(connection)
        assert audit_schema.current(connection) is not None
        transaction.rollback()
    assert audit_schema.current(engine) is None


def test_database_url_is_the_default(
    blank_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", blank_database.url())
    audit_schema.upgrade()
    assert audit_schema.current() is not None


def test_roles_of_other_names(blank_database: Database) -> None:
    with blank_database.connect("postgres", autocommit=True) as connection:
        connection.execute(
            "CREATE ROLE our_owner; CREATE ROLE our_admin; CREATE ROLE our_reader;"
            " CREATE ROLE our_nobody; GRANT our_nobody TO our_owner"
        )
        connection.execute("GRANT our_owner TO deployer")
        try:
            audit_schema.upgrade(
                blank_database.url(),
                owner_role="our_owner",
                admin_role="our_admin",
                reader_role="our_reader",
                nobody_role="our_nobody",
            )
            found = connection.execute(
                "SELECT (SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'audit'),"
                " has_schema_privilege('our_reader', 'audit', 'USAGE')"
            ).fetchone()
            assert found == ("our_owner", True)
        finally:
            audit_schema.downgrade(blank_database.url(), "base", owner_role="our_owner")
            connection.execute("DROP ROLE our_owner, our_admin, our_reader, our_nobody")


def test_newer_database(database: Database) -> None:
    with database.connect("postgres") as connection:
        connection.execute("UPDATE audit.schema_version SET version_num = '9999'")
    for call in (audit_schema.upgrade, lambda url: audit_schema.downgrade(url, "base")):
        with pytest.raises(AuditSchemaError, match=r"at revision 9999.*newer\nHINT: Upgrade"):
            call(database.url())
    assert audit_schema.current(database.url()) == "9999"


def test_unknown_revision(database: Database) -> None:
    with pytest.raises(AuditSchemaError, match="Can't locate revision identified by 'nope'"):
        audit_schema.upgrade(database.url(), "nope")


def test_events_are_not_dropped_by_accident(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE app_data.orders (id integer PRIMARY KEY)")
        connection.execute("SELECT audit.attach('app_data.orders')")
        connection.execute("INSERT INTO app_data.orders VALUES (1)")
        connection.execute("SELECT audit.detach('app_data.orders')")
    with pytest.raises(AuditSchemaError, match="drop_trail"):
        audit_schema.downgrade(database.url(), "base")
    audit_schema.downgrade(database.url(), "base", drop_trail=True)
    assert audit_schema.current(database.url()) is None


def test_what_the_server_refuses(blank_database: Database) -> None:
    with blank_database.connect("postgres") as connection:
        connection.execute("CREATE SCHEMA audit AUTHORIZATION deployer")
        connection.execute("CREATE TABLE audit.logs (id integer)")
    with pytest.raises(AuditSchemaError, match="was not made by audit_schema"):
        audit_schema.upgrade(blank_database.url())


def test_unreachable_server() -> None:
    with pytest.raises(AuditSchemaError, match="can't connect to"):
        audit_schema.upgrade("postgresql://127.0.0.1:1/nowhere")


def test_sql_installs_the_same(blank_database: Database) -> None:
    output = io.StringIO()
    schema.upgrade_sql(output)
    engine = sqlalchemy.create_engine(
        blank_database.url(driver="psycopg"), poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection:
        options = {"no_parameters": True}
        connection.exec_driver_sql(output.getvalue(), execution_options=options)
        connection.commit()
        connection.execute(text("SELECT * FROM audit.status()"))
    fresh = audit_schema.current(engine)
    audit_schema.upgrade(engine)
    assert audit_schema.current(engine) == fresh
