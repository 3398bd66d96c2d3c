"""Attacks on the trail by those who write, own or read tables: refused, recorded or shown.

Three roles that log in: `writer` may change rows and own objects of its own, `owner` owns the
attached tables, `reader` is a member of audit_reader and may write as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg import errors

from partitions import maintain
from servers import Database, Server
from trail import MODES, Connection, Row, event, events, refused, rows, value

ROLES = ("writer", "owner", "reader")
SHOP = """
    CREATE SCHEMA shop AUTHORIZATION owner;
    CREATE SCHEMA own_of_writer AUTHORIZATION writer;
    CREATE SCHEMA own_of_owner AUTHORIZATION owner;
    CREATE SCHEMA own_of_reader AUTHORIZATION reader;
    SET ROLE owner;
    CREATE TABLE shop.t (id integer PRIMARY KEY, n integer, note text);
    CREATE TABLE shop.by_row (id integer PRIMARY KEY, n integer, note text);
    GRANT USAGE ON SCHEMA shop TO PUBLIC;
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA shop TO PUBLIC;
    RESET ROLE;
    SELECT audit.attach('shop.t'), audit.attach('shop.by_row', 'row');
"""
TABLES = {"statement": "shop.t", "row": "shop.by_row"}
STATUS = "SELECT state, value FROM audit.status() WHERE item = 'attached tables'"


@pytest.fixture(scope="module")
def roles(server: Server) -> Iterator[None]:
    """The roles that attack, for the tests of this file."""
    server.template("native")
    for role in ROLES:
        server.admin.execute(f"CREATE ROLE {role} LOGIN")
    server.admin.execute("GRANT audit_reader TO reader")
    yield
    for role in ROLES:
        server.admin.execute(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def shop(server: Server, roles: None) -> Iterator[Database]:
    """A database with attached tables and an event, for attacks that must leave nothing."""
    with server.clone("native") as database:
        open_shop(database)
        with database.connect("writer", autocommit=True) as writer:
            writer.execute("INSERT INTO shop.t VALUES (0, 0, 'secret')")
        yield database


@pytest.fixture
def own_shop(database: Database, roles: None) -> Database:
    """The same for attacks that are carried out."""
    open_shop(database)
    return database


@pytest.fixture
def root(own_shop: Database) -> Iterator[Connection]:
    """The superuser's look at what came of it."""
    with own_shop.connect("postgres", autocommit=True) as connection:
        yield connection


def open_shop(database: Database) -> None:
    with database.connect("postgres") as connection:
        connection.execute(SHOP)


@contextmanager
def session(database: Database, role: str) -> Iterator[Connection]:
    with database.connect(role, autocommit=True) as connection:
        yield connection


def captured(connection: Connection) -> Row:
    [row] = rows(connection, STATUS)
    return row


WELL = {"state": "ok", "value": "2 captured"}
NOT_WELL = {"state": "warning", "value": "1 of 2 not captured properly"}


# --- the trail itself ---------------------------------------------------------------------------

