"""The command audit-schema: each command calls one function of the schema audit.

Exit codes: 0 all is well, 1 something was found (a warning, a failed maintenance), 2 an error.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit_schema.archive import command as archive
from audit_schema.command import Group, Json, Url, connect, fetch_row, fetch_rows, print_json
from audit_schema.errors import AuditSchemaError

if TYPE_CHECKING:
    from audit_schema.reading import Change


app = typer.Typer(
    cls=Group,
    help="An audit trail kept by PostgreSQL itself: install it, attach tables, read history.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.add_typer(archive.app, name="archive")

Tables = Annotated[list[str], typer.Argument(help="Tables as in SQL: orders, 'shop.\"Order\"'.")]
Since = Annotated[
    str | None, typer.Option(help="From this time on; default: the last 90 days. -infinity: all.")
]
Until = Annotated[str | None, typer.Option(help="Before this time.")]
Limit = Annotated[int, typer.Option(min=1, help="Number of changes.")]
Before = Annotated[
    str | None, typer.Option(help="Continue after this cursor, the last of the page before.")
]
Role = Annotated[str | None, typer.Option(help="Name of this role, if it isn't the default.")]


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Revision to reach.")] = "head",
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL, change nothing.")] = False,
    owner_role: Role = None,
    admin_role: Role = None,
    reader_role: Role = None,
    nobody_role: Role = None,
    url: Url = None,
) -> None:
    """Install the audit schema or bring it up to date.

    Example: audit-schema upgrade --url postgresql://deployer@localhost/shop
    """
    from audit_schema import schema

    roles = {
        "owner_role": owner_role,
        "admin_role": admin_role,
        "reader_role": reader_role,
        "nobody_role": nobody_role,
    }
    if sql:
        schema.upgrade_sql(sys.stdout, revision, **roles)
        return
    before = schema.current(url)
    schema.upgrade(url, revision, **roles)
    typer.echo(f"audit schema at revision {schema.current(url)} (before: {before or 'none'})")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Revision to go back to; base removes all.")],
    drop_trail: Annotated[
        bool, typer.Option("--drop-trail", help="Also when it deletes recorded events.")
    ] = False,
    owner_role: Role = None,
    url: Url = None,
) -> None:
    """Take the audit schema back to an earlier revision.

    Example: audit-schema downgrade base --drop-trail
    """
    from audit_schema import schema

    schema.downgrade(url, revision, drop_trail=drop_trail, owner_role=owner_role)
    typer.echo(f"audit schema at revision {schema.current(url) or 'none'}")


@app.command()
def attach(
    tables: Tables,
    mode: Annotated[str, typer.Option(help="statement or row.")] = "statement",
    key: Annotated[
        list[str] | None, typer.Option(help="Key column, repeatable; default: the primary key.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Column to leave out, repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Column to record besides the key, repeatable; no other is."),
    ] = None,
    redact: Annotated[
        list[str] | None, typer.Option(help="Column to record as a constant, repeatable.")
    ] = None,
    hash_: Annotated[
        list[str] | None,
        typer.Option("--hash", help="Column to record as a keyed hash, repeatable."),
    ] = None,
    require_actor: Annotated[
        bool, typer.Option("--require-actor", help="Refuse writes without an actor.")
    ] = False,
    enable_always: Annotated[
        bool,
        typer.Option(
            "--enable-always",
            help="Capture also logical replication and session_replication_role = replica.",
        ),
    ] = False,
    truncated_rows: Annotated[
        bool, typer.Option("--truncated-rows", help="TRUNCATE records each row that it removes.")
    ] = False,
    url: Url = None,
) -> None:
    """Record the changes of tables from now on; all of them or none.

    Run again, it says anew how to: what is left out goes back to its default.

    Example: audit-schema attach patients --redact ssn --hash email --require-actor
    """
    statement = """
        SELECT audit.attach(
            p_table => %(table)s::regclass, p_mode => %(mode)s, p_key_columns => %(key)s,
            p_exclude => %(exclude)s, p_only => %(only)s, p_redact => %(redact)s,
            p_hash => %(hash)s, p_require_actor => %(require_actor)s,
            p_enable_always => %(enable_always)s, p_truncated_rows => %(truncated_rows)s)"""
    arguments = {
        "mode": mode,
        "key": key or None,
        "exclude": exclude or [],
        "only": only or [],
        "redact": redact or [],
        "hash": hash_ or [],
        "require_actor": require_actor,
        "enable_always": enable_always,
        "truncated_rows": truncated_rows,
    }
    with connect(url) as connection:
        for table in tables:
            connection.execute(statement, {"table": table, **arguments})
    typer.echo(f"attached: {', '.join(tables)}")


@app.command()
def baseline(
    table: Annotated[str, typer.Argument(help="Table as in SQL: orders, 'shop.\"Order\"'.")],
    batch: Annotated[int, typer.Option(min=1, help="Rows of a transaction.")] = 10_000,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Record the rows that an attached table has now, so that their first change can be undone.

    Batch by batch, each in a transaction of its own; interrupted, it goes on where it was.

    Example: audit-schema baseline orders --batch 50000
    """
    from audit_schema import display

    expected = "SELECT reltuples::bigint AS rows FROM pg_class WHERE oid = %s::regclass"
    statement = "SELECT audit.record_baseline(p_table => %s::regclass, p_limit => %s) AS rows"
    with connect(url) as connection:
        connection.autocommit = True
        total = fetch_row(connection, expected, [table])["rows"]
        with display.progress(table, total if total > 0 else None) as advance:
            done = 0
            while rows := fetch_row(connection, statement, [table, batch])["rows"]:
                done += rows
                advance(rows)
    if as_json:
        print_json({"table": table, "rows": done})
    else:
        typer.echo(f"{table}: {done} rows recorded")


