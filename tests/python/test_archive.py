"""audit-schema archive: what is written is read back, what is killed goes on, torn is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import psycopg
import pyarrow.parquet
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from psycopg import sql
from typer.testing import CliRunner

from archives import MONTHS, archives, close_months, files, states
from audit_schema import schema
from audit_schema.archive import command as archive
from audit_schema.archive import events, storage, work
from audit_schema.cli import app
from migrations.conftest import quietly
from migrations.test_encodings import database_of
from servers import Database, Server
from trail import Connection, acting_as, attached, rows, value

Command = Callable[..., Any]
DIFFERENCE = """
    SELECT count(*) FROM (
        (SELECT e::text FROM {hot} AS e WHERE {within} EXCEPT ALL SELECT e::text FROM {cold} AS e)
        UNION ALL
        (SELECT e::text FROM {cold} AS e EXCEPT ALL SELECT e::text FROM {hot} AS e WHERE {within})
    ) AS differing"""


@pytest.fixture
def trail(database: Database, tmp_path: Path) -> Iterator[Connection]:
    """Three closed months of two tables, with a folder for their archives."""
    with database.connect(autocommit=True) as connection:
        for name in ("orders", "payments"):
            attached(connection, "id integer PRIMARY KEY", name=name)
        close_months(connection, tmp_path)
        yield connection


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs audit-schema archive on the database."""
    monkeypatch.setenv("DATABASE_URL", database.url())
    return lambda *arguments: CliRunner().invoke(
        app, ["archive", *arguments], catch_exceptions=False
    )


def months(connection: Connection) -> list[str]:
    """The first day of each archived month."""
    return [f"{row['from_time']:%Y-%m-%d}" for row in archives(connection, "from_time")]


def differing(connection: Connection, month: str, cold: str) -> int:
    """How many events of a month are not, or not alike, in a restored table."""
    within = sql.SQL("e.started_at >= {0} AND e.started_at < {0}::timestamptz + '1 month'")
    query = sql.SQL(DIFFERENCE).format(
        hot=sql.Identifier("audit", "event"),
        cold=sql.Identifier(*cold.split(".")),
        within=within.format(month),
    )
    [[count]] = connection.execute(query).fetchall()
    return int(count)


def silent(_: str, __: int | None) -> Any:
    return nullcontext(lambda _: None)


# --- there and back -----------------------------------------------------------------------------


def test_every_event_comes_back_as_it_was(
    trail: Connection, command: Command, tmp_path: Path
) -> None:
    done = command("run", "--json")
    assert done.exit_code == 0
    assert [row["events"] for row in json.loads(done.stdout)] == [12] * MONTHS
    assert states(trail) == ["verified"] * MONTHS
    assert len(files(tmp_path)) == 2 * MONTHS
    for number, month in enumerate(months(trail)):
        into = f"app_data.back_{number}"
        assert command("restore", month, "--into", into).stdout.startswith(f"{into}: 12 events")
        assert differing(trail, month, into) == 0
    assert command("run").stdout == "all closed partitions are archived\n"
    assert command("run", "--json").stdout == "[]\n"
    listed = json.loads(command("list", "--json").stdout)
    assert [row["state"] for row in listed] == ["verified"] * MONTHS
    assert "verified" in command("list").stdout


def test_the_test_of_equality_sees_a_difference(trail: Connection, command: Command) -> None:
    command("run")
    month = months(trail)[0]
    command("restore", month, "--into", "app_data.back")
    trail.execute("UPDATE app_data.back SET actor = NULL WHERE actor = ''")
    assert differing(trail, month, "app_data.back") > 0


def test_a_restored_table_has_the_columns_of_the_trail(trail: Connection, command: Command) -> None:
    command("run")
    command("restore", months(trail)[0], "--into", "app_data.back")
    query = """
        SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
         WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum
    """
    assert rows(trail, query, ["app_data.back"]) == rows(trail, query, ["audit.event"])


