"""Where the time of one row goes: instructions of the server, counted by callgrind."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from audit_schema.bench.stage import Stage, staged
from audit_schema.bench.variant import BARE, OURS, OURS_ROW, Variant
from audit_schema.bench.workload import ACCOUNT, KEY, Fragment, Shape, loop, one
from audit_schema.database import sqlalchemy_url
from audit_schema.errors import AuditSchemaError
from audit_schema.local_server import LocalServer
from benchmarks.lab import Lab
from benchmarks.report import Page, number_text, signed

TITLE: Final = "Where the time of one row goes"
REPETITIONS: Final = (20, 70)
"""A case is counted twice; the difference is free of what the server does besides."""

# A small server starts and copies fast; what it needs of memory and disk is not counted here.
SETTINGS: Final[Mapping[str, object]] = {
    "shared_buffers": "64MB",
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    "fsync": "off",
}
AT_ONCE: Final = 2
MARK: Final = "SELECT pg_conf_load_time()"
"""Callgrind writes down its counter and sets it to zero when the server runs this."""
BULK: Final = (100, 300)
WHOLE: Final = "one-row UPDATE"
ROWS: Final = 3_000
CONVERSION: Final = "to_jsonb() of the old and the new row"
DIFF: Final = "comparing old and new"
MINUS: Final = "taking out what stayed the same"
SMALLEST: Final = "smallest INSERT into a plain table"
METHOD: Final = """
Instructions that the server runs in user space, counted by `valgrind --tool=callgrind`; unlike
time, they don't depend on what else the machine does, so this part counts once, without rounds.
Two runs can still differ a little. PostgreSQL runs in single-user mode, on a copy of each database.
After a warm-up, a statement is repeated N times and then M times;
the difference of the two counts, divided by M - N, is what one repetition takes. The work of the
kernel (writing and syncing WAL, the network) is not in it, nor are cache misses; the client's
message is not either.
"""
STATEMENTS: Final = """
Thousands of instructions of the bare statement; of the others, what they add to it and, in
parentheses, all of it as a multiple of the bare statement. One-row statements run in a loop of one
transaction, or each in a transaction of its own. A bulk statement is counted for each row, by the
difference between one of {} rows and one of {}; where its cost grows with the square of the rows,
larger statements cost more a row than is shown here.
"""
PIECES: Final = """
The pieces of a captured one-row UPDATE: each measured on its own, with the smallest statement that
shows it, as the instructions that it adds. The rest is what the pieces leave of the instructions
that audit_schema adds to the whole statement: declarations, branches, and whatever costs more or
less in company; it can be negative.
"""
LIMITS: Final = """
What would have to change in PostgreSQL for less: `to_jsonb()` looks the type of every column up
again for each row, for it keeps nothing from one call to the next; its two calls are {conversion}
of what capture adds. There is no difference of two jsonb in C (hstore has one for its own type);
comparing in SQL and taking out what stayed the same are {diff}. Each SQL statement of PL/pgSQL
builds the state of its executor anew: even the smallest INSERT is {statement}, and fetching the
first row and the comparison are such statements as well. PL/pgSQL also prepares its simple
expressions again in each transaction: to an UPDATE that is a transaction of its own, capture adds
{alone} thousand instructions more than to one in a loop, and this is a part of them, which these
counts don't tell from the rest.
"""


Make = Callable[[int, int], Sequence[Fragment]]
"""Returns the statements for so many repetitions (second argument) from a key on (first)."""


@dataclass(frozen=True)
class Case:
    """Something to count, with *small* and with *large* repetitions."""

    name: str
    small: int
    large: int
    make: Make


@dataclass(frozen=True)
class Piece:
    """What a case costs more than another one."""

    title: str
    case: str
    less: str


def measure(lab: Lab) -> dict[str, Any]:
    """Count the statements of each variant, then the pieces of ours."""
    if shutil.which("valgrind") is None:
        raise AuditSchemaError(
            "the part profile counts instructions with valgrind, which is not installed; "
            "a full run needs it: apt-get install valgrind"
        )
    variants = [BARE, OURS, *lab.amount([OURS_ROW, *lab.strongest], [])]
    kit = Kit()
    pieces = Variant("pieces", "pieces of a captured UPDATE", kit.set_up, OURS.session)
    with lab.server(SETTINGS) as server:
        url = sqlalchemy_url(server.url())
        with staged(url, ACCOUNT, ROWS, [*variants, pieces], lab.console) as stage:
            jobs = {variant.name: _statements(lab.smoke) for variant in variants}
            jobs[pieces.name] = kit.cases(lab.smoke)
            with lab.step("counting instructions"):
                counted = _count_all(server, stage, jobs)
    costs = counted.pop(pieces.name)
    return {
        "titles": {variant.name: variant.title for variant in variants},
        "statements": counted,
        "pieces": {
            piece.title: costs[piece.case] - costs[piece.less]
            for piece in kit.pieces
            if piece.case in costs and piece.less in costs
        },
    }


def _count_all(
    server: LocalServer, stage: Stage[Shape], jobs: Mapping[str, Sequence[Case]]
) -> dict[str, dict[str, float]]:
    """Instructions of one repetition, by variant and case; the server rests meanwhile."""
    count = partial(_count_variant, server, stage, jobs)
    with server.paused(), ThreadPoolExecutor(AT_ONCE) as pool:
        counts = list(pool.map(count, stage.variants))
    return {variant.name: found for variant, found in zip(stage.variants, counts, strict=True)}


def _count_variant(
    server: LocalServer, stage: Stage[Shape], jobs: Mapping[str, Sequence[Case]], variant: Variant
) -> dict[str, float]:
    """Run the cases in a single-user server under callgrind, on a copy of the data."""
    cases = jobs[variant.name]
    folder = server.folder / f"profile-{variant.name}"
    _succeed(server.run("mkdir", folder))
    _succeed(server.run("cp", "-a", server.data, folder / "data"))
    done = server.run(
        *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder / 'counts'}"),
        *("--dump-before=pg_conf_load_time", server.bindir / "postgres", "--single", "-j"),
        *("-D", folder / "data", stage.database(variant).database),
        stdin=_input(variant.session, cases),
    )
    if "ERROR:" in done.stderr or "FATAL:" in done.stderr:
        raise AuditSchemaError(f"the profile of {variant.title} failed:\n{done.stderr[-2000:]}")
    _succeed(done)
    counts = _marked(folder)
    shutil.rmtree(folder)
    marks = iter(counts)
    return {
        case.name: (large - small) / (case.large - case.small)
        for case, (_, small, large) in zip(
            cases, zip(marks, marks, marks, strict=True), strict=True
        )
    }


def _succeed(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise AuditSchemaError(f"{' '.join(done.args)} failed:\n{done.stderr[-2000:]}")


def _input(session: Sequence[str], cases: Sequence[Case]) -> str:
    """The statements of all cases, with a MARK after the warm-up and after each count."""
    statements = list(session)
    first = 1
    for case in cases:
        for count in (case.small, case.small, case.large):
            statements += [text.as_string(None) for text in case.make(first, count)]
            statements.append(MARK)
            first += count
    return "".join(f"{statement.strip()};\n\n" for statement in statements)


def _marked(folder: Path) -> list[int]:
    """The instructions before each MARK, since the one before it."""
    files = sorted(folder.glob("counts.*"), key=lambda file: int(file.suffix[1:]))
    return [
        int(line.split()[1])
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith("summary:")
    ]


def _statements(smoke: bool) -> list[Case]:
    """Whole statements, each on rows that no other has touched."""
    shape = ACCOUNT
    few = partial(shape.update, shape.few)
    small, large = REPETITIONS
    cases = [
        Case("one-row INSERT", small, large, _looped(shape.insert(1))),
        Case(WHOLE, small, large, _looped(few(one(KEY)))),
        Case("one-row DELETE", small, large, _looped(shape.delete(one(KEY)))),
        Case(f"{WHOLE} transaction", small, large, _each(few)),
        Case("one-row INSERT transaction", small, large, _each(lambda _: shape.insert(1))),
        Case("bulk INSERT", *BULK, _inserted),
        Case("bulk UPDATE", *BULK, _ranged(few)),
        Case("bulk DELETE", *BULK, _ranged(shape.delete)),
    ]
    return cases[:3] if smoke else cases


def _looped(statement: Fragment) -> Make:
    return lambda first, count: [loop(count, sql.SQL("i + {}").format(first - 1), statement)]


def _each(make: Callable[[Fragment], Fragment]) -> Make:
    return lambda first, count: [make(one(sql.Literal(key))) for key in range(first, first + count)]


def _ranged(make: Callable[[Fragment], Fragment]) -> Make:
    return lambda first, count: [
        make(sql.SQL("BETWEEN {} AND {}").format(first, first + count - 1))
    ]


def _inserted(first: int, count: int) -> list[Fragment]:
    return [ACCOUNT.insert_bulk(ROWS + first, ROWS + first + count - 1)]


# The pieces. What follows repeats the steps of audit.capture_update().

FETCH: Final = """
    SELECT CASE WHEN TG_ARGV[2] = '{}'
                 AND NOT EXISTS (SELECT FROM pg_depend AS d
                                  WHERE d.classid = 'pg_class'::regclass AND d.objid = TG_RELID
                                    AND d.refclassid = 'pg_type'::regclass)
                THEN %s END,
           EXISTS (SELECT FROM new_rows OFFSET 1)
      INTO v_pair, v_more
      FROM old_rows AS o, new_rows AS n LIMIT 1;"""
BODIES: Final = {
    "trigger": "",
    "search_path": "",
    "settings": "",
    "first row": FETCH.replace("%s", "ARRAY[]::jsonb[]"),
    "to_jsonb": FETCH.replace("%s", "ARRAY[to_jsonb(o.*), to_jsonb(n.*)]"),
}
"""Bodies of trigger functions; each adds something to the one before."""
STEPS: Final = {
    "nothing": "",
    "context": """
        IF NULLIF(current_setting('audit.context', true), '') NOT LIKE '{"%}'
                OR octet_length(current_setting('audit.context', true)) > 2500 THEN
            PERFORM audit._check_context(current_setting('audit.context', true));
        END IF;
        v_context := NULLIF(current_setting('audit.context', true), '')::jsonb;""",
    "row key": "v_row_key := audit._row_key(v_new, v_key_columns, v_relation);",
    "diff": """
        v_same := ARRAY(SELECT o.key FROM jsonb_each(v_old) AS o
                         WHERE ROW(o.value)::record OPERATOR(pg_catalog.*=)
                               ROW(v_new -> o.key)::record);""",
    "minus": "v_less := v_old - v_same; v_less := v_new - v_same;",
    "smallest INSERT": "INSERT INTO public.piece_smallest VALUES (v_key);",
}
"""Steps of the function, each in a loop."""
PREPARED: Final = ("context", "row key", "diff")
"""Steps whose outcome others need."""
INSERT_EVENT: Final = sql.SQL("""
    INSERT INTO {table} (
        started_at, occurred_at, xid, tracked_table_id, action, row_key, old_values, new_values,
        actor, actor_type, actor_label, metadata, backend_pid, client_port, client_addr,
        database_user, database_role, application_name)
    VALUES (
        now(), clock_timestamp(), txid_current(), v_table, 'update', v_row_key, v_old_less,
        v_new_less, v_context ->> 'actor', v_context ->> 'actor_type',
        v_context ->> 'actor_label', v_context -> 'metadata', pg_backend_pid(),
        inet_client_port(), inet_client_addr(), session_user,
        NULLIF(current_setting('role'), 'none'),
        NULLIF(current_setting('application_name'), ''));""")
STEP_LOOP: Final = sql.SQL("""
    DO $piece$
    DECLARE
        v_table integer := 1;
        v_relation oid := {relation}::regclass;
        v_key_columns text[] := ARRAY['id'];
        v_old jsonb;
        v_new jsonb;
        v_same text[];
        v_less jsonb;
        v_old_less jsonb;
        v_new_less jsonb;
        v_row_key jsonb;
        v_context jsonb;
        v_key bigint;
    BEGIN
        SELECT to_jsonb(r.*) INTO v_old FROM {table} AS r WHERE r.id = {first};
        {update};
        SELECT to_jsonb(r.*) INTO v_new FROM {table} AS r WHERE r.id = {first};
        {prepare}
        v_old_less := v_old - v_same;
        v_new_less := v_new - v_same;
        FOR i IN 1..{times} LOOP
            v_key := i;
            {step}
        END LOOP;
    END;
    $piece$""")
TRIGGER_FUNCTION: Final = sql.SQL("""
    CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql {options} AS $piece$
    DECLARE
        v_pair jsonb[];
        v_more boolean;
    BEGIN
        {body}
        RETURN NULL;
    END;
    $piece$""")
TRIGGER: Final = sql.SQL("""
    CREATE TRIGGER piece AFTER UPDATE ON {table}
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION {function}('1', '{{id}}', '{{}}')""")
COPY_EVENT: Final = sql.SQL("CREATE TABLE {table} (LIKE audit.event_default INCLUDING ALL)")
INDEXES: Final = """
    SELECT COALESCE(pg_partition_root(o.indexrelid)::regclass::text,
                    replace(o.indexrelid::regclass::text, 'event_default', 'event')),
           c.indexrelid::regclass::text, k.conname
      FROM pg_index AS o
      JOIN pg_index AS c ON c.indkey::text = o.indkey::text
       AND pg_get_expr(c.indexprs, c.indrelid) IS NOT DISTINCT FROM
           pg_get_expr(o.indexprs, o.indrelid)
      LEFT JOIN pg_constraint AS k ON k.conindid = c.indexrelid
     WHERE o.indrelid = 'audit.event_default'::regclass AND c.indrelid = %s::regclass
     ORDER BY 1"""
SETTINGS_OF_CAPTURE: Final = """
    SELECT unnest(proconfig) FROM pg_proc WHERE oid = 'audit.capture_update'::regproc"""
PLAIN: Final = "INSERT of an event"
INDEXED: Final = "INSERT with all indexes"
ROUTED: Final = "INSERT into audit.event"


@dataclass
class Kit:
    """Tables and triggers of the pieces. indexes: of audit.event, known after set_up()."""

    indexes: list[str] = field(default_factory=list)

    def set_up(self, connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
        """Install audit_schema, and what the pieces need."""
        OURS.setup(connection, tables)
        connection.execute("CREATE TABLE public.piece_smallest (id bigint)")
        _piece_table(0).create(connection, ROWS)
        self._create_triggers(connection)
        self._create_event_tables(connection)

    def _create_triggers(self, connection: psycopg.Connection[Any]) -> None:
        settings = [text.split("=", 1) for (text,) in connection.execute(SETTINGS_OF_CAPTURE)]
        for number, (name, body) in enumerate(BODIES.items(), start=1):
            chosen = [
                _setting(key, value)
                for key, value in settings
                if name != "trigger" and (name != "search_path" or key == "search_path")
            ]
            definer = [sql.SQL("SECURITY DEFINER")] if chosen else []
            shape = _piece_table(number)
            shape.create(connection, ROWS)
            parts = {
                "table": shape.identifier,
                "function": sql.Identifier("public", f"piece_trigger_{number}"),
                "options": sql.SQL(" ").join([*definer, *chosen]),
                "body": sql.SQL(body),
            }
            connection.execute(TRIGGER_FUNCTION.format(**parts))
            connection.execute(TRIGGER.format(**parts))

    def _create_event_tables(self, connection: psycopg.Connection[Any]) -> None:
        """Copies of audit.event without partitions: no index, each index, all indexes."""
        connection.execute(COPY_EVENT.format(table=_event_table(INDEXED)))
        self.indexes = [name for name, _, _ in _indexes(connection, INDEXED)]
        for kept in (PLAIN, *self.indexes):
            connection.execute(COPY_EVENT.format(table=_event_table(kept)))
            for name, copy, constraint in _indexes(connection, kept):
                if name != kept:
                    connection.execute(_drop(kept, copy, constraint))

    def cases(self, smoke: bool) -> list[Case]:
        """An UPDATE for each trigger, a loop for each step, an INSERT for each table of events."""
        small, large = REPETITIONS
        updates = {
            name: _looped(_piece_table(number).update(ACCOUNT.few, one(KEY)))
            for number, name in enumerate(("no trigger", *BODIES))
        }
        steps = {name: _stepped(sql.SQL(step)) for name, step in STEPS.items()}
        tables = {name: _event_table(name) for name in (PLAIN, *self.indexes, INDEXED)}
        tables[ROUTED] = sql.Identifier("audit", "event")
        inserts = {
            name: _stepped(INSERT_EVENT.format(table=table)) for name, table in tables.items()
        }
        makes = {**steps, **(updates | inserts if not smoke else {})}
        return [Case(name, small, large, make) for name, make in makes.items()]

    @property
    def pieces(self) -> list[Piece]:
        """All pieces, in the order of the function."""
        return [
            Piece("empty statement trigger with transition tables", "trigger", "no trigger"),
            Piece("SECURITY DEFINER with search_path", "search_path", "trigger"),
            Piece("other settings of the function", "settings", "search_path"),
            Piece("fetching the first row, look for foreign types", "first row", "settings"),
            Piece(CONVERSION, "to_jsonb", "first row"),
            Piece("parsing the context", "context", "nothing"),
            Piece("key of the row", "row key", "nothing"),
            Piece(DIFF, "diff", "nothing"),
            Piece(MINUS, "minus", "nothing"),
            Piece(SMALLEST, "smallest INSERT", "nothing"),
            Piece("INSERT of the event, without indexes", PLAIN, "smallest INSERT"),
            *(Piece(f"index {name}", name, PLAIN) for name in self.indexes),
            Piece("routing to the partition", ROUTED, INDEXED),
        ]


def _piece_table(number: int) -> Shape:
    return replace(ACCOUNT, name=f"piece_{number}")


def _event_table(name: str) -> sql.Identifier:
    return sql.Identifier("public", f"events: {name}")


def _indexes(connection: psycopg.Connection[Any], copy: str) -> list[tuple[str, str, str | None]]:
    """Each index of audit.event, the same of the copy, and the constraint that the latter is."""
    table = _event_table(copy).as_string(None)
    return connection.execute(INDEXES, [table]).fetchall()


def _drop(copy: str, index: str, constraint: str | None) -> sql.Composed:
    if constraint is None:
        return sql.SQL("DROP INDEX {}").format(sql.SQL(index))
    return sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
        _event_table(copy), sql.Identifier(constraint)
    )


def _setting(name: str, value: str) -> sql.Composed:
    values = sql.SQL(", ").join(sql.Literal(one) for one in value.split(", "))
    return sql.SQL("SET {} TO {}").format(sql.Identifier(name), values)


def _stepped(step: Fragment) -> Make:
    table = _piece_table(0)
    parts = {
        "relation": sql.Literal(table.table),
        "table": table.identifier,
        "prepare": sql.SQL(" ").join(sql.SQL(STEPS[name]) for name in PREPARED),
        "step": step,
    }
    return lambda first, count: [
        STEP_LOOP.format(
            **parts,
            first=first,
            update=table.update(ACCOUNT.few, one(sql.Literal(first))),
            times=count,
        )
    ]


def render(result: dict[str, Any], page: Page) -> None:
    """Whole statements, the pieces of one, and what would have to change for less."""
    page.add(METHOD)
    page.add(STATEMENTS.format(*BULK))
    statements, titles = result["statements"], result["titles"]
    bare = statements[BARE.name]
    page.table(
        ["thousand instructions added", *titles.values()],
        [
            [
                action,
                *(
                    _added(counts[action], bare[action], name)
                    for name, counts in statements.items()
                ),
            ]
            for action in bare
        ],
    )
    whole = statements[OURS.name][WHOLE] - bare[WHOLE]
    pieces = dict(result["pieces"])
    pieces["the rest"] = whole - sum(pieces.values())
    page.heading("The pieces of a captured UPDATE", level=3)
    page.add(PIECES)
    page.table(
        ["", "thousand instructions", "share"],
        [
            *([name, _thousands(count), _share(count, whole)] for name, count in pieces.items()),
            ["all that is added", _thousands(whole), _share(whole, whole)],
        ],
    )
    page.bars(
        "profile",
        {"audit_schema": {name: count / 1000 for name, count in pieces.items()}},
        title="Instructions that capture adds to a one-row UPDATE",
        x="thousand instructions",
    )
    _explain(result, page, whole)


def _explain(result: dict[str, Any], page: Page, whole: float) -> None:
    """Name the pieces that only PostgreSQL could make smaller; a smoke run has not got them."""
    pieces = result["pieces"]
    ours, bare = (result["statements"][variant.name] for variant in (OURS, BARE))
    if CONVERSION not in pieces:
        return
    alone = f"{WHOLE} transaction"
    page.add(
        LIMITS.format(
            conversion=_share(pieces[CONVERSION], whole),
            diff=_share(pieces[DIFF] + pieces[MINUS], whole),
            statement=_share(pieces[SMALLEST], whole),
            alone=_thousands(ours[alone] - bare[alone] - whole),
        )
    )


def _added(count: float, bare: float, name: str) -> str:
    if name == BARE.name:
        return _thousands(bare)
    return f"{signed((count - bare) / 1000)} ({count / bare:.1f}×)"


def _thousands(count: float) -> str:
    return number_text(round(count / 1000, 1))


def _share(count: float, whole: float) -> str:
    return f"{count / whole:.0%}"