@app.command()
def detach(tables: Tables, url: Url = None) -> None:
    """Stop to record the changes of tables; their history stays.

    Example: audit-schema detach orders
    """
    with connect(url) as connection:
        for table in tables:
            row = fetch_row(
                connection, "SELECT audit.detach(p_table => %s::regclass) AS found", [table]
            )
            typer.echo(f"{table}: {'detached' if row['found'] else 'was not attached'}")


@app.command()
def status(as_json: Json = False, url: Url = None) -> None:
    """Show whether the trail works; exit code 1 when something needs attention.

    Example: audit-schema status
    """
    with connect(url) as connection:
        rows = fetch_rows(connection, "SELECT item, state, value, remedy FROM audit.status()")
    if as_json:
        print_json(rows)
    else:
        _print_states(rows)
    if any(row["state"] == "warning" for row in rows):
        raise typer.Exit(1)


@app.command()
def check(as_json: Json = False, url: Url = None) -> None:
    """Look for what keeps the trail from being complete and true; exit code 1 when there is any.

    Triggers that are missing, disabled or altered, tables that must be attached and are not,
    altered functions, and all that status warns of. For CI and monitoring.

    Example: audit-schema check --json
    """
    with connect(url) as connection:
        rows = fetch_rows(connection, "SELECT subject, problem, remedy FROM audit.check()")
    if as_json:
        print_json(rows)
    elif rows:
        _print_states(rows)
    else:
        typer.echo("no problems found")
    if rows:
        raise typer.Exit(1)


