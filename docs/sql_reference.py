"""Write docs/sql-reference.md from the comments in the database: `make docs`."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

PAGE = Path(__file__).with_name("sql-reference.md")
INTRODUCTION = """# SQL reference

Made from the `COMMENT ON` of each object by `make docs`; a test compares. Names that begin with an
underscore are internal and may change with any revision. Errors carry standard SQLSTATEs, given
here by their condition names.
"""
FUNCTIONS = """
    SELECT p.proname AS name,
           pg_get_function_arguments(p.oid) AS arguments,
           pg_get_function_result(p.oid) AS result,
           obj_description(p.oid, 'pg_proc') AS comment,
           has_function_privilege('public', p.oid, 'EXECUTE') AS everyone,
           has_function_privilege('audit_reader', p.oid, 'EXECUTE') AS reader,
           has_function_privilege('audit_admin', p.oid, 'EXECUTE') AS admin
      FROM pg_proc AS p
     WHERE p.pronamespace = 'audit'::regnamespace
       AND left(p.proname, 1) <> '_' AND p.prorettype <> 'trigger'::regtype
     ORDER BY p.proname
"""
RELATIONS = """
    SELECT c.relname AS name, c.relkind = 'v' AS is_view, obj_description(c.oid) AS comment,
           a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
           col_description(c.oid, a.attnum) AS column_comment
      FROM pg_class AS c
      JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind IN ('r', 'p', 'v')
       AND NOT c.relispartition AND c.relname <> 'schema_version'
     ORDER BY c.relkind = 'v' DESC, c.relname, a.attnum
"""


def render(connection: psycopg.Connection[Any]) -> str:
    """The page, from the comments that a migrated database holds."""
    with connection.cursor(row_factory=dict_row) as cursor:
        functions = [render_function(row) for row in cursor.execute(FUNCTIONS)]
        relations: dict[str, list[dict[str, Any]]] = {}
        for row in cursor.execute(RELATIONS):
            relations.setdefault(row["name"], []).append(row)
    views = [render_relation(rows) for rows in relations.values() if rows[0]["is_view"]]
    tables = [render_relation(rows) for rows in relations.values() if not rows[0]["is_view"]]
    parts = [INTRODUCTION, "## Functions\n", *functions, "## Views\n", *views, "## Tables\n"]
    return "\n".join([*parts, *tables])


def render_function(row: dict[str, Any]) -> str:
    who = next(
        (role for role in ("everyone", "reader", "admin") if row[role]), "owner of the schema"
    )
    may = {"reader": "`audit_reader`, `audit_admin`", "admin": "`audit_admin`"}.get(who, who)
    arguments = short_types(row["arguments"]).replace(", ", ",\n    ")
    opening = f"audit.{row['name']}(" + (f"\n    {arguments}" if arguments else "")
    call = f"{opening})\n    RETURNS {row['result']}"
    return f"### {row['name']}\n\n```\n{call}\n```\n\n{row['comment']}\n\nMay call: {may}.\n"


def short_types(text: str) -> str:
    """Types as one writes them, and defaults without their casts."""
    return re.sub(r"::[a-z ]+(\[\])?", "", text.replace("timestamp with time zone", "timestamptz"))


def render_relation(rows: list[dict[str, Any]]) -> str:
    described = any(row["column_comment"] for row in rows)
    head = "| column | type | |\n|---|---|---|" if described else "| column | type |\n|---|---|"
    lines = [
        f"| `{row['column']}` | {short_types(row['type'])} |"
        + (f" {row['column_comment']} |" if described else "")
        for row in rows
    ]
    return "\n".join([f"### {rows[0]['name']}\n", rows[0]["comment"], "", head, *lines, ""])


def main() -> None:
    """Migrate a throw-away database and write the page."""
    from audit_schema import schema
    from audit_schema.local_server import LocalServer

    with LocalServer() as server, redirect_stderr(io.StringIO()):
        schema.upgrade(server.url("postgres"))
        with server.connect("postgres") as connection:
            PAGE.write_text(render(connection), encoding="utf-8")


if __name__ == "__main__":
    main()