WRITES = {
    "insert": "INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action) "
    "VALUES (now(), now(), 1, 1, 'delete')",
    "insert into a partition": "INSERT INTO audit.event_default DEFAULT VALUES",
    "copy": "COPY audit.event FROM STDIN",
    "update": "UPDATE audit.event SET actor = 'somebody else'",
    "delete": "DELETE FROM audit.event",
    "delete from a partition": "DELETE FROM audit.event_default",
    "merge": "MERGE INTO audit.event USING (VALUES (1)) AS v ON true WHEN MATCHED THEN DELETE",
    "truncate": "TRUNCATE audit.event",
    "truncate a partition": "TRUNCATE audit.event_default",
    "lock rows": "SELECT FROM audit.event FOR UPDATE",
    "change what is tracked": "UPDATE audit.tracked_table SET detached_at = now()",
    "change the settings": "UPDATE audit.setting SET default_window = '1 second'",
    "wipe the runs": "DELETE FROM audit.maintenance_run",
    "pretend a revision": "UPDATE audit.schema_version SET version_num = 'x'",
    "take event ids": "SELECT nextval('audit.event_id_seq')",
    "set event ids back": "SELECT setval('audit.event_id_seq', 1)",
}
DEFINITIONS = {
    "disable the triggers": "ALTER TABLE audit.event DISABLE TRIGGER ALL",
    "disable the guard": "ALTER TABLE audit.event_default DISABLE TRIGGER append_only",
    "drop the guard": "DROP TRIGGER append_only ON audit.event",
    "add a trigger": "CREATE TRIGGER mine BEFORE INSERT ON audit.event FOR EACH ROW "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "add a rule": "CREATE RULE mine AS ON INSERT TO audit.event DO INSTEAD NOTHING",
    "add a policy": "CREATE POLICY mine ON audit.event USING (true)",
    "hide rows": "ALTER TABLE audit.event ENABLE ROW LEVEL SECURITY",
    "add a column": "ALTER TABLE audit.event ADD COLUMN x integer",
    "drop a column": "ALTER TABLE audit.event DROP COLUMN actor",
    "add a check": "ALTER TABLE audit.event ADD CONSTRAINT x CHECK (false) NOT VALID",
    "add an index": "CREATE INDEX ON audit.event (xid)",
    "drop an index": "DROP INDEX audit.event_row_idx",
    "add statistics": "CREATE STATISTICS audit.x ON actor, xid FROM audit.event",
    "add a partition": "CREATE TABLE mine PARTITION OF audit.event "
    "FOR VALUES FROM ('1990-01-01') TO ('1991-01-01')",
    "detach a partition": "ALTER TABLE audit.event DETACH PARTITION audit.event_default",
    "inherit": "CREATE TABLE mine () INHERITS (audit.setting)",
    "refer to it": "CREATE TABLE mine (a timestamptz, b bigint, "
    "FOREIGN KEY (a, b) REFERENCES audit.event)",
    "own the table": "ALTER TABLE audit.event OWNER TO CURRENT_USER",
    "rename the table": "ALTER TABLE audit.event RENAME TO gone",
    "move the table": "ALTER TABLE audit.event SET SCHEMA public",
    "make it unlogged": "ALTER TABLE audit.event_default SET UNLOGGED",
    "drop the table": "DROP TABLE audit.event CASCADE",
    "drop a partition": "DROP TABLE audit.event_default",
    "drop the view": "DROP VIEW audit.change CASCADE",
    "replace the view": "CREATE OR REPLACE VIEW audit.change AS SELECT 1",
    "restart the ids": "ALTER SEQUENCE audit.event_id_seq RESTART",
    "replace a function": "CREATE OR REPLACE FUNCTION audit.capture_insert() RETURNS trigger "
    "LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "add a function": "CREATE FUNCTION audit._row_key(jsonb) RETURNS jsonb LANGUAGE sql "
    "RETURN '{}'::jsonb",
    "configure a function": "ALTER FUNCTION audit.capture_insert() SET search_path = pg_temp",
    "rename a function": "ALTER FUNCTION audit.capture_insert() RENAME TO gone",
    "drop a function": "DROP FUNCTION audit.capture_insert() CASCADE",
    "add an operator": "CREATE OPERATOR audit.= (leftarg = jsonb, rightarg = jsonb, "
    "function = jsonb_eq)",
    "rename the schema": "ALTER SCHEMA audit RENAME TO gone",
    "drop the schema": "DROP SCHEMA audit CASCADE",
    "shadow a cast": "CREATE CAST (text AS jsonb) WITH INOUT AS ASSIGNMENT",
    "lock out readers": "LOCK TABLE audit.event IN ACCESS EXCLUSIVE MODE",
    "lock out capture": "LOCK TABLE audit.event IN SHARE MODE",
    "lock out the maintenance": "LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE",
    "lock a partition": "LOCK TABLE audit.event_default IN ROW SHARE MODE",
}
ROLES_AND_SETTINGS = {
    "become the owner of the trail": "SET ROLE audit_owner",
    "become an administrator": "SET ROLE audit_admin",
    "become the renderer": "SET ROLE audit_nobody",
    "become the owner by its setting": "SELECT set_config('role', 'audit_owner', true)",
    "become a superuser": "SET SESSION AUTHORIZATION postgres",
    "grant oneself the role": "GRANT audit_owner TO CURRENT_USER",
    "grant oneself a partition": "GRANT ALL ON audit.event_default TO CURRENT_USER",
    "let the owner log in": "ALTER ROLE audit_owner LOGIN",
    "give the owner a setting": "ALTER ROLE audit_owner SET search_path = pg_temp",
    "take what it owns": "REASSIGN OWNED BY audit_owner TO CURRENT_USER",
    "drop what it owns": "DROP OWNED BY audit_owner CASCADE",
    "act for it in what comes": "ALTER DEFAULT PRIVILEGES FOR ROLE audit_owner IN SCHEMA audit "
    "GRANT ALL ON TABLES TO PUBLIC",
    "skip the triggers": "SET session_replication_role = replica",
    "skip the triggers of a role": "ALTER ROLE CURRENT_USER SET session_replication_role = replica",
    "skip the triggers of a database": "ALTER DATABASE {database} "
    "SET session_replication_role = replica",
    "watch all DDL": "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION f()",
    "read a data file": "SELECT pg_read_file('PG_VERSION')",
    "edit the catalog": "UPDATE pg_trigger SET tgenabled = 'D'",
    "publish the trail": "CREATE PUBLICATION mine FOR TABLE audit.event",
}
REFUSED = WRITES | DEFINITIONS | ROLES_AND_SETTINGS


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("attack", REFUSED)
def test_the_trail_is_out_of_reach(shop: Database, attack: str, role: str) -> None:
    statement = REFUSED[attack].replace("{database}", shop.name)
    with shop.connect(role) as attacker:
        attacker.execute(f"SET search_path = own_of_{role}, public")
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(statement.encode())