def test_an_archive_can_be_loaded_where_there_is_no_trail(
    trail: Connection, command: Command, clone: Callable[[str], Database], tmp_path: Path
) -> None:
    command("run")
    [file, *_] = sorted(tmp_path.glob("*.parquet"))
    elsewhere = clone("blank")
    done = command("restore", str(file), "--into", 'app_data."Old"', "--url", elsewhere.url())
    assert done.exit_code == 0, done.stderr
    with elsewhere.connect() as connection:
        assert value(connection, 'SELECT count(*) FROM app_data."Old"') == 12


def test_an_empty_month_has_an_archive_too(
    database: Database, command: Command, tmp_path: Path
) -> None:
    with database.connect(autocommit=True) as connection:
        close_months(connection, tmp_path, events=0)
        assert command("run").exit_code == 0
        assert states(connection) == ["verified"] * MONTHS
        month = months(connection)[0]
    assert "0 events" in command("restore", month, "--into", "app_data.back").stdout


def test_the_manifest_says_what_the_file_is(
    trail: Connection, command: Command, tmp_path: Path
) -> None:
    command("run")
    [archive, *_] = archives(
        trail, "url", "events", "bytes", "sha256", "content_sha256", "from_time"
    )
    manifest = json.loads(Path(archive["url"].replace(".parquet", ".json")).read_text())
    assert {name: manifest[name] for name in ("events", "bytes", "sha256", "content_sha256")} == {
        name: archive[name] for name in ("events", "bytes", "sha256", "content_sha256")
    }
    assert manifest["from_time"] == archive["from_time"].astimezone(UTC).isoformat()
    assert manifest["tables"] == {"1": ["app_data", "orders"], "2": ["app_data", "payments"]}
    query = "SELECT system_identifier::text FROM pg_control_system()"
    assert manifest["server"]["system_identifier"] == value(trail, query)
    table = pyarrow.parquet.read_table(archive["url"])
    assert list(manifest["columns"]) == table.column_names
    assert table["started_at"].type == events.TYPES[events.TIME]
    keys = [(row["tracked_table_id"], row["row_key"]) for row in table.to_pylist()]
    assert keys == sorted(keys)


# --- any event whatever -------------------------------------------------------------------------

texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=9
) | st.sampled_from(
    ["", "NULL", "\\N", "\\.", '"', '""', ",", "\r", "\n", "\r\n", "\ufeff", "NaN", " ", "\x01"]
)
numbers = st.sampled_from(["1.0", "1.00", "-0.0", "1e400", "1E-30", "12345678901234567890123"])
documents = (
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    ).map(lambda document: json.dumps(document))
    | numbers
)
longs = st.integers(-(2**63), 2**63 - 1)
integers = st.integers(-(2**31), 2**31 - 1)
networks = st.one_of(
    st.ip_addresses().map(str), st.just("10.1.2.3/8"), st.just("fe80::1/64"), st.just("::/0")
)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda t: f"{t} UTC")
VALUES = {
    "occurred_at": moments,
    "xid": longs,
    "context_id": st.none() | longs,
    "row_hash": st.none() | longs,
    "tracked_table_id": integers,
    "backend_pid": st.none() | integers,
    "client_port": st.none() | integers,
    "client_addr": st.none() | networks,
    "action": texts,
    **dict.fromkeys(
        [
            "actor",
            "actor_type",
            "actor_label",
            "database_user",
            "database_role",
            "application_name",
        ],
        st.none() | texts,
    ),
    **dict.fromkeys(["metadata", "row_key", "old_values", "new_values"], st.none() | documents),
}


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=8))
def test_any_event_comes_back_as_it_was(
    tx: Connection, tmp_path: Path, events: list[dict[str, Any]]
) -> None:
    archive: dict[str, Any] = {
        "url": str(tmp_path / "event.parquet"),
        "from_time": datetime(2020, 1, 1, tzinfo=UTC),
        "to_time": datetime(2020, 2, 1, tzinfo=UTC),
    }
    with acting_as(tx, "audit_owner"):
        insert = sql.SQL("INSERT INTO audit.event (id, started_at, {}) VALUES ({}, {}, {})").format(
            sql.SQL(", ").join(map(sql.Identifier, VALUES)),
            sql.Placeholder(),
            sql.SQL("'2020-01-05 00:00:00.000001+00'"),
            sql.SQL(", ").join(sql.Placeholder() for _ in VALUES),
        )
        for number, event in enumerate(events):
            tx.execute(insert, [number, *(event[name] for name in VALUES)])
    manifest = work._write(tx, archive, lambda _: None)
    assert manifest["events"] == len(events)
    assert work._problem(archive | manifest, lambda _: None) is None
    assert work.restore(tx, archive["url"], "app_data.back", silent) == len(events)
    assert differing(tx, "2020-01-01", "app_data.back") == 0
    tx.rollback()


