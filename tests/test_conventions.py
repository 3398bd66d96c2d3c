"""What every object of schema audit and every file of sql/ has in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from servers import ROOT, Database, Server
from trail import Connection, rows

FILES = sorted((ROOT / "sql").rglob("*.sql"))
FUNCTION_FILES = [path for path in FILES if path.parent.name != "views"]
IDS = [str(path.relative_to(ROOT / "sql")) for path in FILES]
FUNCTION_IDS = [str(path.relative_to(ROOT / "sql")) for path in FUNCTION_FILES]
ATTRIBUTES = ("RETURNS", "LANGUAGE", "VOLATILITY", "PARALLEL", "SECURITY", "SET")


def names(connection: Connection, query: str) -> set[str]:
    return {row["name"] for row in rows(connection, query)}


def declaration(path: Path) -> str:
    """The statement CREATE FUNCTION of a file up to its body."""
    text = path.read_text()
    return re.split(r"^(?:AS \$|RETURN\b|BEGIN ATOMIC)", text, maxsplit=1, flags=re.M)[0]


def attributes(path: Path) -> list[str]:
    """The attributes of a function in the order of its file."""
    found = re.findall(
        r"^    (RETURNS|LANGUAGE|VOLATILE|STABLE|IMMUTABLE|PARALLEL|SECURITY|SET)\b",
        declaration(path),
        re.M,
    )
    return ["VOLATILITY" if word in ("VOLATILE", "STABLE", "IMMUTABLE") else word for word in found]


# --- the catalogs -------------------------------------------------------------------------------


def test_every_relation_and_function_has_a_comment(tx: Connection) -> None:
    query = """
        SELECT oid::regclass::text AS name FROM pg_class
         WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p', 'v')
           AND NOT relispartition AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT oid::regprocedure::text FROM pg_proc
         WHERE pronamespace = 'audit'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
    """
    assert names(tx, query) == set()


def test_the_schema_has_a_comment(tx: Connection) -> None:
    [found] = rows(tx, "SELECT obj_description('audit'::regnamespace, 'pg_namespace') AS comment")
    assert found["comment"]


def test_every_column_of_a_table_has_a_comment(tx: Connection) -> None:
    query = """
        SELECT c.relname || '.' || a.attname AS name
          FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind IN ('r', 'p')
           AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
           AND col_description(c.oid, a.attnum) IS NULL
    """
    assert names(tx, query) == set()


@pytest.mark.parametrize("template", ["native", "partman"])
def test_everything_belongs_to_the_owner_role(server: Server, template: str) -> None:
    if template == "partman":
        server.require("pg_partman")
    query = """
        SELECT oid::regclass::text AS name FROM pg_class
         WHERE relnamespace = 'audit'::regnamespace AND pg_get_userbyid(relowner) <> 'audit_owner'
        UNION ALL
        SELECT oid::regprocedure::text FROM pg_proc
         WHERE pronamespace = 'audit'::regnamespace AND pg_get_userbyid(proowner)
               <> CASE proname WHEN '_row_to_jsonb' THEN 'audit_nobody' ELSE 'audit_owner' END
        UNION ALL
        SELECT oid::regtype::text FROM pg_type
         WHERE typnamespace = 'audit'::regnamespace AND pg_get_userbyid(typowner) <> 'audit_owner'
        UNION ALL
        SELECT nspname FROM pg_namespace
         WHERE nspname = 'audit' AND pg_get_userbyid(nspowner) <> 'audit_owner'
    """
    with server.clone(template) as database, database.connect() as connection:
        assert names(connection, query) == set()


def test_every_function_pins_its_search_path(tx: Connection) -> None:
    # a body in standard form was resolved when it was made
    query = """
        SELECT oid::regprocedure::text AS name FROM pg_proc
         WHERE pronamespace = 'audit'::regnamespace AND prosqlbody IS NULL
           AND 'search_path=pg_catalog, pg_temp' <> ALL (COALESCE(proconfig, '{}'))
    """
    assert names(tx, query) == set()


def test_the_public_may_execute_nothing_but_set_context(tx: Connection) -> None:
    query = """
        SELECT DISTINCT p.proname AS name FROM pg_proc AS p,
               aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) AS a
         WHERE p.pronamespace = 'audit'::regnamespace AND a.grantee = 0
    """
    assert names(tx, query) == {"set_context"}


def test_the_public_may_touch_no_relation(tx: Connection) -> None:
    query = """
        SELECT c.relname AS name FROM pg_class AS c, aclexplode(c.relacl) AS a
         WHERE c.relnamespace = 'audit'::regnamespace AND a.grantee = 0
    """
    assert names(tx, query) == set()


def test_parameters_start_with_p(tx: Connection) -> None:
    query = """
        SELECT p.proname || ': ' || COALESCE(a.name, 'unnamed') AS name
          FROM pg_proc AS p,
               unnest(p.proargnames[:p.pronargs]) AS a (name)
         WHERE p.pronamespace = 'audit'::regnamespace AND p.proargmodes IS NULL
           AND NOT starts_with(COALESCE(a.name, ''), 'p_')
        UNION ALL
        SELECT p.proname || ': ' || a.name
          FROM pg_proc AS p, unnest(p.proargnames, p.proargmodes) AS a (name, mode)
         WHERE p.pronamespace = 'audit'::regnamespace
           AND a.mode IN ('i', 'b', 'v') AND NOT starts_with(a.name, 'p_')
        UNION ALL
        SELECT proname FROM pg_proc
         WHERE pronamespace = 'audit'::regnamespace AND pronargs > 0 AND proargnames IS NULL
    """
    assert names(tx, query) == set()


def test_internal_functions_say_so_and_public_ones_do_not(tx: Connection) -> None:
    query = """
        SELECT proname AS name FROM pg_proc
         WHERE pronamespace = 'audit'::regnamespace
           AND starts_with(proname, '_')
               <> starts_with(obj_description(oid, 'pg_proc'), 'Internal: ')
    """
    assert names(tx, query) == set()


def test_no_function_is_overloaded(tx: Connection) -> None:
    query = """
        SELECT proname AS name FROM pg_proc WHERE pronamespace = 'audit'::regnamespace
         GROUP BY proname HAVING count(*) > 1
    """
    assert names(tx, query) == set()


def test_every_constraint_and_index_has_a_name_of_ours(tx: Connection) -> None:
    # what PostgreSQL names itself ends in _key, _check, _not_null or a number
    query = """
        SELECT conname AS name FROM pg_constraint
         WHERE connamespace = 'audit'::regnamespace AND contype IN ('c', 'u', 'f', 'x')
           AND conname ~ '(_key|_check|_fkey|_excl)[0-9]*$'
    """
    assert names(tx, query) == set()


def test_functions_of_the_database_and_files_are_the_same(tx: Connection) -> None:
    query = "SELECT proname AS name FROM pg_proc WHERE pronamespace = 'audit'::regnamespace"
    assert names(tx, query) == {path.stem for path in FUNCTION_FILES}
    query = """
        SELECT relname AS name FROM pg_class
         WHERE relnamespace = 'audit'::regnamespace AND relkind = 'v'
    """
    assert names(tx, query) == {path.stem for path in FILES if path.parent.name == "views"}


# --- the files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_file_has_short_lines_without_tabs(path: Path) -> None:
    text = path.read_text()
    assert "\t" not in text
    assert "\r" not in text
    assert text.isascii()  # a database may have any encoding
    assert [line for line in text.splitlines() if len(line) > 100] == []
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_file_starts_by_saying_what_it_makes(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("-- ")
    kind = "VIEW" if path.parent.name == "views" else "FUNCTION"
    assert re.findall(r"^CREATE .*", text, re.M)[0].startswith(
        f"CREATE OR REPLACE {kind} audit.{path.stem}"
    )
    assert len(re.findall(r"^CREATE ", text, re.M)) == 1
    assert f"COMMENT ON {kind} audit.{path.stem}" in text


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=FUNCTION_IDS)
def test_the_tag_of_a_body_is_the_name_of_the_function(path: Path) -> None:
    text = path.read_text()
    tags = re.findall(r"^(?:AS )?(\$\w*\$);?$", text, re.M)
    standard_form = re.search(r"^(?:RETURN|BEGIN ATOMIC)\b", text, re.M)
    assert tags == [f"${path.stem}$"] * 2 or (tags == [] and standard_form)


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=FUNCTION_IDS)
def test_the_attributes_of_a_function_come_in_order_with_its_volatility(path: Path) -> None:
    found = attributes(path)
    assert found == sorted(found, key=ATTRIBUTES.index)
    assert found.count("VOLATILITY") == 1
    assert found.count("LANGUAGE") == 1


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=FUNCTION_IDS)
def test_a_function_takes_its_execution_from_the_public(path: Path) -> None:
    assert re.search(
        rf"^REVOKE ALL ON FUNCTION audit\.{path.stem}\([^;]*\)\s+FROM PUBLIC;$",
        path.read_text(),
        re.M,
    )


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=FUNCTION_IDS)
def test_the_rights_of_the_owner_are_lent_for_a_reason(path: Path) -> None:
    header = path.read_text().split("CREATE OR REPLACE")[0]
    if "SECURITY" in attributes(path):
        assert re.search(r"SECURITY DEFINER.{0,60}:", header, re.S)


# --- plpgsql_check ------------------------------------------------------------------------------

CHECK = """
    SELECT p.oid::regprocedure::text AS name, c.level, c.lineno, c.message, c.query
      FROM pg_proc AS p
      JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname = 'plpgsql',
           LATERAL plpgsql_check_function_tb(
               p.oid, relid => CASE WHEN p.prorettype = 'trigger'::regtype
                                    THEN 'app_data.t'::regclass::oid ELSE 0 END,
               oldtable => CASE WHEN p.proname IN ('capture_update', 'capture_delete')
                                THEN 'old_rows' END::name,
               newtable => CASE WHEN p.proname IN ('capture_insert', 'capture_update')
                                THEN 'new_rows' END::name,
               extra_warnings => true, performance_warnings => false) AS c
     WHERE p.pronamespace = 'audit'::regnamespace