@pytest.mark.parametrize("role", ROLES)
def test_the_views_take_no_writes(shop: Database, role: str) -> None:
    with session(shop, role) as attacker:
        for view in ("change", "column_change"):
            for statement in (
                f"INSERT INTO audit.{view} (actor) VALUES ('somebody else')",
                f"UPDATE audit.{view} SET actor = 'somebody else'",
                f"DELETE FROM audit.{view}",
            ):
                refused(attacker, errors.ObjectNotInPrerequisiteState, statement, message=view)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_can_pass_on_what_it_has(shop: Database, role: str) -> None:
    granted = "SELECT relacl FROM pg_class WHERE oid = 'audit.event'::regclass"
    with session(shop, role) as attacker, session(shop, "postgres") as root:
        before = value(root, granted)
        statement = "GRANT ALL ON audit.event TO PUBLIC"
        if role == "reader":
            attacker.execute(statement)  # a warning, as it has SELECT
        else:
            refused(attacker, errors.InsufficientPrivilege, statement)
        assert value(root, granted) == before


READS = {
    "the table": "SELECT count(*) FROM audit.event",
    "a partition": "SELECT count(*) FROM audit.event_default",
    "one column": "SELECT actor FROM audit.event",
    "no column": "SELECT FROM audit.event",
    "by name only": "TABLE audit.change",
    "columns side by side": "SELECT * FROM audit.column_change",
    "out by copy": "COPY audit.event TO STDOUT",
    "the plan": "EXPLAIN SELECT * FROM audit.event WHERE actor = 'ann'",
    "through a function": "SELECT audit.history('shop.t')",
    "of an actor": "SELECT audit.actor_activity('ann')",
    "of a transaction": "SELECT audit.transaction_changes('00000000-0000-0000-0000-000000000000')",
    "what is tracked": "SELECT * FROM audit.tracked_table",
    "the state": "SELECT * FROM audit.status()",
    "the ids": "SELECT last_value FROM audit.event_id_seq",
    "the last id": "SELECT lastval()",
    "the id of now": "SELECT currval('audit.event_id_seq')",
    "of a statement": "WITH w AS (INSERT INTO shop.t VALUES (9) RETURNING 1) TABLE audit.event",
}


@pytest.mark.parametrize("role", ["writer", "owner"])
@pytest.mark.parametrize("attack", READS)
def test_who_writes_cannot_read_the_trail(shop: Database, attack: str, role: str) -> None:
    with shop.connect(role) as attacker:
        attacker.execute("INSERT INTO shop.t VALUES (1)")
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(READS[attack].encode())


@pytest.mark.parametrize("role", ["writer", "owner"])
def test_a_view_of_ones_own_shows_nothing_of_the_trail(own_shop: Database, role: str) -> None:
    with session(own_shop, role) as attacker:
        attacker.execute(f"CREATE VIEW own_of_{role}.peep AS SELECT count(*) FROM audit.event")
        refused(attacker, errors.InsufficientPrivilege, f"TABLE own_of_{role}.peep")


def test_statistics_and_sequences_tell_who_writes_nothing(own_shop: Database) -> None:
    with session(own_shop, "writer") as writer, session(own_shop, "postgres") as root:
        writer.execute('SET audit.context = \'{"actor": "ann"}\'')
        writer.execute("INSERT INTO shop.t SELECT i FROM generate_series(1, 50) AS i")
        root.execute("ANALYZE audit.event")
        for catalog in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
            assert rows(writer, f"SELECT * FROM {catalog} WHERE schemaname = 'audit'") == []
        query = "SELECT last_value FROM pg_sequences WHERE schemaname = 'audit'"
        assert {row["last_value"] for row in rows(writer, query)} <= {None}
        assert value(root, "SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'audit'")


def test_no_function_of_the_trail_can_be_called_but_to_say_who_acts(shop: Database) -> None:
    query = """
        SELECT format('SELECT audit.%I(%s)', p.proname, (
                   SELECT string_agg('NULL::' || CASE t.oid WHEN 'anyelement'::regtype THEN 'text'
                                                            ELSE format_type(t.oid, NULL) END, ', '
                                     ORDER BY a.position)
                     FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, position)
                     JOIN pg_type AS t ON t.oid = a.type)) AS call
          FROM pg_proc AS p
         WHERE p.pronamespace = 'audit'::regnamespace AND p.proname <> 'set_context'
         ORDER BY p.proname
    """
    with session(shop, "writer") as writer:
        calls = [row["call"] for row in rows(writer, query)]
        assert len(calls) > 50
        for call in calls:
            refused(writer, errors.InsufficientPrivilege, call, message="denied for function")


