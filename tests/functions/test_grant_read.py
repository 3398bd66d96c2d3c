"""Readers of single tables: whatever they try, they see the events of these and no others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

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

TABLES = ["orders", "salaries"]
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
    "a search for a value": "SELECT table_name FROM audit.search('{\"n\": 3}')",
    "a search for metadata": """
        SELECT table_name FROM audit.search(p_metadata => '{"ticket": 7}')""",
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
        "SELECT * FROM audit.baseline",
        "SELECT * FROM audit.legal_hold",
        "SELECT * FROM audit.partition",
        "SELECT * FROM audit.check()",
        "SELECT * FROM audit.status()",
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


def test_rights_on_partitions_show_nothing(shop: Connection, database: Database) -> None:
    """Whoever gave them: a DBA, or pg_partman by inherit_privileges."""
    shop.execute("GRANT SELECT ON ALL TABLES IN SCHEMA audit TO clerk")
    shop.commit()
    with database.connect("clerk") as clerk:
        [place] = {
            row["place"]
            for row in rows(clerk, "SELECT tableoid::regclass::text AS place FROM audit.event")
        }
        assert value(clerk, f"SELECT count(*) FROM {place}") == 0


def test_it_cannot_have_values_hashed(shop: Connection, database: Database) -> None:
    shop.execute("SELECT audit.attach('app_data.salaries', p_hash => '{n}')")
    shop.commit()
    with database.connect("clerk") as clerk:
        for guess in ('{"n": 3}', '{"id": 1, "n": 3}', "3"):
            assert value(clerk, "SELECT audit._recorded_key(2, %s)", [guess]) is None


def test_who_reads_all_data_reads_the_trail(shop: Connection, database: Database) -> None:
    shop.execute("GRANT pg_read_all_data TO nobody_else")
    shop.commit()
    with database.connect("nobody_else") as other:
        assert value(other, "SELECT count(*) FROM audit.event") == 9
    shop.execute("REVOKE pg_read_all_data FROM nobody_else")
    shop.commit()


def test_a_policy_that_was_altered_is_made_again(shop: Connection, database: Database) -> None:
    shop.execute("ALTER POLICY reader_of_tables ON audit.event USING (true)")
    with acting_as(shop, "audit_owner"):
        shop.execute("SELECT audit.apply_privileges()")
    shop.commit()
    with database.connect("clerk") as clerk:
        found = {row["table_name"] for row in rows(clerk, "SELECT table_name FROM audit.change")}
        assert found == {"orders"}
    assert rows(shop, "SELECT * FROM audit.check()") == []


def test_after_drop_owned_it_reads_nothing_until_granted_again(
    shop: Connection, database: Database
) -> None:
    shop.execute("DROP OWNED BY clerk")
    with acting_as(shop, "audit_owner"):
        shop.execute("SELECT audit.apply_privileges()")
    shop.commit()
    [problem] = rows(shop, "SELECT * FROM audit.check()")
    assert problem["subject"] == "role clerk"
    with database.connect("clerk") as clerk:
        refused(clerk, errors.InsufficientPrivilege, "SELECT * FROM audit.change")
        assert value(shop, problem["remedy"].removesuffix(";")) is False
        shop.execute("GRANT USAGE ON SCHEMA app_data TO clerk")
        shop.commit()
        assert value(clerk, "SELECT count(*) FROM audit.change") > 0
    assert rows(shop, "SELECT * FROM audit.check()") == []


def test_a_role_or_table_that_is_gone_can_be_revoked(shop: Connection) -> None:
    shop.execute("CREATE ROLE leaver")
    for table in ("orders", "salaries"):
        shop.execute(f"SELECT audit.grant_read('app_data.{table}', 'leaver')")
    refused(shop, errors.DependentObjectsStillExist, "DROP ROLE leaver")
    shop.execute("DROP TABLE app_data.salaries; DROP OWNED BY leaver; DROP ROLE leaver")
    shop.execute("CREATE ROLE leaver")  # another one of this name
    with acting_as(shop, "audit_owner"):
        shop.execute("SELECT audit.apply_privileges()")
    assert value(shop, PRIVILEGES, ["leaver"]) == 0
    shop.execute("DROP ROLE leaver")
    with acting_as(shop, "audit_reader"):
        assert value(shop, "SELECT count(*) FROM audit.change") > 0
    [problem] = rows(shop, "SELECT * FROM audit.check() WHERE subject LIKE 'role%'")
    assert problem["problem"] == "it was granted to read tables, and cannot: there is no such role"
    assert value(shop, problem["remedy"].removesuffix(";")) is True
    assert rows(shop, "SELECT * FROM audit.check() WHERE subject LIKE 'role%'") == []
    shop.rollback()


def test_rights_from_elsewhere_survive_a_revoke(shop: Connection, database: Database) -> None:
    shop.execute("GRANT EXECUTE ON FUNCTION audit.status() TO clerk")
    shop.execute("SELECT audit.revoke_read(NULL, 'clerk')")
    shop.commit()
    with database.connect("clerk") as clerk:
        clerk.execute("SELECT * FROM audit.status()")


GRANT = "SELECT audit.grant_read('app_data.salaries', 'clerk')"
REVOKE = "SELECT audit.revoke_read('app_data.orders', 'clerk')"
REVOKE_OTHER = "SELECT audit.revoke_read('app_data.salaries', 'clerk')"


@pytest.mark.parametrize(
    ("first", "second", "tables"),
    [(REVOKE, REVOKE_OTHER, []), (GRANT, REVOKE, ["salaries"]), (GRANT, GRANT, TABLES)],
)
def test_grants_and_revokes_at_once_wait_for_each_other(
    shop: Connection, database: Database, first: str, second: str, tables: list[str]
) -> None:
    if second == REVOKE_OTHER:
        shop.execute(GRANT)
        shop.commit()
    with database.connect("postgres") as other, ThreadPoolExecutor(1) as pool:
        shop.execute(first)
        waiting = pool.submit(other.execute, second)
        time.sleep(0.2)
        assert not waiting.done()
        shop.commit()
        waiting.result()
        other.commit()
    with database.connect("clerk") as clerk:
        if tables:
            found = rows(clerk, "SELECT DISTINCT table_name FROM audit.change ORDER BY 1")
            assert [row["table_name"] for row in found] == tables
        else:
            assert value(clerk, PRIVILEGES, ["clerk"]) == 0


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
            errors.UndefinedObject,
            "role NULL does not exist",
        ),
        (
            "SELECT audit.grant_read('app_data.orders', 'who')",
            errors.UndefinedObject,
            "role who does not exist",
        ),
        (
            "SELECT audit.grant_read('app_data.orders', 'audit_reader')",
            errors.InvalidParameterValue,
            "role audit_reader reads the events of all tables already",
        ),
        (
            "SELECT audit.grant_read('app_data.orders', 'audit_nobody')",
            errors.InvalidParameterValue,
            "role audit_nobody must not have any rights",
        ),
        (
            "SELECT audit.grant_read('app_data.orders', 'audit_owner')",
            errors.InvalidParameterValue,
            "role audit_owner reads the events of all tables already",
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
