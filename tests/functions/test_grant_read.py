"""Readers of single tables: whatever they try, they see the events of these and no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import errors, sql

from servers import Database, Server
from trail import (
    Connection,
    acting_as,
    acts,
    attached,
    fill,
    indexes,
    plans_within,
    refused,
    rows,
    uses,
    value,
)

ROLES = ("clerk", "temp", "nobody_else")
PRIVILEGES = """
    SELECT count(*) FROM pg_class, aclexplode(relacl) AS a
     WHERE relnamespace = 'audit'::regnamespace AND a.grantee = %s::regrole
"""


@pytest.fixture(scope="module")
def roles(server: Server) -> Iterator[None]:
    """clerk and temp, who is a member of clerk, and one without any grant, for this file."""
    server.template("native")
    for role in ROLES:
        server.admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    server.admin.execute("GRANT clerk TO temp")
    yield
    for role in ROLES:
        server.admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def shop(roles: None, root_db: Connection) -> Connection:
    """Orders that clerk may read and salaries that it may not; both changed in one transaction."""
    attached(root_db, "id integer PRIMARY KEY, n integer", name="orders")
    attached(root_db, "id integer PRIMARY KEY, n integer", name="salaries")
    root_db.execute("SELECT audit.set_context('ann', '{\"ticket\": 7}')")
    for table in ("orders", "salaries"):
        root_db.execute(f"INSERT INTO app_data.{table} VALUES (1, 1), (2, 2)")
        root_db.execute(f"UPDATE app_data.{table} SET n = 3")
    root_db.execute("SELECT audit.grant_read('app_data.orders', 'clerk')")
    root_db.execute("GRANT USAGE ON SCHEMA app_data TO PUBLIC")
    root_db.commit()
    return root_db


READS = {
    "the view of changes": "SELECT table_name FROM audit.change",
    "the view of columns": "SELECT table_name FROM audit.column_change",
    "the events": """SELECT k.table_name FROM audit.event AS e
                       JOIN audit.tracked_table AS k ON k.id = e.tracked_table_id""",
    "what an actor did": "SELECT table_name FROM audit.actor_activity('ann')",
    "history of the table": "SELECT table_name FROM audit.history('app_data.orders')",
    "history of a row": "SELECT table_name FROM audit.history('app_data.orders', '1')",
    "a transaction": """SELECT table_name FROM audit.transaction_changes(
                            (SELECT transaction_id FROM audit.change LIMIT 1))""",
    "counts": "SELECT table_name FROM audit.event_counts()",
}


@pytest.mark.parametrize("role", ["clerk", "temp"])
@pytest.mark.parametrize("read", READS)
def test_what_it_reads_is_of_its_table(
    shop: Connection, database: Database, read: str, role: str
) -> None:
    with database.connect(role) as reader:
        assert {row["table_name"] for row in rows(reader, READS[read])} == {"orders"}


def test_it_sees_of_its_table_what_a_reader_of_all_sees(
    shop: Connection, database: Database
) -> None:
    query = "SELECT * FROM audit.change WHERE table_name = 'orders' ORDER BY event_id"
    with acting_as(shop, "audit_reader"):
        everything = rows(shop, query)
    assert len(everything) == 5  # two inserts, two updates, the grant
    assert {row["metadata"] and row["metadata"]["ticket"] for row in everything} == {7}
    with database.connect("clerk") as clerk:
        assert rows(clerk, query) == everything


HIDDEN = {
    "history of another table": "SELECT * FROM audit.history('app_data.salaries')",
    "history of a row of it": "SELECT * FROM audit.history('app_data.salaries', '1')",
    "its events": "SELECT * FROM audit.event WHERE tracked_table_id = 2",
    "a function that tells each row": """
        SELECT * FROM audit.event
         WHERE tracked_table_id = 2 AND pg_temp.tell(new_values::text)""",
    "an error that tells": "SELECT * FROM audit.event WHERE 1 / (tracked_table_id - 2) > 5",
}


@pytest.mark.parametrize("attack", HIDDEN)
def test_another_table_is_hidden(shop: Connection, database: Database, attack: str) -> None:
    with database.connect("clerk") as clerk:
        told: list[str] = []
        clerk.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        clerk.execute("""
            CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001
                AS $$ BEGIN RAISE NOTICE 'it is %', $1; RETURN true; END $$
        """)
        assert rows(clerk, HIDDEN[attack]) == []
        assert told == []


@pytest.mark.parametrize(
    "attempt",
    [
        "SELECT * FROM audit.actor_counts()",
        "SELECT * FROM audit.actor_count",
        "SELECT * FROM audit.event_default",
        "SELECT * FROM audit.hash_key",
        "SELECT audit.grant_read('app_data.salaries', 'clerk')",
        "SELECT audit.revoke_read('app_data.orders', 'clerk')",
        "INSERT INTO audit.table_reader SELECT 2, 'clerk'",
        "DELETE FROM audit.table_reader",
        "SET row_security = off; SELECT * FROM audit.event",
        "SET ROLE audit_reader",
        "ALTER TABLE audit.event DISABLE ROW LEVEL SECURITY",
    ],
)
def test_it_may_do_nothing_else(shop: Connection, database: Database, attempt: str) -> None:
    with database.connect("clerk") as clerk:
        refused(clerk, errors.InsufficientPrivilege, attempt)


def test_statistics_tell_it_nothing(shop: Connection, database: Database) -> None:
    shop.execute("ANALYZE audit.event")
    shop.commit()
    with database.connect("clerk") as clerk:
        query = "SELECT count(*) FROM pg_stats WHERE schemaname = 'audit' AND tablename ~ '^event'"
        assert value(clerk, query) == 0


def test_who_was_granted_nothing_reads_nothing(shop: Connection, database: Database) -> None:
    with database.connect("nobody_else") as other:
        refused(other, errors.InsufficientPrivilege, "SELECT * FROM audit.change")
        refused(other, errors.InsufficientPrivilege, "SELECT * FROM audit.event")


def test_a_reader_of_all_and_an_administrator_see_everything(shop: Connection) -> None:
    for role in ("audit_reader", "audit_admin"):
        with acting_as(shop, role):
            assert value(shop, "SELECT count(*) FROM audit.change") == 9
            assert value(shop, "SELECT count(DISTINCT table_name) FROM audit.change") == 2


def test_a_grant_is_an_act_that_is_recorded_once(shop: Connection, database: Database) -> None:
    assert value(shop, "SELECT audit.grant_read('app_data.orders', 'clerk')") is False
    assert value(shop, "SELECT audit.revoke_read('app_data.orders', 'clerk')") is True
    assert value(shop, "SELECT audit.revoke_read('app_data.orders', 'clerk')") is False
    shop.commit()
    assert [(act["action"], act["old_values"], act["new_values"]) for act in acts(shop)] == [
        ("grant", None, {"reader": "clerk"}),
        ("revoke", {"reader": "clerk"}, None),
    ]
    assert value(shop, PRIVILEGES, ["clerk"]) == 0
    with database.connect("clerk") as clerk:
        refused(clerk, errors.InsufficientPrivilege, "SELECT * FROM audit.change")


def test_a_revoke_leaves_the_other_tables(shop: Connection, database: Database) -> None:
    shop.execute("SELECT audit.grant_read('app_data.salaries', 'clerk')")
    shop.execute("SELECT audit.revoke_read('app_data.orders', 'clerk')")
    shop.commit()
    with database.connect("clerk") as clerk:
        found = {row["table_name"] for row in rows(clerk, "SELECT table_name FROM audit.change")}
        assert found == {"salaries"}


def test_an_upgrade_grants_what_is_new(shop: Connection, database: Database) -> None:
    shop.execute("REVOKE SELECT ON audit.change FROM clerk")
    with acting_as(shop, "audit_owner"):
        shop.execute("SELECT audit.apply_privileges()")
    shop.commit()
    with database.connect("clerk") as clerk:
        assert value(clerk, "SELECT count(*) FROM audit.change") > 0


def test_a_role_that_was_dropped_is_no_obstacle(shop: Connection, server: Server) -> None:
    shop.execute("CREATE ROLE leaver")
    shop.execute("SELECT audit.grant_read('app_data.orders', 'leaver')")
    refused(shop, errors.DependentObjectsStillExist, "DROP ROLE leaver")
    shop.execute("DROP OWNED BY leaver; DROP ROLE leaver; CREATE ROLE leaver")
    with acting_as(shop, "audit_owner"):
        shop.execute("SELECT audit.apply_privileges()")
    assert value(shop, PRIVILEGES, ["leaver"]) == 0
    with acting_as(shop, "audit_reader"):
        assert value(shop, "SELECT count(*) FROM audit.change") > 0
    shop.rollback()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            "SELECT audit.grant_read('pg_class', 'clerk')",
            errors.ObjectNotInPrerequisiteState,
            "table pg_class was never attached",
        ),
        (
            "SELECT audit.grant_read(NULL, 'clerk')",
            errors.ObjectNotInPrerequisiteState,
            "table NULL was never attached",
        ),
        (
            "SELECT audit.grant_read('app_data.orders', NULL)",
            errors.NullValueNotAllowed,
            "role must not be NULL",
        ),
        (
            "SELECT audit.grant_read('app_data.orders', 'who')",
            errors.UndefinedObject,
            'role "who" does not exist',
        ),
        (
            "SELECT audit.grant_read('app_data.orders', 'audit_reader')",
            errors.InvalidParameterValue,
            "role audit_reader reads the events of all tables already",
        ),
        (
            "SELECT audit.grant_read('app_data.orders', '-')",
            errors.NullValueNotAllowed,
            "role must not be NULL",
        ),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    shop: Connection, call: str, error: type[errors.Error], message: str
) -> None:
    refused(shop, error, call, message=message)


def test_its_look_ups_use_the_indexes(roles: None, root_db: Connection) -> None:
    attached(root_db, "id integer PRIMARY KEY")
    root_db.execute("SELECT audit.grant_read('app_data.t', 'clerk')")
    root_db.execute("GRANT USAGE ON SCHEMA app_data TO clerk")
    filled = fill(root_db)
    for call, index in (
        ("audit.history('app_data.t', '1', p_limit => 10)", "event_row_idx"),
        ("audit.history('app_data.t', p_limit => 10)", "event_table_idx"),
        ("audit.actor_activity('actor 1', p_limit => 10)", "event_actor_idx"),
    ):
        found = plans_within(root_db, f"SET ROLE clerk; SELECT * FROM {call}; RESET ROLE")
        assert uses(found, indexes(root_db, index)), found
        assert f"Seq Scan on {filled}" not in found