@pytest.mark.parametrize("role", ROLES)
def test_a_trigger_of_ones_own_cannot_call_capture(shop: Database, role: str) -> None:
    functions = ("insert", "update", "delete", "row", "truncate")
    with session(shop, role) as attacker:
        attacker.execute("CREATE TEMPORARY TABLE mine (id integer)")
        for name in (*(f"capture_{each}" for each in functions), "append_only"):
            refused(
                attacker,
                errors.InsufficientPrivilege,
                "CREATE TRIGGER forge AFTER INSERT ON mine FOR EACH STATEMENT "
                f"EXECUTE FUNCTION audit.{name}('1', '{{id}}', '{{}}')",
                message=name,
            )


def test_a_table_made_like_an_attached_one_takes_no_trigger_along(own_shop: Database) -> None:
    with session(own_shop, "owner") as owner, session(own_shop, "postgres") as root:
        owner.execute("CREATE TABLE shop.twin (LIKE shop.t INCLUDING ALL)")
        owner.execute("INSERT INTO shop.twin VALUES (1)")
        assert events(root) == []


# --- shadows --------------------------------------------------------------------------------------

SHADOWS = """
    CREATE FUNCTION {schema}.spring(text, text) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'sprung by %', current_user; END $$;
    CREATE FUNCTION {schema}.spring(jsonb, jsonb) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'sprung by %', current_user; END $$;
    CREATE FUNCTION {schema}.spring(jsonb, text) RETURNS text LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'sprung by %', current_user; END $$;
    CREATE FUNCTION {schema}.spring(jsonb, text[]) RETURNS jsonb LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'sprung by %', current_user; END $$;
    CREATE FUNCTION {schema}.spring(integer, integer) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'sprung by %', current_user; END $$;
    CREATE OPERATOR {schema}.!~~ (leftarg = text, rightarg = text, function = {schema}.spring);
    CREATE OPERATOR {schema}.= (leftarg = text, rightarg = text, function = {schema}.spring);
    CREATE OPERATOR {schema}.= (leftarg = jsonb, rightarg = jsonb, function = {schema}.spring);
    CREATE OPERATOR {schema}.->> (leftarg = jsonb, rightarg = text, function = {schema}.spring);
    CREATE OPERATOR {schema}.- (leftarg = jsonb, rightarg = text[], function = {schema}.spring);
    CREATE OPERATOR {schema}.> (leftarg = integer, rightarg = integer, function = {schema}.spring);
    CREATE FUNCTION {schema}.octet_length(text) RETURNS integer LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'sprung by %', current_user; END $$;
    CREATE FUNCTION {schema}.current_setting(text, boolean) RETURNS text LANGUAGE sql
        RETURN '{{"actor": "forged"}}';
    CREATE FUNCTION {schema}.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql
        AS $$ SELECT '{{"forged": true}}'::pg_catalog.jsonb $$;
    CREATE FUNCTION {schema}.now() RETURNS timestamptz LANGUAGE sql RETURN '-infinity'::timestamptz;
    CREATE FUNCTION {schema}.txid_current() RETURNS bigint LANGUAGE sql RETURN 1;
    CREATE TABLE {schema}.event (id integer);
    CREATE TABLE {schema}.pg_depend (id integer);
    CREATE TABLE {schema}.new_rows (LIKE shop.t);
    CREATE TABLE {schema}.old_rows (LIKE shop.t);
    CREATE TYPE {schema}.jsonb AS ENUM ('forged');
    SET search_path = {schema}, pg_catalog;
"""
WORK = (
    "INSERT INTO {table} VALUES (1, 1)",
    "INSERT INTO {table} VALUES (2, 2), (3, 3)",
    "UPDATE {table} SET n = 10 WHERE id OPERATOR(pg_catalog.=) 1",
    "UPDATE {table} SET n = n + 10 WHERE id OPERATOR(pg_catalog.>=) 2",
    "DELETE FROM {table} WHERE id OPERATOR(pg_catalog.=) 1",
    "DELETE FROM {table}",
)
STORY = [
    event("insert", {"id": 1}, None, {"id": 1, "n": 1, "note": None}),
    event("insert", {"id": 2}, None, {"id": 2, "n": 2, "note": None}),
    event("insert", {"id": 3}, None, {"id": 3, "n": 3, "note": None}),
    event("update", {"id": 1}, {"n": 1}, {"n": 10}),
    event("update", {"id": 2}, {"n": 2}, {"n": 12}),
    event("update", {"id": 3}, {"n": 3}, {"n": 13}),
    event("delete", {"id": 1}, {"id": 1, "n": 10, "note": None}),
    event("delete", {"id": 2}, {"id": 2, "n": 12, "note": None}),
    event("delete", {"id": 3}, {"id": 3, "n": 13, "note": None}),
]


def work(connection: Connection, mode: str) -> None:
    for statement in WORK:
        connection.execute(statement.format(table=TABLES[mode]).encode())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("schema", ["pg_temp", "own_of_writer"])
