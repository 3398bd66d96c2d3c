"""Who may do what: the whole matrix, read from the catalogs and tried out."""

from __future__ import annotations

import pytest
from psycopg import errors

from servers import Database
from trail import Connection, acting_as, attached, event, events, refused, rows

PUBLIC = {"set_context"}
READ_FUNCTIONS = {
    "history",
    "transaction_changes",
    "actor_activity",
    "search",
    "event_counts",
    "actor_counts",
    "status",
    "check",
    "transaction_id",
}
WRITE_FUNCTIONS = {
    "attach",
    "grant_read",
    "set_retention",
    "place_hold",
    "release_hold",
    "set_archive",
    "start_archive",
    "finish_archive",
    "verify_archive",
    "revoke_read",
    "record_baseline",
    "enable_ddl_capture",
    "detach",
    "run_maintenance",
    "recount_events",
    "rehash_rows",
    "set_partitioning",
    "set_index_profile",
    "set_partition_backend",
    "schedule_jobs",
    "unschedule_jobs",
}
READABLE = {
    "change",
    "column_change",
    "baseline",
    "event",
    "event_count",
    "legal_hold",
    "actor_count",
    "counting",
    "partition",
    "tracked_table",
    "table_reader",
    "maintenance_run",
    "setting",
}
EXECUTE = {
    "app": PUBLIC,
    "audit_reader": PUBLIC | READ_FUNCTIONS,
    "audit_admin": PUBLIC | READ_FUNCTIONS | WRITE_FUNCTIONS,
}
SELECT = {"app": set(), "audit_reader": READABLE, "audit_admin": READABLE | {"archive"}}


@pytest.mark.parametrize("role", EXECUTE)
def test_a_role_may_call_these_public_functions_and_no_others(tx: Connection, role: str) -> None:
    query = """
        SELECT proname FROM pg_proc WHERE pronamespace = 'audit'::regnamespace
           AND has_function_privilege(%s, oid, 'EXECUTE')
           AND NOT starts_with(proname, '_') AND NOT starts_with(proname, 'capture_')
    """
    assert {row["proname"] for row in rows(tx, query, (role,))} == EXECUTE[role]


def test_the_application_may_call_nothing_internal(tx: Connection) -> None:
    query = """
        SELECT proname FROM pg_proc WHERE pronamespace = 'audit'::regnamespace
           AND has_function_privilege('app', oid, 'EXECUTE')
    """
    assert rows(tx, query) == [{"proname": "set_context"}]


@pytest.mark.parametrize("role", SELECT)
def test_a_role_may_read_these_relations_and_no_others(tx: Connection, role: str) -> None:
    query = """
        SELECT relname FROM pg_class WHERE relnamespace = 'audit'::regnamespace
           AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
           AND CASE relkind WHEN 'S' THEN has_sequence_privilege(%(role)s, oid, 'SELECT,USAGE')
                    ELSE has_any_column_privilege(%(role)s, oid, 'SELECT') END
    """
    assert {row["relname"] for row in rows(tx, query, {"role": role})} == SELECT[role]


@pytest.mark.parametrize("role", SELECT)
def test_no_role_may_write_to_the_trail(tx: Connection, role: str) -> None:
    query = """
        SELECT relname, privilege FROM pg_class,
               unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
         WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p', 'v')
           AND (has_table_privilege(%(role)s, oid, privilege)
                OR privilege IN ('INSERT', 'UPDATE', 'REFERENCES')
                   AND has_any_column_privilege(%(role)s, oid, privilege))
    """
    settings = [{"relname": "setting", "privilege": "UPDATE"}] if role == "audit_admin" else []
    assert rows(tx, query, {"role": role}) == settings


def test_an_administrator_may_set_the_default_window_and_nothing_else(root_tx: Connection) -> None:
    with acting_as(root_tx, "audit_admin"):
        root_tx.execute("UPDATE audit.setting SET default_window = '1 year'")
        refused(root_tx, errors.InsufficientPrivilege, "UPDATE audit.setting SET premake = 9")


@pytest.mark.parametrize("role", SELECT)
def test_no_role_may_create_in_the_schema(tx: Connection, role: str) -> None:
    query = """
        SELECT has_schema_privilege(%(role)s, 'audit', 'USAGE') AS usage,
               has_schema_privilege(%(role)s, 'audit', 'CREATE') AS create
    """
    assert rows(tx, query, {"role": role}) == [{"usage": True, "create": False}]


def test_the_roles_cannot_log_in_and_are_no_superusers(tx: Connection) -> None:
    query = """
        SELECT rolname FROM pg_roles WHERE rolname LIKE 'audit%'
           AND NOT (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)
    """
    assert len(rows(tx, query)) == 4


def test_the_application_is_refused_in_practice(database: Database) -> None:
    with database.connect("app") as app:
        for name in ("event", "setting", "event_default"):
            for statement in (
                f"SELECT * FROM audit.{name}",
                f"DELETE FROM audit.{name}",
                f"INSERT INTO audit.{name} DEFAULT VALUES",
            ):
                refused(app, errors.InsufficientPrivilege, statement, message=name)
        for name in ("event", "setting", "tracked_table", "maintenance_run"):
            refused(app, errors.InsufficientPrivilege, f"TRUNCATE audit.{name}", message=name)
        for call in (
            "attach('pg_class')",
            "history('pg_class')",
            "run_maintenance()",
            "set_partitioning('day', 1)",
            "set_partition_backend('native')",
            "status()",
            "actor_activity('ann')",
            "_context_columns('{}')",
            "_check_context('{}')",
            "_register_table('pg_class', NULL)",
            "apply_privileges()",
        ):
            refused(app, errors.InsufficientPrivilege, f"SELECT audit.{call}")


def test_an_administrator_attaches_a_table_it_has_the_trigger_privilege_on(
    root_tx: Connection,
) -> None:
    root_tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY)")
    root_tx.execute("GRANT USAGE ON SCHEMA app_data TO audit_admin, app")
    root_tx.execute("GRANT TRIGGER ON app_data.t TO audit_admin; GRANT ALL ON app_data.t TO app")
    with acting_as(root_tx, "audit_admin"):
        for mode in ("row", "statement"):
            root_tx.execute("SELECT audit.attach('app_data.t', %s)", (mode,))
    with acting_as(root_tx, "app"):
        root_tx.execute("INSERT INTO app_data.t VALUES (1)")
    with acting_as(root_tx, "audit_admin"):
        assert events(root_tx) == [event("insert", {"id": 1}, None, {"id": 1})]


def test_it_grants_again_what_was_revoked(tx: Connection) -> None:
    tx.execute("REVOKE SELECT ON audit.change FROM audit_reader")
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("SELECT audit.apply_privileges()")
    query = "SELECT has_table_privilege('audit_reader', 'audit.change', 'SELECT') AS may"
    assert rows(tx, query) == [{"may": True}]
