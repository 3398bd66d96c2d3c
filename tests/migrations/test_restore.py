"""A dump, a copy and pg_upgrade take the trail along; what is captured afterwards is new."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest
from psycopg.types.json import Jsonb

import replay
import servers
from audit_schema import schema
from audit_schema.local_server import LocalServer
from migrations.conftest import quietly
from servers import Database, Server
from trail import MODES, Connection, events, value

HISTORY = """
    SELECT action, actor, old_values, new_values FROM audit.history('app_data.orders', '1')
"""


def test_history_and_attachment_survive_dump_and_restore(
    server: Server, database: Database, clone: Callable[[str], Database]
) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE app_data.orders (id int PRIMARY KEY, total numeric)")
        connection.execute("SELECT audit.attach('app_data.orders')")
        connection.execute("SELECT audit.set_context('42')")
        connection.execute("INSERT INTO app_data.orders VALUES (1, 1.50)")
    dump = [str(server.bindir / "pg_dump"), "-Fc", "-d", database.url("postgres")]
    archive = subprocess.run(dump, capture_output=True, check=True).stdout

    restored = clone("blank")
    restore = [str(server.bindir / "pg_restore"), "--clean", "--if-exists", "--exit-on-error"]
    subprocess.run([*restore, "-d", restored.url("postgres")], input=archive, check=True)

    with restored.connect() as connection:
        before = connection.execute(HISTORY).fetchall()
        connection.execute("SELECT audit.set_context('43')")
        connection.execute("UPDATE app_data.orders SET total = 2")
        after = connection.execute(HISTORY).fetchall()
        run = connection.execute("SELECT status FROM audit.run_maintenance()").fetchone()
    assert run == ("ok",)
    insert = ("insert", "42", None, {"id": 1, "total": 1.5})
    assert before == [insert]
    assert after == [("update", "43", {"total": 1.5}, {"total": 2}), insert]


ORDERS = """
    CREATE TABLE app_data.orders (id int PRIMARY KEY, total numeric);
    SELECT audit.attach('app_data.orders', '{mode}')
"""
TRANSACTIONS = """
    SELECT transaction_id, min(xid), array_agg(DISTINCT actor), array_agg(DISTINCT metadata)
      FROM audit.change GROUP BY 1 ORDER BY 1