def test_shadows_before_the_catalog_divert_nothing(
    own_shop: Database, root: Connection, schema: str, mode: str
) -> None:
    with session(own_shop, "writer") as writer:
        writer.execute("CREATE TEMPORARY TABLE first ()")  # so that pg_temp is there
        writer.execute(SHADOWS.format(schema=schema).encode())
        work(writer, mode)
    assert events(root) == STORY
    assert rows(root, "SELECT DISTINCT actor, database_user FROM audit.change") == [
        {"actor": None, "database_user": "writer"}
    ]
    assert value(root, "SELECT min(started_at) > now() - interval '1 hour' FROM audit.event")


def test_shadows_of_a_writer_do_not_reach_a_reader(own_shop: Database) -> None:
    with session(own_shop, "writer") as writer, session(own_shop, "reader") as reader:
        writer.execute("INSERT INTO shop.t VALUES (1, 1)")
        writer.execute(SHADOWS.format(schema="own_of_writer").encode())
        writer.execute("GRANT USAGE ON SCHEMA own_of_writer TO PUBLIC")
        reader.execute("SET search_path = own_of_writer, pg_catalog")
        for query in (
            "SELECT action FROM audit.history('shop.t', '1')",
            "SELECT action FROM audit.history('shop.t')",
            "SELECT action FROM audit.change",
        ):
            assert rows(reader, query) == [{"action": "insert"}]
        assert rows(reader, "SELECT * FROM audit.actor_activity('ann')") == []
        assert len(rows(reader, "SELECT * FROM audit.status()")) > 5


# --- settings -------------------------------------------------------------------------------------

HOSTILE = {
    "array_nulls": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "check_function_bodies": "off",
    "constraint_exclusion": "on",
    "cursor_tuple_fraction": "0.001",
    "DateStyle": "German",
    "default_transaction_isolation": "serializable",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_indexscan": "off",
    "enable_material": "off",
    "enable_mergejoin": "off",
    "enable_nestloop": "off",
    "enable_partition_pruning": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "extra_float_digits": "-15",
    "from_collapse_limit": "1",
    "IntervalStyle": "iso_8601",
    "jit": "on",
    "jit_above_cost": "0",
    "join_collapse_limit": "1",
    "plan_cache_mode": "force_custom_plan",
    "plpgsql.extra_errors": "all",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "standard_conforming_strings": "off",
    "TimeZone": "Asia/Kathmandu",
    "transform_null_equals": "on",
    "work_mem": "64kB",
    "xmloption": "document",
}


@pytest.mark.parametrize("mode", MODES)
def test_no_setting_of_a_session_loses_or_alters_an_event(
    own_shop: Database, root: Connection, mode: str
) -> None:
    with session(own_shop, "writer") as writer:
        for name, setting in HOSTILE.items():
            writer.execute("SELECT set_config(%s, %s, false)", (name, setting))
        parallel = "debug_parallel_query" if writer.info.server_version >= 160000 else None
        writer.execute(f"SET {parallel or 'force_parallel_mode'} = regress")
        work(writer, mode)
    assert events(root) == STORY


def test_settings_in_our_name_change_nothing(own_shop: Database, root: Connection) -> None:
    with session(own_shop, "writer") as writer:
        for name in ("owner_role", "admin_role", "reader_role", "nobody_role", "drop_trail"):
            writer.execute(f"SET audit.{name} = 'yes'")
        work(writer, "statement")
    assert events(root) == STORY


def test_a_context_cannot_pose_as_what_the_server_knows(
    own_shop: Database, root: Connection
) -> None:
    forged = """{"actor": "ann", "database_user": "postgres", "database_role": "x", "xid": 1,
                 "started_at": "2000-01-01", "client_addr": "1.1.1.1", "backend_pid": 1}"""
    with session(own_shop, "writer") as writer:
        writer.execute("SELECT set_config('audit.context', %s, false)", (forged,))
        writer.execute("INSERT INTO shop.t VALUES (1)")
        pid = writer.info.backend_pid
    query = """
        SELECT actor, database_user, database_role, backend_pid, xid = 1 AS forged
          FROM audit.event WHERE started_at > now() - interval '1 hour'
    """
    assert rows(root, query) == [
        {
            "actor": "ann",
            "database_user": "writer",
            "database_role": None,
            "backend_pid": pid,
            "forged": False,
        }
    ]


def test_a_function_of_the_owner_does_not_hide_who_logged_in(
    own_shop: Database, root: Connection
) -> None:
    with session(own_shop, "owner") as owner, session(own_shop, "writer") as writer:
        owner.execute("""
            CREATE FUNCTION shop.buy() RETURNS void LANGUAGE sql SECURITY DEFINER
                AS $$ INSERT INTO shop.t VALUES (1) $$
        """)
        writer.execute("SELECT shop.buy()")
    assert rows(root, "SELECT database_user FROM audit.change") == [{"database_user": "writer"}]


