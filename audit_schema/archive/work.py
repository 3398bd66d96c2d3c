"""Make archives of closed partitions, read them back, and load them as tables.

Each archive is a row of audit.archive that goes from exporting over exported to verified, or ends
as failed. A step that was interrupted is done again from its beginning: nothing is lost or doubled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pyarrow.lib import ArrowException

from audit_schema.archive import events, storage
from audit_schema.errors import AuditSchemaError

FORMAT: Final = 1
Connection = psycopg.Connection[Any]
Archive = dict[str, Any]
Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows how far a long work is: its name and size in events; gives what to call with each bit."""

START: Final = "SELECT * FROM audit.start_archive()"
FINISH: Final = "SELECT * FROM audit.finish_archive(%s, %s, %s, %s, %s)"
VERIFY: Final = "SELECT * FROM audit.verify_archive(%s, %s)"
LIST: Final = "SELECT * FROM audit.archive ORDER BY from_time, id"
# The file of each period: that of the last attempt which has one, unless another is under way.
WRITTEN: Final = """
    SELECT * FROM (
        SELECT DISTINCT ON (from_time, to_time) * FROM audit.archive
         WHERE exported_at IS NOT NULL OR state = 'exporting'
         ORDER BY from_time, to_time, id DESC) AS last
     WHERE exported_at IS NOT NULL
       AND (%(period)s::timestamptz IS NULL OR %(period)s >= from_time AND %(period)s < to_time)
     ORDER BY from_time, to_time"""
COLUMNS: Final = """
    SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
     WHERE attrelid = 'audit.event'::regclass AND attnum > 0 AND NOT attisdropped
     ORDER BY attnum"""
TABLES: Final = """
    SELECT id::text, jsonb_build_array(schema_name, table_name)
      FROM audit.tracked_table ORDER BY id"""
SERVER: Final = """
    SELECT current_database() AS database, current_setting('server_version') AS version,
           (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier"""
COPY: Final = sql.SQL("""
    COPY (SELECT {columns} FROM audit.event AS e
           WHERE e.started_at >= {from_time} AND e.started_at < {to_time}
           ORDER BY e.tracked_table_id, e.row_key::text COLLATE "C", e.occurred_at, e.id)
    TO STDOUT (FORMAT csv, FORCE_QUOTE *, ENCODING 'UTF8')""")


def run(connection: Connection, progress: Progress) -> Iterator[Archive]:
    """Archive all closed partitions that are not, oldest first; yield each when it is through.

    One that turns out wrong is the last. Raises StorageError when the storage can't be written.
    """
    while (archive := _start(connection)) is not None:
        if archive["state"] == "exporting":
            archive = _export(connection, progress)
        if archive is not None:
            archive = check(connection, archive, progress)
            yield archive
            if archive["state"] == "failed":
                return


def check(connection: Connection, archive: Archive, progress: Progress) -> Archive:
    """Read an archive back from its storage, note down how it is; return its row."""
    with progress(f"reading {period(archive)}", archive["events"]) as advance:
        problem = _problem(archive, advance)
    with connection.transaction():
        return _row(connection, VERIFY, [archive["id"], problem])


def written(connection: Connection, moment: str | None = None) -> list[Archive]:
    """Return the last archive that was written of each period, or of the one of *moment*."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(WRITTEN, {"period": moment}).fetchall()


def listed(connection: Connection) -> list[Archive]:
    """Return all attempts, by period."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(LIST).fetchall()


