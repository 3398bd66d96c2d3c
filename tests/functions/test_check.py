"""audit.check(): each thing that can go wrong is found, and its remedy mends it."""

from __future__ import annotations

import pytest
from psycopg import errors

from partitions import stray_event
from servers import Database, Server
from trail import MODES, Connection, Row, acting_as, attached, event, events, refused, rows, value


def problems(connection: Connection) -> list[Row]:
    return rows(connection, "SELECT * FROM audit.check()")


def mend(connection: Connection) -> None:
    """Do what each remedy says, and find nothing any more."""
    for found in problems(connection):
        connection.execute(found["remedy"])
    assert problems(connection) == []


def test_nothing_is_wrong_with_a_fresh_trail(tx: Connection) -> None:
    for mode in MODES:
        attached(tx, "id integer PRIMARY KEY", mode, f"t_{mode}")
    assert problems(tx) == []


def test_a_missing_disabled_or_altered_trigger_is_found(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY, n integer")
    tx.execute("""
        SELECT audit.attach('app_data.t', 'row', '{n}', p_redact => '{}', p_exclude => '{}',
                            p_require_actor => true)
    """)
    for damage, state in (
        ("DROP TRIGGER _audit_delete ON app_data.t", "missing"),
        ("ALTER TABLE app_data.t DISABLE TRIGGER _audit_delete", "disabled"),
        ("ALTER TABLE app_data.t ENABLE REPLICA TRIGGER _audit_delete", "disabled"),
        ("ALTER TABLE app_data.t ENABLE ALWAYS TRIGGER _audit_delete", "altered"),
        (
            """CREATE OR REPLACE TRIGGER _audit_delete AFTER DELETE ON app_data.t FOR EACH ROW
               WHEN (OLD.id > 5) EXECUTE FUNCTION audit.capture_row(1, '{id}', '{}')""",
            "altered",
        ),
    ):
        tx.execute(damage)
        [found] = problems(tx)
        assert found == {
            "subject": "app_data.t",
            "problem": f"trigger _audit_delete is {state}",
            "remedy": "SELECT audit.attach('app_data.t', p_mode => 'row', "
            "p_key_columns => '{n}', p_require_actor => true);",
        }
        mend(tx)


def test_a_trigger_that_is_disabled_in_a_partition_is_found(tx: Connection) -> None:
    tx.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    tx.execute("CREATE TABLE app_data.part PARTITION OF app_data.t DEFAULT")
    tx.execute("SELECT audit.attach('app_data.t')")
    assert problems(tx) == []
    tx.execute("ALTER TABLE app_data.part DISABLE TRIGGER _audit_insert")
    [found] = problems(tx)
    assert found["subject"] == "app_data.t"
    assert found["problem"] == "trigger _audit_insert is disabled in partition app_data.part"
    mend(tx)


def test_a_key_column_that_is_gone_is_found(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("ALTER TABLE app_data.t RENAME id TO number")
    [found] = problems(tx)
    assert found["problem"] == "key column id is gone"
    tx.execute("SELECT audit.attach('app_data.t')")
    assert problems(tx) == []


def test_a_policy_column_that_was_renamed_is_found(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY, card text")
    tx.execute("SELECT audit.attach('app_data.t', p_redact => '{card}')")
    tx.execute("ALTER TABLE app_data.t RENAME card TO number")
    assert {found["problem"] for found in problems(tx)} == {
        f"trigger _audit_{action} is altered" for action in ("insert", "update", "delete")
    }
    tx.execute("SELECT audit.attach('app_data.t', p_redact => '{number}')")
    assert problems(tx) == []


def test_a_table_that_is_gone_is_found_until_maintenance(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("DROP TABLE app_data.t")
    [found] = problems(tx)
    assert found["problem"] == "the table is gone"
    mend(tx)


def test_a_table_that_lost_all_triggers_is_not_gone(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    for action in ("insert", "update", "delete", "truncate"):
        tx.execute(f"DROP TRIGGER _audit_{action} ON app_data.t")
    assert len(problems(tx)) == 4
    mend(tx)


def test_a_table_that_inherits_by_now_is_found(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("CREATE TABLE app_data.child () INHERITS (app_data.t)")
    [found] = problems(tx)
    assert found["problem"] == "it inherits by now: by statement, rows are recorded twice"
    mend(tx)


def test_a_table_that_became_a_partition_is_found(tx: Connection) -> None:
    attached(tx, "id integer PRIMARY KEY")
    tx.execute("CREATE TABLE app_data.whole (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
    tx.execute("ALTER TABLE app_data.t DISABLE TRIGGER USER")
    tx.execute(
        "DROP TRIGGER _audit_insert ON app_data.t; DROP TRIGGER _audit_update ON app_data.t;"
        "DROP TRIGGER _audit_delete ON app_data.t"
    )
    tx.execute("ALTER TABLE app_data.whole ATTACH PARTITION app_data.t DEFAULT")
    assert "it is a partition of app_data.whole by now" in {
        found["problem"] for found in problems(tx)
    }


def test_a_table_that_must_be_attached_and_is_not_is_found(root_tx: Connection) -> None:
    attached(root_tx, "id integer PRIMARY KEY")
    root_tx.execute("CREATE TABLE app_data.u (id integer PRIMARY KEY)")
    root_tx.execute("CREATE TABLE app_data.scratch_1 (id integer)")
    assert problems(root_tx) == []
    with acting_as(root_tx, "audit_admin"):
        root_tx.execute(
            "UPDATE audit.setting SET must_attach = ARRAY['app\\_data.%', '!app\\_data.scratch%']"
        )
    [found] = problems(root_tx)
    assert found == {
        "subject": "app_data.u",
        "problem": "it must be attached (audit.setting.must_attach) and is not",
        "remedy": "SELECT audit.attach('app_data.u');",
    }
    mend(root_tx)


def test_an_altered_foreign_or_missing_function_is_found(root_tx: Connection) -> None:
    for damage, subject, problem in (
        (
            "ALTER FUNCTION audit.capture_insert() SECURITY INVOKER",
            "audit.capture_insert()",
            "it was altered",
        ),
        (
            "ALTER FUNCTION audit._row_key(jsonb, text[], oid) VOLATILE",
            "audit._row_key(jsonb,text[],oid)",
            "it was altered",
        ),
        (
            "CREATE OR REPLACE FUNCTION audit._mask(p_values jsonb, p_policy jsonb) RETURNS jsonb"
            " LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS 'SELECT $1'",
            "audit._mask(jsonb,jsonb)",
            "it was altered",
        ),
        (
            "CREATE FUNCTION audit.helper() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "audit.helper()",
            "it does not belong to the audit trail",
        ),
        (
            "DROP FUNCTION audit._foreign_casts",
            "audit._foreign_casts(oid)",
            "it is gone",
        ),
        (
            "ALTER VIEW audit.column_change SET (security_barrier = true)",
            "audit.column_change",
            "it was altered",
        ),
    ):
        root_tx.execute("SAVEPOINT before")
        root_tx.execute(damage)
        [found] = problems(root_tx)
        assert (found["subject"], found["problem"]) == (subject, problem)
        root_tx.execute("ROLLBACK TO before")
    assert problems(root_tx) == []


def test_another_major_version_may_print_bodies_otherwise(root_tx: Connection) -> None:
    root_tx.execute("ALTER FUNCTION audit._row_key(jsonb, text[], oid) VOLATILE")
    root_tx.execute("ALTER FUNCTION audit._mask(jsonb, jsonb) VOLATILE")
    root_tx.execute("UPDATE audit.installed_object SET server_major = server_major - 1")
    assert [found["subject"] for found in problems(root_tx)] == ["audit._mask(jsonb,jsonb)"]


def test_sessions_whose_triggers_do_not_fire_are_found(root_tx: Connection) -> None:
    root_tx.execute("ALTER ROLE app SET session_replication_role = replica")
    [found] = problems(root_tx)
    assert found["subject"] == "role app"
    assert "triggers do not fire" in found["problem"]
    root_tx.execute("ALTER ROLE app RESET session_replication_role")
    root_tx.execute("""
        DO $$ BEGIN EXECUTE format(
            'ALTER DATABASE %I SET session_replication_role = replica', current_database());
        END $$
    """)
    [found] = problems(root_tx)
    assert found["subject"] == f"database {root_tx.info.dbname}"


def test_what_status_warns_of_is_found(tx: Connection) -> None:
    stray_event(tx, "2 years")
    [found] = problems(tx)
    assert (found["subject"], found["problem"]) == ("default partitions", "hold rows")
    mend(tx)


def test_a_reader_may_ask_and_the_application_not(root_tx: Connection) -> None:
    with acting_as(root_tx, "audit_reader"):
        assert problems(root_tx) == []
    with acting_as(root_tx, "app"):
        refused(root_tx, errors.InsufficientPrivilege, "SELECT audit.check()", message="check")


def test_a_replica_session_is_captured_only_by_always(database: Database) -> None:
    with database.connect("postgres", autocommit=True) as db:
        for mode in MODES:
            table = attached(db, "id integer PRIMARY KEY", mode, f"t_{mode}")
            db.execute("SET session_replication_role = replica")
            db.execute(f"INSERT INTO {table} VALUES (1)")
            db.execute("RESET session_replication_role")
            assert events(db, f"t_{mode}") == []
            db.execute("SELECT audit.attach(%s, %s, p_enable_always => true)", (table, mode))
            assert problems(db) == []
            db.execute("SET session_replication_role = replica")
            db.execute(f"INSERT INTO {table} VALUES (2)")
            db.execute(f"TRUNCATE {table}")
            db.execute("RESET session_replication_role")
            assert events(db, f"t_{mode}") == [
                event("insert", {"id": 2}, None, {"id": 2}),
                event("truncate"),
            ]
            db.execute(f"ALTER TABLE {table} ENABLE TRIGGER _audit_insert")
            [found] = problems(db)
            assert "p_enable_always => true" in found["remedy"]
            mend(db)
            db.execute("SELECT audit.attach(%s, %s)", (table, mode))
            assert problems(db) == []


def test_always_reaches_partitions_that_are_there_and_that_come(database: Database) -> None:
    with database.connect("postgres", autocommit=True) as db:
        db.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY) PARTITION BY RANGE (id)")
        db.execute("CREATE TABLE app_data.a PARTITION OF app_data.t FOR VALUES FROM (0) TO (9)")
        db.execute("SELECT audit.attach('app_data.t', p_enable_always => true)")
        db.execute("CREATE TABLE app_data.b PARTITION OF app_data.t FOR VALUES FROM (10) TO (19)")
        assert problems(db) == []
        db.execute("SET session_replication_role = replica")
        db.execute("INSERT INTO app_data.t VALUES (1), (11)")
        assert value(db, "SELECT count(*) FROM audit.event") == 2


def test_a_downgrade_and_an_upgrade_leave_nothing_wrong(server: Server) -> None:
    from audit_schema.schema import downgrade, upgrade

    with server.clone("native") as database:
        downgrade(database.url(), "0002")
        upgrade(database.url())
        with database.connect() as db:
            assert problems(db) == []


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE audit.event DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE audit.event_count DISABLE ROW LEVEL SECURITY",
        "ALTER POLICY reader_of_tables ON audit.event USING (true)",
        "ALTER POLICY reader_of_all ON audit.event TO PUBLIC",
        "DROP POLICY reader_of_tables ON audit.event",
    ],
)
def test_row_security_that_was_altered_is_found(tx: Connection, damage: str) -> None:
    tx.execute(damage)
    found = problems(tx)
    assert {row["problem"] for row in found} <= {"it was altered", "it is gone"}
    for row in found:
        assert row["subject"].startswith("policy reader_of_")
        tx.execute(row["remedy"].removeprefix("find out who did it; then "))
    assert problems(tx) == []


@pytest.mark.parametrize(
    ("make", "subject"),
    [
        ("CREATE POLICY mine ON audit.event USING (true)", "policy mine on audit.event"),
        ("CREATE VIEW audit.mine AS SELECT 1", "audit.mine"),
        ("CREATE FUNCTION audit.mine() RETURNS int RETURN 1", "audit.mine()"),
    ],
)
def test_what_is_not_ours_is_found(tx: Connection, make: str, subject: str) -> None:
    with acting_as(tx, "audit_owner"):
        tx.execute(make)
    [found] = problems(tx)
    assert found["subject"] == subject
    assert found["problem"] == "it does not belong to the audit trail"