def test_nobody_speaks_for_the_transaction_of_another(own_shop: Database, root: Connection) -> None:
    with own_shop.connect("writer") as ann, own_shop.connect("owner") as bob:
        ann.execute("SELECT audit.set_context('ann')")
        bob.execute("SELECT audit.set_context('bob')")
        ann.execute("INSERT INTO shop.t VALUES (1)")
        bob.execute("INSERT INTO shop.t VALUES (2)")
        ann.execute('SET audit.context = \'{"actor": "bob"}\'')
        bob.execute("INSERT INTO shop.t VALUES (3)")
        ann.commit()
        bob.commit()
    query = "SELECT actor, database_user, row_key FROM audit.change ORDER BY occurred_at"
    assert [tuple(row.values()) for row in rows(root, query)] == [
        ("ann", "writer", {"id": 1}),
        ("bob", "owner", {"id": 2}),
        ("bob", "owner", {"id": 3}),
    ]


LARGE = {
    "an actor of megabytes": '{"actor": "' + "x" * 3_000_000 + '"}',
    "an actor that does not compress": json.dumps(
        {"actor": "".join(chr(0x4E00 + i * 7919 % 20000) for i in range(1000))}
    ),
    "deep JSON": '{"metadata": ' + "[" * 500_000,
    "broken JSON": '{"actor": "ann',
    "no JSON": "ann",
    "a list": "[]",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attack", LARGE)
def test_an_unusable_context_fails_the_write_and_says_why(
    own_shop: Database, root: Connection, attack: str, mode: str
) -> None:
    with session(own_shop, "writer") as writer:
        work(writer, mode)
        writer.execute("SELECT set_config('audit.context', %s, false)", (LARGE[attack],))
        refused(
            writer,
            errors.InvalidParameterValue,
            f"INSERT INTO {TABLES[mode]} VALUES (7)",
            message="setting audit.context",
        )
        writer.execute("""
            DO $$ BEGIN INSERT INTO shop.t VALUES (8); EXCEPTION WHEN OTHERS THEN NULL; END $$
        """)
        assert rows(writer, f"SELECT * FROM {TABLES[mode]}") == []
        writer.execute("RESET audit.context")
        writer.execute(f"INSERT INTO {TABLES[mode]} VALUES (9)")
    assert [row["row_key"] for row in events(root)[len(STORY) :]] == [{"id": 9}]


def test_megabytes_of_metadata_are_recorded(own_shop: Database, root: Connection) -> None:
    with own_shop.connect("writer") as writer:
        writer.execute(
            "SELECT audit.set_context('ann', jsonb_build_object('x', repeat('y', 5000000)))"
        )
        writer.execute("INSERT INTO shop.t VALUES (1), (2)")
        writer.commit()
    query = "SELECT length(metadata ->> 'x') AS length FROM audit.change"
    assert rows(root, query) == [{"length": 5_000_000}] * 2


# --- the owner of a table -------------------------------------------------------------------------

VISIBLE = {
    "disable a trigger": "ALTER TABLE shop.t DISABLE TRIGGER _audit_insert",
    "disable one's triggers": "ALTER TABLE shop.t DISABLE TRIGGER USER",
    "disable all": "ALTER TABLE shop.t DISABLE TRIGGER ALL",
    "disable those of rows": "ALTER TABLE shop.by_row DISABLE TRIGGER _audit_delete",
    "fire on replicas only": "ALTER TABLE shop.t ENABLE REPLICA TRIGGER _audit_update",
    "drop a trigger": "DROP TRIGGER _audit_delete ON shop.t",
    "drop the one by which it is known": "DROP TRIGGER _audit_truncate ON shop.t",
    "rename a trigger": "ALTER TRIGGER _audit_insert ON shop.t RENAME TO z",
    "rename the one by which it is known": "ALTER TRIGGER _audit_truncate ON shop.t RENAME TO z",
    "replace a trigger": "CREATE OR REPLACE TRIGGER _audit_insert BEFORE INSERT ON shop.t "
    "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "reuse the name of a key column": "ALTER TABLE shop.t RENAME id TO code; "
    "ALTER TABLE shop.t RENAME n TO id",
    "rename a key column": "ALTER TABLE shop.by_row RENAME id TO code",
    "drop the key": "ALTER TABLE shop.t DROP CONSTRAINT t_pkey",
    "drop the table": "DROP TABLE shop.t",
    "make it again": "DROP TABLE shop.t; CREATE TABLE shop.t (id integer PRIMARY KEY)",
    "swap it for another": "ALTER TABLE shop.t RENAME TO old; DROP TRIGGER _audit_truncate "
    "ON shop.old; CREATE TABLE shop.t (id integer PRIMARY KEY)",
    "inherit": "CREATE TABLE shop.child () INHERITS (shop.t)",
    "make it a partition": "CREATE TABLE shop.p (LIKE shop.by_row) PARTITION BY RANGE (id); "
    "ALTER TABLE shop.p ATTACH PARTITION shop.by_row DEFAULT",
}


@pytest.mark.parametrize("attack", VISIBLE)
def test_what_the_owner_does_to_capture_shows_in_the_status(
    own_shop: Database, root: Connection, attack: str
) -> None:
    assert captured(root) == WELL
    with session(own_shop, "owner") as owner:
        owner.execute(VISIBLE[attack].encode())
    assert captured(root) == NOT_WELL


def test_who_may_make_triggers_can_replace_ours_and_is_seen(
    own_shop: Database, root: Connection
) -> None:
    with session(own_shop, "owner") as owner, session(own_shop, "writer") as writer:
        owner.execute("GRANT TRIGGER ON shop.t TO writer")
        writer.execute(VISIBLE["replace a trigger"].encode())
    assert captured(root) == NOT_WELL


@pytest.mark.parametrize("attack", [name for name in VISIBLE if " key" not in name])
def test_who_only_writes_can_do_none_of_it(shop: Database, attack: str) -> None:
    with shop.connect("writer") as writer, pytest.raises(errors.InsufficientPrivilege):
        writer.execute(VISIBLE[attack].encode())


def test_after_a_key_column_was_renamed_and_its_name_reused_nothing_is_lost(
    own_shop: Database, root: Connection
) -> None:
    with session(own_shop, "owner") as owner:
        owner.execute(VISIBLE["reuse the name of a key column"].encode())
        owner.execute("INSERT INTO shop.t (code, id) VALUES (1, 7), (2, 7)")
        assert [row["new_values"]["code"] for row in events(root)] == [1, 2]
        root.execute("SELECT audit.attach('shop.t')")
        owner.execute("INSERT INTO shop.t (code, id) VALUES (3, 7)")
    assert events(root)[-1]["row_key"] == {"code": 3}
    assert captured(root) == WELL


def test_nothing_is_recorded_of_what_a_trigger_or_rule_kept_from_happening(
    own_shop: Database, root: Connection
) -> None:
    with session(own_shop, "owner") as owner:
        owner.execute("""
            CREATE FUNCTION shop.never() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN RETURN NULL; END';
            CREATE TRIGGER a BEFORE INSERT ON shop.t FOR EACH ROW EXECUTE FUNCTION shop.never();
            CREATE RULE b AS ON DELETE TO shop.by_row DO INSTEAD NOTHING;
            INSERT INTO shop.t VALUES (1);
            INSERT INTO shop.by_row VALUES (1);
            DELETE FROM shop.by_row;
        """)
        assert rows(owner, "SELECT * FROM shop.t") == []
        assert len(rows(owner, "SELECT * FROM shop.by_row")) == 1
    assert [row["action"] for row in events(root)] == ["insert"]


@pytest.mark.parametrize("mode", MODES)
def test_what_a_trigger_changes_on_the_way_is_what_is_recorded(
    own_shop: Database, root: Connection, mode: str
) -> None:
    table = TABLES[mode]
    with session(own_shop, "owner") as owner:
        owner.execute(f"""
            CREATE FUNCTION shop.double() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN NEW.n := NEW.n * 2; RETURN NEW; END';
            CREATE TRIGGER a BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION shop.double();
            INSERT INTO {table} VALUES (1, 1), (2, 2);
        """)
    assert [row["new_values"]["n"] for row in events(root)] == [2, 4]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["a", "z"])  # fires before ours, or after