# --- history over both --------------------------------------------------------------------------


def test_history_goes_on_in_the_archives(trail: Connection, command: Command) -> None:
    """The same answer before and after retention, whatever the page."""
    history = ["history", "app_data.orders", "3", "--since", "-infinity", "--json"]
    runner = CliRunner()

    def ask(*more: str) -> Any:
        result = runner.invoke(app, [*history, *more], catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    trail.execute("SET ROLE audit_owner")
    trail.execute(STATEMENT)  # its second event has its context from the first
    trail.execute("RESET ROLE")
    before = ask()
    assert len(before) >= MONTHS
    assert before[-1]["metadata"] == {"why": "x"}
    command("run")
    assert ask("--include-archive") == before
    trail.execute("SELECT audit.set_retention('1 day')")
    for _ in range(MONTHS):
        trail.execute("SELECT audit.run_maintenance()")
    assert len(ask()) < len(before)
    assert ask("--include-archive") == before
    [first, second, *_] = ask("--include-archive", "--limit", "2")
    assert ask("--include-archive", "--before", second["cursor"]) == before[2:]
    assert ask("--include-archive", "--until", second["started_at"]) == before[2:]
    assert first == before[0]


def test_history_tells_of_an_archive_that_is_gone(trail: Connection, command: Command) -> None:
    command("run")
    Path(archives(trail, "url")[-1]["url"]).unlink()
    history = ["history", "app_data.orders", "3", "--since=-infinity", "--include-archive"]
    result = CliRunner().invoke(app, history)
    assert result.exit_code == 2
    assert "is gone" in result.stderr


def test_history_with_archives_is_of_one_row(trail: Connection, command: Command) -> None:
    result = CliRunner().invoke(app, ["history", "app_data.orders", "--include-archive"])
    assert result.exit_code == 2
    assert "takes the key of one row" in result.stderr


# --- interrupted --------------------------------------------------------------------------------

STATEMENT = """
    INSERT INTO audit.event (id, context_id, started_at, occurred_at, xid, tracked_table_id, action,
                             row_key, row_hash, new_values, actor, metadata, client_addr)
    SELECT 900 + i, CASE WHEN i = 3 THEN 902 END, from_time, from_time, 1, 1, 'insert', key,
           jsonb_hash_extended(key, 1), '{"n": 1.00}', 'ann',
           CASE WHEN i = 2 THEN '{"why": "x"}'::jsonb END,
           CASE WHEN i = 2 THEN inet '10.0.0.9' END
      FROM (SELECT min(from_time) AS from_time FROM audit.partition) AS p
     CROSS JOIN generate_series(2, 3) AS i
     CROSS JOIN LATERAL (SELECT jsonb_build_object('id', i) AS key) AS row
"""
ODD = """
    INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action, actor)
    SELECT from_time, from_time, 1, 1, 'update', convert_from(%s, getdatabaseencoding())
      FROM audit.partition ORDER BY from_time LIMIT 1"""

KILLED = """
import os, sys
from audit_schema.archive import events, storage, work
from audit_schema.cli import app

def die(*_):
    os.kill(os.getpid(), 9)

point = sys.argv[1]
events.CHUNK = 1
if point == "begun":
    work._write = die
elif point == "half written":
    chunks, seen = events._from_text, []
    def some(text, columns):
        seen.append(text)
        return die() if len(seen) > 5 else chunks(text, columns)
    events._from_text = some
elif point == "file without manifest":
    work._version = die
elif point == "exported":
    work.check = die
else:
    row = work._row
    statement = {"written": work.FINISH, "read back": work.VERIFY}[point]
    work._row = lambda c, text, values=None: die() if text == statement else row(c, text, values)
app(["archive", "run"])
"""
POINTS = {
    "begun": "exporting",
    "half written": "exporting",
    "file without manifest": "exporting",
    "written": "exporting",
    "exported": "exported",
    "read back": "exported",
}


def kill_at(connection: Connection, point: str) -> None:
    """Run the archive in a process that is killed at a point, and wait until the server knows."""
    done = subprocess.run([sys.executable, "-c", KILLED, point], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'audit-schema'"
    for _ in range(100):
        if value(connection, query) == 0:
            return
        time.sleep(0.05)
    raise AssertionError("the killed run is still there")


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_loses_and_doubles_nothing(
    trail: Connection, command: Command, tmp_path: Path, point: str
) -> None:
    trail.execute("SELECT audit.set_retention('1 day')")
    kill_at(trail, point)
    assert states(trail) == [POINTS[point]]
    trail.execute("SELECT audit.run_maintenance()")
    assert value(trail, "SELECT count(*) FROM audit.event WHERE action = 'update'") == 12 * MONTHS
    assert command("run").exit_code == 0
    found = archives(trail, "id", "state", "events")
    assert found == [{"id": row["id"], "state": "verified", "events": 12} for row in found]
    assert len(found) == MONTHS
    assert len(files(tmp_path)) == 2 * MONTHS
    month = months(trail)[0]
    command("restore", month, "--into", "app_data.back")
    assert differing(trail, month, "app_data.back") == 0


@pytest.mark.slow
def test_a_killed_restore_leaves_no_table(trail: Connection, command: Command) -> None:
    command("run")
    code = f"""
import os
from audit_schema.archive import events
from audit_schema.cli import app
events._to_text = lambda _: os.kill(os.getpid(), 9)
app(["archive", "restore", "{months(trail)[0]}", "--into", "app_data.back"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert value(trail, "SELECT to_regclass('app_data.back')") is None
    assert command("restore", months(trail)[0], "--into", "app_data.back").exit_code == 0


@pytest.mark.slow
def test_a_terminated_run_cleans_up(trail: Connection, tmp_path: Path, command: Command) -> None:
    code = """
import os, signal
from audit_schema.archive import events
from audit_schema.cli import app
events._from_text = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
app(["archive", "run"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 143
    assert files(tmp_path) == []
    assert states(trail) == ["exporting"]


def test_two_runs_do_not_get_in_each_others_way(
    trail: Connection, database: Database, command: Command
) -> None:
    with database.connect() as other:
        other.execute("SELECT audit.start_archive()")
        other.commit()
        other.execute("SELECT audit.start_archive()")
        refused = command("run")
        assert refused.exit_code == 2
        assert "another run archives the events from" in refused.stderr
        assert "HINT: Wait" in refused.stderr
    assert command("run").exit_code == 0


# --- torn ---------------------------------------------------------------------------------------


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, "length or SHA-256 differs"),
    "one bit": (flip, "length or SHA-256 differs"),
    "gone": (Path.unlink, "a file is gone"),
    "no manifest": (lambda file: file.with_suffix(".json").unlink(), "a file is gone"),
    "torn manifest": (lambda file: truncate(file.with_suffix(".json")), "can't be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_archive_is_found_and_written_anew(
    trail: Connection, command: Command, damage: str
) -> None:
    command("run")
    spoil, message = DAMAGES[damage]
    [first, *_] = archives(trail, "url", "id")
    spoil(Path(first["url"]))
    found = command("verify")
    assert found.exit_code == 1
    assert message in found.stdout
    assert states(trail) == ["failed", "verified", "verified"]
    trail.execute("SELECT audit.set_retention('1 day'), audit.run_maintenance()")
    kept = "SELECT min(started_at) FROM audit.event WHERE action = 'update'"
    assert f"{value(trail, kept):%Y-%m-%d}" == months(trail)[0]
    assert command("run").exit_code == 0
    assert states(trail) == ["failed", "verified", "verified", "verified"]
    assert command("verify").exit_code == 0


def test_a_file_that_holds_something_else_is_found(trail: Connection, command: Command) -> None:
    """As if the export had mistaken one value for another: the file itself is in order."""
    command("run")
    [archive, *_] = archives(trail, "url", "id")
    file = Path(archive["url"])
    table = pyarrow.parquet.read_table(file)
    place = table.column_names.index("actor")
    actors = [None if actor == "" else actor for actor in table["actor"].to_pylist()]
    column = pyarrow.array(actors, pyarrow.string())
    pyarrow.parquet.write_table(table.set_column(place, "actor", column), file)
    size, sha256 = storage.digest(str(file))
    trail.execute("SET ROLE audit_owner")
    trail.execute(
        "UPDATE audit.archive SET bytes = %s, sha256 = %s WHERE id = %s",
        [size, sha256, archive["id"]],
    )
    trail.execute("RESET ROLE")
    found = command("verify", months(trail)[0])
    assert found.exit_code == 1
    assert "does not hold what the server sent" in found.stdout


def test_a_torn_archive_is_not_restored(trail: Connection, command: Command) -> None:
    command("run")
    flip(Path(archives(trail, "url")[0]["url"]))
    refused = command("restore", months(trail)[0], "--into", "app_data.back")
    assert refused.exit_code == 2
    assert "not as it was written" in refused.stderr
    assert value(trail, "SELECT to_regclass('app_data.back')") is None


@pytest.mark.parametrize("manifest", [None, "", "{", "[]", "7", "{}", '{"format": 1}'])
def test_a_file_without_a_manifest_is_not_restored(
    command: Command, tmp_path: Path, manifest: str | None
) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(b"PAR1")
    if manifest is not None:
        file.with_suffix(".json").write_text(manifest)
    refused = command("restore", str(file), "--into", "app_data.x")
    assert refused.exit_code == 2
    assert f"can't read the archive {file} or its manifest" in refused.stderr
    assert "HINT: Name a .parquet file" in refused.stderr


def test_a_manifest_of_a_later_version_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format": 2}')
    refused = command("restore", str(tmp_path / "x.parquet"), "--into", "app_data.x")
    assert refused.exit_code == 2
    assert "has format 2" in refused.stderr


def test_verify_leaves_alone_what_is_being_written_anew(
    trail: Connection, command: Command
) -> None:
    command("run")
    [first, *_] = archives(trail, "id", "url")
    flip(Path(first["url"]))
    assert command("verify").exit_code == 1
    trail.execute("SELECT audit.start_archive()")
    assert command("verify").exit_code == 0
    assert states(trail) == ["failed", "exporting", "verified", "verified"]


def test_verify_one_period(trail: Connection, command: Command) -> None:
    command("run")
    assert command("verify", months(trail)[1]).stdout.count("verified") == 1
    assert command("verify", "1999-01-01").stdout == "no archives in this period\n"
    assert len(json.loads(command("verify", "--json").stdout)) == MONTHS


# --- storage that fails -------------------------------------------------------------------------


class Failing(MemoryFileSystem):  # type: ignore[misc]
    """A storage that fails after so many bytes of a file."""

    protocol = "failing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    room: ClassVar[int] = 10**9

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        file = super()._open(path, mode, **options)
        if mode == "wb":
            write = file.write

            def limited(data: Any) -> int:
                if file.tell() + len(data) > Failing.room:
                    raise OSError(28, "No space left on device")
                return int(write(data))

            file.write = limited
        return file


@pytest.fixture
def failing() -> Iterator[type[Failing]]:
    """A storage failing:// with room for a hundred bytes a file."""
    fsspec.register_implementation("failing", Failing, clobber=True)
    Failing.store.clear()
    Failing.room = 100
    yield Failing
    Failing.store.clear()


def test_a_storage_that_is_full_leaves_no_file_and_says_so(
    trail: Connection, command: Command, failing: type[Failing]
) -> None:
    trail.execute("SELECT audit.set_archive('failing://bucket/audit')")
    refused = command("run")
    assert refused.exit_code == 2
    assert "can't write the archive failing://bucket/audit/event_" in refused.stderr
    assert "No space left on device" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert failing.store == {}
    [row] = archives(trail, "state", "message")
    assert row["state"] == "failed"
    assert "No space left on device" in row["message"]
    failing.room = 10**9
    assert command("run").exit_code == 0
    assert states(trail) == ["failed", *["verified"] * MONTHS]
    assert command("restore", months(trail)[0], "--into", "app_data.back").exit_code == 0
    assert differing(trail, months(trail)[0], "app_data.back") == 0


def test_a_storage_that_can_not_be_read_now_changes_no_state(
    trail: Connection, command: Command, tmp_path: Path
) -> None:
    command("run")
    tmp_path.rename(tmp_path.with_name("unmounted"))
    refused = command("verify")
    assert refused.exit_code == 2
    assert "can't read the archive" in refused.stderr
    assert states(trail) == ["verified"] * MONTHS
    tmp_path.with_name("unmounted").rename(tmp_path)
    assert command("verify").exit_code == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://x", "Protocol not known: nonsense"),
        ("/no/such/folder", "No such file or directory"),
    ],
)
def test_a_place_that_can_not_be_used(
    trail: Connection, command: Command, url: str, message: str
) -> None:
    trail.execute("SELECT audit.set_archive(%s)", [url])
    refused = command("run")
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert states(trail) == ["failed"]


# --- S3 -----------------------------------------------------------------------------------------


BUCKETS = count()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A new bucket of an S3 server on this machine: its storage and its name."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3 = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    name = f"audit-{next(BUCKETS)}"
    s3.mkdir(name)
    yield s3, name
    server.stop()
    type(s3).clear_instance_cache()


@pytest.mark.slow
def test_archives_in_s3(trail: Connection, command: Command, bucket: tuple[Any, str]) -> None:
    s3, name = bucket
    trail.execute("SELECT audit.set_archive(%s)", [f"s3://{name}/trail"])
    done = command("run")
    assert done.exit_code == 0, done.stderr
    assert len(s3.ls(f"{name}/trail")) == 2 * MONTHS
    month = months(trail)[0]
    assert command("restore", month, "--into", "app_data.back").exit_code == 0
    assert differing(trail, month, "app_data.back") == 0
    [archive, *_] = archives(trail, "url")
    content = s3.cat_file(archive["url"])
    s3.pipe_file(archive["url"], content[:-1])
    assert command("verify").exit_code == 1
    assert states(trail)[0] == "failed"


@pytest.mark.slow
def test_an_upload_to_s3_that_fails_leaves_nothing(
    trail: Connection, command: Command, bucket: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, name = bucket
    trail.execute("SELECT audit.set_archive(%s)", [f"s3://{name}/trail"])

    def fail(_: object) -> None:
        raise OSError("the connection was lost")

    monkeypatch.setattr("s3fs.core.S3File.commit", fail)
    refused = command("run")
    assert refused.exit_code == 2
    assert "the connection was lost" in refused.stderr
    assert not s3.exists(f"{name}/trail")
    trail.execute("SELECT audit.set_archive('s3://no-such-bucket')")
    refused = command("run")
    assert refused.exit_code == 2
    assert "can't write the archive s3://no-such-bucket/event_" in refused.stderr
    assert states(trail) == ["failed", "failed"]


# --- encodings ----------------------------------------------------------------------------------


def test_archives_of_another_encoding(server: Server, tmp_path: Path) -> None:
    with closed_in(server, "LATIN1", tmp_path) as (connection, url):
        run = ["archive", "run", "--url", url]
        assert CliRunner().invoke(app, run, catch_exceptions=False).exit_code == 0
        month = months(connection)[0]
        command = ["archive", "restore", month, "--into", "public.back", "--url", url]
        assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
        assert differing(connection, month, "public.back") == 0
        assert value(connection, "SELECT actor FROM public.back") == "caf\u00e9"


def test_bytes_that_are_no_text_are_told(server: Server, tmp_path: Path) -> None:
    with closed_in(server, "SQL_ASCII", tmp_path) as (connection, url):
        done = CliRunner().invoke(app, ["archive", "run", "--url", url], catch_exceptions=False)
        assert done.exit_code == 2
        assert 'invalid byte sequence for encoding "UTF8": 0xe9' in done.stderr
        assert states(connection) == ["exporting"]
    assert files(tmp_path) == []


@contextmanager
def closed_in(server: Server, encoding: str, folder: Path) -> Iterator[tuple[Connection, str]]:
    """A database of an encoding with an event whose actor has the byte E9, and its URL."""
    server.template("native")  # roles
    with database_of(server, encoding) as database:
        url = f"{database.url('postgres')}&client_encoding=utf8"
        quietly(schema.upgrade, url)
        with psycopg.connect(url, autocommit=True) as connection:
            close_months(connection, folder, events=0)
            connection.execute(ODD, [b"caf\xe9"])
            yield connection, url


# --- bad input, rights --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["restore", "1999-01-01", "--into", "app_data.x"], "no archive holds 1999-01-01"),
        (["restore", "tomorow", "--into", "app_data.x"], "invalid input syntax for type timestamp"),
        (["restore", "/no/such.parquet", "--into", "app_data.x"], "can't read the archive"),
        (["restore", "none://y/z", "--into", "app_data.x"], "Protocol not known: none"),
        (["restore", "1999-01-01"], "Missing option '--into'"),
        (["verify", "tomorow"], "invalid input syntax for type timestamp"),
        (["run"], "no place for archives is set"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_input(command: Command, arguments: list[str], message: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("into", ["app_data.orders", "no_such.table", "a b", ""])
def test_a_table_that_can_not_be_made(trail: Connection, command: Command, into: str) -> None:
    command("run")
    refused = command("restore", months(trail)[0], "--into", into)
    assert refused.exit_code == 2
    assert "Traceback" not in refused.stderr


def test_an_administrator_may_and_a_reader_may_not(
    trail: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role, code in (("audit_reader", 2), ("audit_admin", 0)):
        url = f"{database.url('postgres')}&options=-crole%3D{role}"
        for verb in ("run", "verify", "list"):
            done = CliRunner().invoke(app, ["archive", verb, "--url", url], catch_exceptions=False)
            assert done.exit_code == code, done.stderr
            assert ("permission denied" in done.stderr) == (code == 2)


def test_every_command_has_an_example() -> None:
    for name in archive.app.registered_commands:
        assert name.callback is not None
        verb = name.name or name.callback.__name__
        assert f"Example: audit-schema archive {verb}" in (name.callback.__doc__ or "")