"""


# what it cannot know: pg_cron lives in another database; the size of a table is no change to it
ACCEPTED = (
    ("audit.schedule_jobs()", 'schema "cron" does not exist'),
    ("audit.unschedule_jobs()", 'relation "cron.job" does not exist'),
    ("audit.status()", "routine is marked as STABLE, but expression is VOLATILE"),
    (
        "audit._periods(text,integer)",
        "routine is marked as STABLE, but expression is VOLATILE",
    ),
)


def findings(connection: Connection) -> list[dict[str, Any]]:
    found = rows(connection, CHECK)
    return [row for row in found if (row["name"], row["message"]) not in ACCEPTED]


def test_plpgsql_check_finds_nothing(server: Server, database: Database) -> None:
    server.require("plpgsql_check")
    with database.connect("postgres") as root:
        root.execute("CREATE EXTENSION plpgsql_check")
        root.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY)")
        assert findings(root) == []


def test_plpgsql_check_would_find_something(server: Server, database: Database) -> None:
    server.require("plpgsql_check")
    with database.connect("postgres") as root:
        root.execute("CREATE EXTENSION plpgsql_check")
        root.execute("CREATE TABLE app_data.t (id integer PRIMARY KEY)")
        root.execute("""
            CREATE FUNCTION audit.wrong() RETURNS void LANGUAGE plpgsql
                AS 'BEGIN PERFORM nothing FROM audit.event; END'
        """)
        found = findings(root)
    assert [row["name"] for row in found if "nothing" in row["message"]] == ["audit.wrong()"]


def test_psycopg_maps_all_our_error_codes(tx: Connection) -> None:
    for path in FUNCTION_FILES:
        for name in re.findall(r"ERRCODE = '(\w+)'", path.read_text()):
            [error] = {
                found
                for found in vars(psycopg.errors).values()
                if isinstance(found, type) and found.__name__.lower() == name.replace("_", "")
            }
            assert issubclass(error, psycopg.Error)