def test_a_trigger_that_undoes_the_change_is_recorded_too(
    own_shop: Database, root: Connection, name: str, mode: str
) -> None:
    table = TABLES[mode]
    with session(own_shop, "owner") as owner:
        owner.execute(f"""
            CREATE FUNCTION shop.undo() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN DELETE FROM {table}; RETURN NULL; END';
            CREATE TRIGGER "{name}" AFTER INSERT ON {table} FOR EACH STATEMENT
                EXECUTE FUNCTION shop.undo();
            INSERT INTO {table} VALUES (1);
        """)
    assert sorted(row["action"] for row in events(root)) == ["delete", "insert"]


def test_writes_through_a_view_or_rule_are_captured_where_they_end(
    own_shop: Database, root: Connection
) -> None:
    with session(own_shop, "owner") as owner:
        owner.execute("""
            CREATE VIEW shop.simple AS SELECT * FROM shop.t;
            CREATE VIEW shop.turned AS SELECT 1 AS id;
            CREATE FUNCTION shop.turn() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN INSERT INTO shop.by_row (id) VALUES (NEW.id); RETURN NEW; END';
            CREATE TRIGGER a INSTEAD OF INSERT ON shop.turned FOR EACH ROW
                EXECUTE FUNCTION shop.turn();
            CREATE TABLE shop.elsewhere (id integer);
            CREATE RULE a AS ON INSERT TO shop.elsewhere
                DO INSTEAD INSERT INTO shop.t (id) VALUES (NEW.id);
            INSERT INTO shop.simple (id) VALUES (1);
            INSERT INTO shop.turned VALUES (2);
            INSERT INTO shop.elsewhere VALUES (3);
        """)
    assert [row["row_key"] for row in events(root)] == [{"id": 1}, {"id": 2}, {"id": 3}]