"""


def write_as(connection: Connection, actor: str, statement: str) -> None:
    """Run and commit a statement in the context of an actor."""
    connection.execute("SELECT audit.set_context(%s, %s)", [actor, Jsonb({"by": actor})])
    connection.execute(statement.encode())
    connection.commit()


def next_xid_is(connection: Connection, xid: int) -> None:
    """Use up transaction ids, so that the next one is this."""
    connection.autocommit = True
    while (last := value(connection, "SELECT txid_current()")) < xid - 1:
        pass
    assert last == xid - 1
    connection.autocommit = False


@pytest.mark.slow
def test_transactions_after_a_restore_do_not_mix_with_older_ones_of_the_same_xid(
    server: Server,
) -> None:
    """In a new cluster xids begin anew; roles come from pg_dumpall."""
    with (
        Server(server.name) as old_server,
        old_server.clone("native") as database,
        database.connect() as old,
    ):
        old.execute(ORDERS.format(mode="statement").encode())
        old.commit()
        old.autocommit = True
        for _ in range(2000):  # the old cluster has been used
            old.execute("SELECT txid_current()")
        old.autocommit = False
        write_as(old, "old", "INSERT INTO app_data.orders SELECT generate_series(1, 3), 1.50")
        [(old_id, xid, *_)] = old.execute(TRANSACTIONS).fetchall()
        history = old.execute("SELECT * FROM audit.change ORDER BY event_id").fetchall()
        attached = old.execute("TABLE audit.tracked_table").fetchall()
        old.commit()
        roles = dumped(server, "pg_dumpall", "--roles-only", "-d", database.url("postgres"))
        archive = dumped(server, "pg_dump", "-Fc", "-d", database.url("postgres"))

    with LocalServer(server.bindir) as new_server:
        new = Database(new_server, database.name)
        script = new_server.folder / "roles.sql"
        script.write_bytes(roles.replace(b"CREATE ROLE postgres;", b""))
        new_server.run_script(script)
        restored = [str(server.bindir / "pg_restore"), "--create", "--exit-on-error"]
        target = new_server.url("postgres")
        subprocess.run([*restored, "-d", target], input=archive, check=True)
        with new.connect() as connection, new.connect("postgres") as root:
            assert (
                root.execute("SELECT * FROM audit.change ORDER BY event_id").fetchall() == history
            )
            assert root.execute("TABLE audit.tracked_table").fetchall() == attached
            root.commit()
            next_xid_is(connection, xid)
            write_as(connection, "new", "UPDATE app_data.orders SET total = 2.00 WHERE id < 3")
            write_as(connection, "newer", "DELETE FROM app_data.orders WHERE id = 1")
            transactions = root.execute(TRANSACTIONS).fetchall()
            assert transactions[0][0] == old_id
            assert [x for _, x, *_ in transactions] == [xid, xid, xid + 1]
            names = ["old", "new", "newer"]
            assert [rest for *_, rest in transactions] == [[{"by": name}] for name in names]
            assert [actors for _, _, actors, _ in transactions] == [[name] for name in names]
            for (id_, *_), count in zip(transactions, (3, 2, 1), strict=True):
                changes = root.execute("SELECT * FROM audit.transaction_changes(%s)", [id_])
                assert len(changes.fetchall()) == count
            ids = value(root, "SELECT count(DISTINCT event_id) FROM audit.change")
            assert ids == 6
            assert value(root, "SELECT (audit.run_maintenance()).status") == "ok"
            states = root.execute("SELECT item FROM audit.status() WHERE state = 'warning'")
            assert states.fetchall() == []
            replay.check(root, "app_data.orders")


def dumped(server: Server, program: str, *arguments: str) -> bytes:
    """What a program of the server writes."""
    command = [str(server.bindir / program), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.parametrize("mode", MODES)
def test_rows_copied_into_an_attached_table_are_recorded(database: Database, mode: str) -> None:
    with database.connect("postgres") as root:
        root.execute(ORDERS.format(mode=mode).encode())
        with root.cursor().copy("COPY app_data.orders FROM STDIN") as copy:
            copy.write("1\t1.50\n2\t2.50\n")
        replay.check(root, "app_data.orders")
        root.execute("SET session_replication_role = replica")  # as pg_restore --disable-triggers
        with root.cursor().copy("COPY app_data.orders FROM STDIN") as copy:
            copy.write("3\t3.50\n")
        assert len(events(root)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "always", "recorded"),
    [
        ("statement", False, []),
        ("row", False, []),
        # the initial copy fires both kinds of triggers, the changes that follow those for rows only
        ("statement", True, ["insert"]),
        ("row", True, ["insert", "insert", "update", "delete"]),
    ],
)
def test_a_subscriber_records_what_arrives_only_if_its_triggers_fire_always(
    server: Server, mode: str, always: bool, recorded: list[str]
) -> None:
    with (
        Server(server.name, {"wal_level": "logical"}) as own,
        own.clone("native") as source,
        own.clone("native") as target,
        source.connect("postgres", autocommit=True) as publisher,
        target.connect("postgres", autocommit=True) as subscriber,
    ):
        publisher.execute(ORDERS.format(mode="statement").encode())
        publisher.execute("CREATE PUBLICATION orders FOR TABLE app_data.orders")
        write_as(publisher, "there", "INSERT INTO app_data.orders VALUES (1, 1.50)")
        subscriber.execute(ORDERS.format(mode=mode).encode())
        subscriber.execute(
            "SELECT audit.attach('app_data.orders', %s, p_enable_always => %s)", (mode, always)
        )
        # within one cluster the slot has to be there before
        publisher.execute("SELECT pg_create_logical_replication_slot('orders', 'pgoutput')")
        subscriber.execute(
            f"CREATE SUBSCRIPTION orders CONNECTION '{source.url('postgres')}'"
            " PUBLICATION orders WITH (slot_name = orders, create_slot = false)"
        )
        try:
            wait_for(subscriber, "SELECT count(*) = 1 FROM app_data.orders")
            publisher.execute("INSERT INTO app_data.orders VALUES (2, 2.50)")
            publisher.execute("UPDATE app_data.orders SET total = 3 WHERE id = 1")
            publisher.execute("DELETE FROM app_data.orders WHERE id = 2")
            publisher.execute("INSERT INTO app_data.orders VALUES (3, 0)")
            wait_for(subscriber, "SELECT EXISTS (SELECT FROM app_data.orders WHERE id = 3)")
        finally:
            subscriber.execute("ALTER SUBSCRIPTION orders DISABLE")
            subscriber.execute("ALTER SUBSCRIPTION orders SET (slot_name = NONE)")
            subscriber.execute("DROP SUBSCRIPTION orders")
        found = [event["action"] for event in events(subscriber)]
        assert found == ([*recorded, "insert"] if len(recorded) > 1 else recorded)
        subscriber.execute("INSERT INTO app_data.orders VALUES (4, 0)")
        assert len(events(subscriber)) == len(found) + 1
        states = "SELECT state FROM audit.status() WHERE item = 'attached tables'"
        assert value(subscriber, states) == "ok"


def wait_for(connection: Connection, query: str) -> None:
    """Wait until a query gives true; the connection is in autocommit mode."""
    deadline = time.monotonic() + 30
    while not value(connection, query):
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [("15", "17"), ("17", "18"), ("15", "18")])
def test_pg_upgrade_keeps_the_trail(server_names: list[str], before: str, after: str) -> None:
    if not {before, after} <= {*server_names}:
        pytest.skip(f"needs PostgreSQL {before} and {after}")
    settings = {**servers.TEST_SETTINGS, "max_connections": 100}
    with (
        Server(before) as old_server,
        old_server.clone("native") as old,
        LocalServer(
            servers.bindir_of(after), settings, configuration=servers.DOCKER / "postgresql.conf"
        ) as new_server,
    ):
        with old.connect() as connection:
            connection.execute(ORDERS.format(mode="statement").encode())
            connection.execute("CREATE TABLE app_data.parts (id int) PARTITION BY HASH (id)")
            connection.execute(
                "CREATE TABLE app_data.p0 PARTITION OF app_data.parts"
                " FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
            )
            connection.execute("SELECT audit.attach('app_data.parts')")
            write_as(connection, "old", "INSERT INTO app_data.orders SELECT generate_series(1, 9)")
            write_as(connection, "old", "INSERT INTO app_data.parts SELECT generate_series(1, 9)")
            history = connection.execute("SELECT * FROM audit.change ORDER BY event_id").fetchall()
        with old_server.paused(), new_server.paused():
            if after == "18":  # whose initdb turns checksums on
                run(new_server, f"{new_server.bindir}/pg_checksums --disable -D {new_server.data}")
            run(
                new_server,
                f"cd {new_server.folder} && {new_server.bindir}/pg_upgrade --username=postgres"
                f" --old-bindir={old_server.bindir} --new-bindir={new_server.bindir}"
                f" --old-datadir={old_server.data} --new-datadir={new_server.data}",
            )
        new = Database(new_server, old.name)
        with new.connect() as connection, new.connect("postgres") as root:
            assert (
                root.execute("SELECT * FROM audit.change ORDER BY event_id").fetchall() == history
            )
            write_as(connection, "new", "UPDATE app_data.orders SET total = id")
            write_as(connection, "new", "DELETE FROM app_data.parts WHERE id < 3")
            replay.check(root, "app_data.orders", "app_data.parts")
            actors = root.execute("SELECT actor, count(*) FROM audit.change GROUP BY 1 ORDER BY 1")
            assert actors.fetchall() == [("new", 11), ("old", 18)]
            root.execute("SELECT audit.set_partitioning('month', 9)")
            assert value(root, "SELECT (audit.run_maintenance()).status") == "ok"
            states = root.execute("SELECT item, value FROM audit.status() WHERE state = 'warning'")
            assert states.fetchall() == []
        quietly(schema.upgrade, new.url())


def run(server: LocalServer, command: str) -> None:
    """Run a shell command as the user of the server."""
    done = server.run("/bin/sh", "-c", command)
    logs = server.data.glob("pg_upgrade_output.d/*/log/*")
    lines = [line for log in logs for line in log.read_text().splitlines() if "ERROR" in line]
    if any('unrecognized parameter "pg_attver"' in line for line in lines):
        pytest.xfail(
            "this PostgreSQL 17 writes an option pg_attver to each column of each table, audited"
            " or not, and pg_upgrade to this 18 cannot restore that"
        )
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *lines])