def restore(connection: Connection, url: str, into: str, progress: Progress) -> int:
    """Load the archive *url* as the new table *into*, whole or not at all; return its events."""
    columns, total = _described(url)
    done = 0
    with connection.transaction(), progress(f"restoring {into}", total) as advance:
        [[name]] = connection.execute("SELECT parse_ident(%s)", [into]).fetchall()
        table = sql.Identifier(*name)
        connection.execute(
            sql.SQL("CREATE TABLE {} ({})").format(
                table,
                sql.SQL(", ").join(
                    sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(_known(kind)))
                    for column, kind in columns.items()
                ),
            )
        )
        load = sql.SQL("COPY {} FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(table)
        with storage.read(url) as file, connection.cursor().copy(load) as copy:
            for text, count in events.copy_text(file):
                copy.write(text)
                done += count
                advance(count)
    return done


def period(archive: Archive) -> str:
    """Return the period of an archive for people, the days of UTC."""
    first, end = (archive[name].astimezone(UTC) for name in ("from_time", "to_time"))
    return f"{first:%Y-%m-%d} to {end:%Y-%m-%d}"


def _start(connection: Connection) -> Archive | None:
    with connection.transaction():
        archive = _row(connection, START)
    return archive if archive["id"] is not None else None


def _export(connection: Connection, progress: Progress) -> Archive | None:
    """Write the file of the archive that is due, and its manifest; return its row.

    None when there is none by now. All in one transaction, which keeps its row locked: another
    run can't begin the same.
    """
    archive: Archive = {}
    try:
        with connection.transaction():
            archive = _row(connection, START)
            if archive["state"] != "exporting":
                return archive if archive["id"] is not None else None
            with progress(f"writing {period(archive)}", None) as advance:
                manifest = _write(connection, archive, advance)
            described = [manifest[name] for name in ("events", "bytes", "sha256", "content_sha256")]
            return _row(connection, FINISH, [archive["id"], *described])
    except storage.StorageError as error:
        with connection.transaction():
            connection.execute(VERIFY, [archive["id"], str(error)])
        raise


def _write(
    connection: Connection, archive: Archive, advance: Callable[[int], None]
) -> dict[str, Any]:
    columns = {name: _known(kind) for name, kind in connection.execute(COLUMNS)}
    connection.execute("SET LOCAL jit = off")
    with (
        storage.create(archive["url"]) as sink,
        connection.cursor().copy(_copy(archive, columns)) as copy,
    ):
        content = events.write(sink, columns, (bytes(row) for row in copy), advance)
    manifest = {
        "format": FORMAT,
        "from_time": archive["from_time"].astimezone(UTC).isoformat(),
        "to_time": archive["to_time"].astimezone(UTC).isoformat(),
        "events": content.events,
        "bytes": sink.bytes,
        "sha256": sink.sha256,
        "content_sha256": content.sha256,
        "columns": columns,
        "tables": dict(connection.execute(TABLES).fetchall()),
        "server": _row(connection, SERVER),
        "audit_schema": _version(),
    }
    with storage.create(_manifest_url(archive["url"])) as sink:
        sink.write(json.dumps(manifest, indent=1).encode())
    return manifest


def _copy(archive: Archive, columns: Mapping[str, str]) -> sql.Composed:
    def wire(name: str, kind: str) -> sql.Composed:
        text = "(extract(epoch FROM {}) * 1000000)::bigint" if kind == events.TIME else "{}"
        return sql.SQL(text).format(sql.Identifier("e", name))

    return COPY.format(
        columns=sql.SQL(", ").join(wire(name, kind) for name, kind in columns.items()),
        from_time=archive["from_time"],
        to_time=archive["to_time"],
    )


def _problem(archive: Archive, advance: Callable[[int], None]) -> str | None:
    """Return what is wrong with the files of an archive."""
    try:
        manifest = _manifest(archive["url"])
        if storage.digest(archive["url"]) != (archive["bytes"], archive["sha256"]):
            return "the file is not as it was written: length or SHA-256 differs"
        with storage.read(archive["url"]) as file:
            content = events.content_of(file, manifest["columns"], advance)
    except FileNotFoundError as error:
        return f"a file is gone: {error.filename or error}"
    except (ArrowException, KeyError, TypeError, ValueError) as error:
        return f"a file can't be read: {error}"
    if (content.events, content.sha256) != (archive["events"], archive["content_sha256"]):
        return "the file does not hold what the server sent"
    return None


def _described(url: str) -> tuple[Mapping[str, str], int]:
    """Return columns and number of events of an archive that is as its manifest says."""
    try:
        manifest = _manifest(url)
        expected = manifest["bytes"], manifest["sha256"]
        columns, total = manifest["columns"], manifest["events"]
        found = storage.digest(url)
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise AuditSchemaError(
            f"can't read the archive {url} or its manifest: {error}\nHINT: Name a .parquet file "
            "that audit-schema archive wrote, with its .json beside it."
        ) from error
    if found != expected:
        raise AuditSchemaError(
            f"the archive {url} is not as it was written: its SHA-256 differs from that of its "
            "manifest\nHINT: Get the file from another copy of the storage."
        )
    return columns, total


def _manifest(url: str) -> dict[str, Any]:
    with storage.read(_manifest_url(url)) as file:
        manifest: dict[str, Any] = json.loads(file.read())
    if manifest["format"] != FORMAT:
        raise AuditSchemaError(
            f"the archive {url} has format {manifest['format']}, this version of audit-schema "
            f"reads format {FORMAT}\nHINT: Upgrade the Python package audit-schema."
        )
    return manifest


def _manifest_url(url: str) -> str:
    return url.removesuffix(".parquet") + ".json"


def _known(kind: str) -> str:
    """Return a type of PostgreSQL when archives can hold it."""
    if kind not in events.TYPES:
        raise AuditSchemaError(
            f"an archive can't hold columns of type {kind}\nHINT: Upgrade the Python package "
            "audit-schema."
        )
    return kind


def _version() -> str:
    from importlib.metadata import version

    return version("audit-schema")


def _row(connection: Connection, statement: str, arguments: list[Any] | None = None) -> Archive:
    with connection.cursor(row_factory=dict_row) as cursor:
        [row] = cursor.execute(statement, arguments).fetchall()
    return row