def test_a_truncate_that_comes_from_another_table_is_recorded(
    own_shop: Database, root: Connection
) -> None:
    with session(own_shop, "owner") as owner:
        owner.execute("CREATE TABLE shop.parent (id integer PRIMARY KEY)")
        owner.execute("ALTER TABLE shop.t ADD FOREIGN KEY (n) REFERENCES shop.parent")
        owner.execute("TRUNCATE shop.parent CASCADE")
    assert [row["action"] for row in events(root, "t")] == ["truncate"]


@pytest.mark.parametrize("mode", MODES)
def test_a_savepoint_rolled_back_takes_the_change_along_with_its_event(
    own_shop: Database, root: Connection, mode: str
) -> None:
    table = TABLES[mode]
    with own_shop.connect("writer") as writer:
        writer.execute(f"INSERT INTO {table} VALUES (1)")
        with writer.transaction(force_rollback=True):
            writer.execute(f"INSERT INTO {table} VALUES (2)")
        writer.execute(f"""
            DO $$ BEGIN
                INSERT INTO {table} VALUES (3);
                RAISE 'no';
            EXCEPTION WHEN OTHERS THEN NULL;
            END $$
        """)
        writer.commit()
        kept = [{"id": row["id"]} for row in rows(writer, f"SELECT id FROM {table}")]
    assert [row["row_key"] for row in events(root)] == kept == [{"id": 1}]


def test_what_ddl_does_to_rows_leaves_no_event(own_shop: Database, root: Connection) -> None:
    """As documented under what triggers cannot see."""
    with session(own_shop, "owner") as owner:
        owner.execute("INSERT INTO shop.t VALUES (1, 1)")
        owner.execute("ALTER TABLE shop.t ALTER n TYPE bigint USING 99")
        assert value(owner, "SELECT n FROM shop.t") == 99
        owner.execute("ALTER TABLE shop.t ADD more integer DEFAULT 5")
    assert [row["action"] for row in events(root)] == ["insert"]
    assert captured(root) == WELL


def test_a_table_swapped_for_another_stays_attached_under_its_new_name(
    own_shop: Database, root: Connection
) -> None:
    """As documented; the other table must be attached as well."""
    with session(own_shop, "owner") as owner:
        owner.execute("ALTER TABLE shop.t RENAME TO old; CREATE TABLE shop.t (LIKE shop.old)")
        owner.execute("INSERT INTO shop.t VALUES (1); INSERT INTO shop.old VALUES (2)")
    root.execute("SELECT audit.run_maintenance()")
    assert [row["row_key"] for row in events(root)] == [{"id": 2}]
    names = rows(root, "SELECT table_name FROM audit.tracked_table ORDER BY id")
    assert [row["table_name"] for row in names] == ["old", "by_row"]
    root.execute("SELECT audit.attach('shop.t')")
    assert value(root, "SELECT count(*) FROM audit.tracked_table") == 3


def test_a_prepared_statement_from_before_is_captured(own_shop: Database, root: Connection) -> None:
    with session(own_shop, "owner") as owner:
        owner.execute("CREATE TABLE shop.late (id integer PRIMARY KEY)")
        owner.execute("PREPARE put AS INSERT INTO shop.late VALUES ($1)")
        for number in range(7):  # a generic plan by then
            owner.execute(f"EXECUTE put ({number})")
        root.execute("SELECT audit.attach('shop.late')")
        owner.execute("EXECUTE put (7)")
    assert [row["row_key"] for row in events(root)] == [{"id": 7}]


# --- locks ----------------------------------------------------------------------------------------


def test_advisory_locks_hold_up_neither_capture_nor_maintenance(
    own_shop: Database, root: Connection
) -> None:
    query = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"
    with session(own_shop, "writer") as writer, session(own_shop, "owner") as owner:
        for name in ("audit_schema upgrade", "audit_schema maintenance", "audit_schema"):
            writer.execute(query, (name,))
        owner.execute("SET lock_timeout = '2s'")
        owner.execute("INSERT INTO shop.t VALUES (1)")
        assert maintain(root)["status"] == "ok"
    assert len(events(root)) == 1


def test_a_reader_that_does_not_end_holds_up_the_maintenance_but_no_writer(
    own_shop: Database, root: Connection
) -> None:
    with own_shop.connect("reader") as reader, session(own_shop, "writer") as writer:
        reader.execute("SELECT count(*) FROM audit.event")
        refused(
            reader,
            errors.InsufficientPrivilege,
            "LOCK TABLE audit.event IN ACCESS EXCLUSIVE MODE",
        )
        writer.execute("SET lock_timeout = '2s'")
        writer.execute("INSERT INTO shop.t VALUES (1)")
        root.execute("UPDATE audit.setting SET premake = premake + 1")
        run = maintain(root)
        assert (run["status"], "lock timeout" in run["message"]) == ("failed", True)
        reader.rollback()
        assert maintain(root)["status"] == "ok"