@app.command()
def history(
    table: Annotated[str, typer.Argument(help="Table as in SQL: orders, 'shop.\"Order\"'.")],
    key: Annotated[
        str | None,
        typer.Argument(help='Key of one row: 17, or \'{"order_id": 17, "line": 2}\'.'),
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    before: Before = None,
    include_archive: Annotated[
        bool, typer.Option("--include-archive", help="Of one row, also what archives hold.")
    ] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show the changes of a table or of one row, newest first.

    Example: audit-schema history orders 17 --since 2026-01-01
    """
    from audit_schema import reading

    if include_archive and key is None:
        raise AuditSchemaError(
            "--include-archive takes the key of one row; restore an archive "
            "to read all of it: audit-schema archive restore --help"
        )
    source = archive.load("history") if include_archive else reading
    options = {"since": since, "until": until, "before": before}
    with connect(url) as connection:
        changes = source.history(connection, table, _key(key), limit=limit, **options)
    _print_changes(changes, as_json)


@app.command()
def transaction(
    transaction_id: Annotated[str, typer.Argument(help="As history shows it.")],
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show all changes of one transaction, oldest first.

    Example: audit-schema transaction 0f2c3f6e-0000-8000-8000-0000000002a7
    """
    from audit_schema import reading

    with connect(url) as connection:
        changes = reading.transaction_changes(connection, transaction_id)
    _print_changes(changes, as_json)


@app.command()
def activity(
    actor: Annotated[str, typer.Argument(help="The actor, as the application named it.")],
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show what an actor changed, newest first.

    Example: audit-schema activity 42 --limit 20
    """
    from audit_schema import reading

    options = {"since": since, "until": until, "before": before}
    with connect(url) as connection:
        changes = reading.actor_activity(connection, actor, limit=limit, **options)
    _print_changes(changes, as_json)


@app.command()
def search(
    new_values: Annotated[
        str | None, typer.Option(help="JSON object that new values contain.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="JSON object that metadata contain.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    before: Before = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show what brought these values or was done under this metadata, newest first.

    Example: audit-schema search --metadata '{"request_id": "ab12"}'
    """
    from audit_schema import reading

    options = {"since": since, "until": until, "before": before}
    with connect(url) as connection:
        changes = reading.search(
            connection,
            _json("option --new-values", new_values),
            _json("option --metadata", metadata),
            limit=limit,
            **options,
        )
    _print_changes(changes, as_json)


@app.command()
def maintain(as_json: Json = False, url: Url = None) -> None:
    """Create partitions ahead, close old ones, tidy up; exit code 1 when it failed.

    For any scheduler, every hour.

    Goes on until all rows of the DEFAULT partition are at home and what is older than it is kept is
    removed, each run in its own transaction.

    Example: audit-schema maintain
    """
    from audit_schema import display

    statement = "SELECT * FROM audit.run_maintenance()"
    with connect(url, notices=False) as connection:
        connection.autocommit = True
        runs = [fetch_row(connection, statement)]
        with display.progress("rows brought home", runs[0]["rows_left"] or None) as advance:
            while runs[-1]["status"] == "ok" and (
                runs[-1]["rows_moved"] or runs[-1]["events_expired"]
            ):
                runs.append(fetch_row(connection, statement))
                advance(runs[-1]["rows_moved"] or 0)
    sums = {
        name: sum(run[name] or 0 for run in runs)
        for name in ("partitions_created", "rows_moved", "events_expired")
    }
    row = {**runs[-1], **sums, "started_at": runs[0]["started_at"]}
    if as_json:
        print_json(row)
    else:
        messages = "".join(f"; {run['message']}" for run in runs if run["message"])
        typer.echo(
            f"maintenance {row['status']}: {row['partitions_created']} partitions created, "
            f"{row['rows_moved']} rows moved, {row['events_expired']} events expired{messages}"
        )
    if row["status"] == "failed":
        raise typer.Exit(1)


@app.command()
def set_partitioning(
    interval: Annotated[str, typer.Argument(help="day, week or month.")],
    premake: Annotated[int, typer.Argument(help="Number of future partitions to keep ready.")],
    url: Url = None,
) -> None:
    """Choose the length of partitions and how many to make ahead, at any time.

    Example: audit-schema set-partitioning week 8
    """
    statement = "SELECT audit.set_partitioning(p_interval => %s, p_premake => %s)"
    with connect(url) as connection:
        connection.execute(statement, [interval, premake])
    typer.echo(f"partitions by {interval}, {premake} ahead")


@app.command()
def set_index_profile(
    hot: Annotated[str, typer.Argument(help="While partitions are written to.")],
    closed: Annotated[str, typer.Argument(help="Once they are closed.")],
    url: Url = None,
) -> None:
    """Choose the indexes of partitions: lean, standard or search; maintenance makes them.

    Example: audit-schema set-index-profile standard search
    """
    statement = "SELECT audit.set_index_profile(p_hot => %s, p_closed => %s)"
    with connect(url) as connection:
        connection.execute(statement, [hot, closed])
    typer.echo(f"indexes: {hot} while written to, {closed} once closed")


@app.command()
def set_partition_backend(
    backend: Annotated[str, typer.Argument(help="native or pg_partman.")],
    url: Url = None,
) -> None:
    """Choose who makes the partitions from now on, at any time.

    Example: audit-schema set-partition-backend pg_partman
    """
    with connect(url) as connection:
        connection.execute("SELECT audit.set_partition_backend(p_backend => %s)", [backend])
    typer.echo(f"partitions made by {backend}")


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(min=1, help="Length of each run of pgbench.")] = 5,
    clients: Annotated[int, typer.Option(min=1, help="Connections that write.")] = 4,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the database for a look.")] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Run a banking workload with and without capture, and check every balance from the trail.

    On a server of its own that vanishes afterwards, or in a new database of the one given.

    Example: audit-schema demo --seconds 5 --clients 4
    """
    import signal

    from audit_schema import demo as bank

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves through the clean-up, too
    if not bank.run(url, seconds=seconds, clients=clients, keep=keep, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def bench(
    rows: Annotated[int, typer.Option(min=1000, help="Rows of a bulk statement.")] = 40_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 3,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE.sql",
            help="Another way to audit: plain SQL that finds the table public.account.",
        ),
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Measure what capture costs: CPU, WAL and bytes of each change, against a bare table.

    On a server of its own that vanishes afterwards, or in new databases of the one given.

    Example: audit-schema bench --rounds 5 --peer mine=my_triggers.sql
    """
    import signal

    from audit_schema.bench import command

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves through the clean-up, too
    command.run(url, rows=rows, rounds=rounds, peers=peer or (), as_json=as_json)


def _key(text: str | None) -> Any:
    """A JSON object is a key of several columns; anything else is the value itself."""
    if text is None or not text.lstrip().startswith("{"):
        return text
    return _json("key", text)


def _json(what: str, text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise AuditSchemaError(
            f'the {what} {text!r} is not JSON ({error}); write \'{{"order_id": 17, "line": 2}}\''
        ) from error


def _print_changes(changes: list[Change], as_json: bool) -> None:
    from audit_schema import display

    if as_json:
        print_json(display.as_dicts(changes))
    else:
        display.print_changes(changes)


def _print_states(rows: list[dict[str, Any]]) -> None:
    from audit_schema import display

    display.print_table(rows, display.STATES)
