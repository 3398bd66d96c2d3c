"""Policy: what of a table is recorded, and that nothing else reaches the disk."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors

from audit_schema.schema import upgrade
from servers import Database, Server
from trail import MODES, Connection, acting_as, acts, event, events, refused, rows, value

SECRET = "4929 8765 1234 0006"
SECRETS = ("SECRETCARD", "SECRETMAIL", "SECRETNOTE")
PERSON = """
    CREATE TABLE app_data.person (
        id integer PRIMARY KEY, name text, card text, email text, notes text)
"""


def attach(connection: Connection, mode: str = "statement", **policy: Any) -> int:
    """Attach app_data.person with a policy."""
    arguments = {f"p_{name}": given for name, given in policy.items()}
    named = "".join(f", {name} => %({name})s" for name in arguments)
    query = f"SELECT audit.attach('app_data.person', %(mode)s{named})"
    return int(value(connection, query, {"mode": mode, **arguments}))


def person(connection: Connection, mode: str = "statement", **policy: Any) -> int:
    connection.execute(PERSON)
    return attach(connection, mode, **policy)


def insert(connection: Connection, number: int = 1) -> None:
    connection.execute(
        "INSERT INTO app_data.person SELECT i, 'Ann', %s, 'ann@example.com', 'calm' "
        "FROM generate_series(1, %s) AS i",
        (SECRET, number),
    )


def hashed(root: Connection, given: Any) -> str:
    """What a value is recorded as, computed by the standard library."""
    [(pad,)] = root.execute("SELECT inner_pad FROM audit.hash_key").fetchall()
    key = bytes(byte ^ 0x36 for byte in pad[:32])
    text = json.dumps(given, ensure_ascii=False)
    return "hmac-sha256:" + hmac.digest(key, text.encode(), hashlib.sha256).hex()


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_an_excluded_column_is_not_recorded(tx: Connection, mode: str, number: int) -> None:
    person(tx, mode, exclude=["card", "notes"])
    insert(tx, number)
    tx.execute("UPDATE app_data.person SET card = 'x', notes = 'y'")
    tx.execute("UPDATE app_data.person SET card = 'z', name = 'Bob'")
    tx.execute("DELETE FROM app_data.person")
    whole = {"name": "Ann", "email": "ann@example.com"}
    each = [{"id": i} for i in range(1, number + 1)]
    assert events(tx) == [
        *(event("insert", key, None, key | whole) for key in each),
        *(event("update", key, {"name": "Ann"}, {"name": "Bob"}) for key in each),
        *(event("delete", key, key | whole | {"name": "Bob"}, None) for key in each),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_only_the_named_columns_and_the_key_are_recorded(tx: Connection, mode: str) -> None:
    person(tx, mode, only=["name"], redact=["card"])
    insert(tx)
    tx.execute("ALTER TABLE app_data.person ADD later text DEFAULT 'secret'")
    tx.execute("UPDATE app_data.person SET later = 'x', notes = 'y', email = 'z'")
    tx.execute("UPDATE app_data.person SET name = 'Bob'")
    assert events(tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "name": "Ann", "card": "[redacted]"}),
        event("update", {"id": 1}, {"name": "Ann"}, {"name": "Bob"}),
    ]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_of_a_redacted_column_only_the_change_is_recorded(
    tx: Connection, mode: str, number: int
) -> None:
    person(tx, mode, redact=["card"], exclude=["name", "email", "notes"])
    insert(tx, number)
    tx.execute("UPDATE app_data.person SET card = 'x'")
    tx.execute("UPDATE app_data.person SET card = NULL")
    tx.execute("UPDATE app_data.person SET notes = 'loud'")
    hidden, gone = {"card": "[redacted]"}, {"card": None}
    each = [{"id": i} for i in range(1, number + 1)]
    assert events(tx) == [
        *(event("insert", key, None, key | hidden) for key in each),
        *(event("update", key, hidden, hidden) for key in each),
        *(event("update", key, hidden, gone) for key in each),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_hashed_column_is_recorded_as_a_keyed_hash(root_tx: Connection, mode: str) -> None:
    person(root_tx, mode, hash=["card"], exclude=["name", "email", "notes"])
    insert(root_tx)
    root_tx.execute("UPDATE app_data.person SET card = 'x'")
    first, second = hashed(root_tx, SECRET), hashed(root_tx, "x")
    assert events(root_tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "card": first}),
        event("update", {"id": 1}, {"card": first}, {"card": second}),
    ]


def test_a_row_with_a_hashed_key_is_found_by_its_key(root_tx: Connection) -> None:
    person(root_tx, hash=["id"], only=["name"])
    insert(root_tx)
    [found] = rows(root_tx, "SELECT * FROM audit.history('app_data.person', '1')")
    assert found["row_key"] == {"id": hashed(root_tx, 1)}
    assert found["new_values"] == {"id": hashed(root_tx, 1), "name": "Ann"}


def test_nobody_but_the_owner_reads_the_hash_key(root_tx: Connection) -> None:
    for role in ("audit_reader", "audit_admin", "app"):
        with acting_as(root_tx, role):
            refused(root_tx, errors.InsufficientPrivilege, "TABLE audit.hash_key")


def test_each_trail_has_a_key_of_its_own(clone: Callable[[str], Database]) -> None:
    pads: list[tuple[bytes, bytes]] = []
    for database in (clone("native"), clone("blank")):
        upgrade(database.url("postgres"))
        with database.connect("postgres") as db:
            pads += db.execute("SELECT inner_pad, outer_pad FROM audit.hash_key").fetchall()
    for inner, outer in pads:
        key = bytes(byte ^ 0x36 for byte in inner)
        assert bytes(byte ^ 0x5C for byte in outer) == key
        assert key[32:] == bytes(32)
    assert pads[0] != pads[1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("treatment", ["exclude", "redact", "hash"])
def test_a_secret_stays_secret_when_its_column_is_renamed(
    tx: Connection, mode: str, treatment: str
) -> None:
    person(tx, mode, **{treatment: ["card"]})
    tx.execute("ALTER TABLE app_data.person RENAME card TO old_card")
    tx.execute("ALTER TABLE app_data.person ADD card text")
    insert(tx)
    tx.execute("UPDATE app_data.person SET old_card = %s, card = %s", ("1" + SECRET, "2" + SECRET))
    recorded = str(events(tx))
    assert "ann@example.com" in recorded
    assert SECRET not in recorded
    [broken] = rows(tx, "SELECT * FROM audit.status() WHERE item = 'attached tables'")
    assert broken["state"] == "warning"


def test_a_secret_stays_secret_when_a_restore_numbers_the_columns_anew(tx: Connection) -> None:
    tx.execute("CREATE TABLE app_data.person (gone text, id integer PRIMARY KEY, card text)")
    tx.execute("ALTER TABLE app_data.person DROP gone")
    attach(tx, redact=["card"])
    [definition] = tx.execute(
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = '_audit_insert'"
    ).fetchall()
    tx.execute("DROP TABLE app_data.person")
    tx.execute("CREATE TABLE app_data.person (id integer PRIMARY KEY, card text, note text)")
    tx.execute(definition[0])
    tx.execute("INSERT INTO app_data.person VALUES (1, %s, 'calm')", (SECRET,))
    [only] = events(tx)
    assert SECRET not in str(only)
    assert only["new_values"]["id"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_dropped_column_of_a_policy_does_not_stop_writes(tx: Connection, mode: str) -> None:
    person(tx, mode, exclude=["notes"], redact=["card"], hash=["email"])
    tx.execute("ALTER TABLE app_data.person DROP notes, DROP card, DROP email")
    tx.execute("INSERT INTO app_data.person VALUES (1, 'Ann')")
    assert events(tx) == [event("insert", {"id": 1}, None, {"id": 1, "name": "Ann"})]


def test_a_policy_holds_in_partitions_whose_columns_are_in_another_order(tx: Connection) -> None:
    tx.execute(
        "CREATE TABLE app_data.person (id integer PRIMARY KEY, card text, name text)"
        " PARTITION BY RANGE (id)"
    )
    tx.execute("CREATE TABLE app_data.part (gone text, name text, card text, id integer NOT NULL)")
    tx.execute("ALTER TABLE app_data.part DROP gone")
    attach(tx, redact=["card"])
    tx.execute(
        "ALTER TABLE app_data.person ATTACH PARTITION app_data.part FOR VALUES FROM (0) TO (9)"
    )
    tx.execute("INSERT INTO app_data.person VALUES (1, %s, 'Ann')", (SECRET,))
    whole = {"id": 1, "name": "Ann", "card": "[redacted]"}
    assert events(tx) == [event("insert", {"id": 1}, None, whole)]


@pytest.mark.parametrize("mode", MODES)
def test_a_policy_holds_for_rows_of_foreign_types(tx: Connection, mode: str) -> None:
    tx.execute("CREATE TYPE app_data.mood AS ENUM ('calm', 'loud')")
    tx.execute("CREATE TABLE app_data.person (id integer PRIMARY KEY, m app_data.mood, card text)")
    attach(tx, mode, redact=["card"])
    tx.execute("INSERT INTO app_data.person VALUES (1, 'calm', %s)", (SECRET,))
    whole = {"id": 1, "m": "calm", "card": "[redacted]"}
    assert events(tx) == [event("insert", {"id": 1}, None, whole)]


@pytest.mark.parametrize("mode", MODES)
def test_a_table_without_a_key_has_no_secret_in_its_key(tx: Connection, mode: str) -> None:
    tx.execute("CREATE TABLE app_data.person (name text, card text, notes text)")
    attach(tx, mode, redact=["card"], exclude=["notes"])
    tx.execute("INSERT INTO app_data.person VALUES ('Ann', %s, 'calm')", (SECRET,))
    whole = {"name": "Ann", "card": "[redacted]"}
    assert events(tx) == [event("insert", whole, None, whole)]


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        ({"exclude": ["age"]}, errors.UndefinedColumn, "has no column 'age'"),
        ({"hash": [None]}, errors.UndefinedColumn, "has no column NULL"),
        ({"exclude": ["card"], "only": ["name"]}, errors.InvalidParameterValue, "not both"),
        ({"redact": ["card"], "hash": ["card"]}, errors.InvalidParameterValue, "card"),
        ({"exclude": ["card", "card"]}, errors.InvalidParameterValue, "named twice"),
        ({"exclude": ["id"]}, errors.InvalidParameterValue, "column id"),
        ({"redact": ["id"]}, errors.InvalidParameterValue, "cannot be left out"),
    ],
)
def test_attach_refuses_a_policy_that_makes_no_sense(
    tx: Connection, policy: dict[str, Any], error: type[Exception], message: str
) -> None:
    tx.execute(PERSON)
    with pytest.raises(error, match=message) as caught:
        attach(tx, **policy)
    assert caught.value.diag.message_hint  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", MODES)
def test_a_table_that_requires_an_actor_takes_no_anonymous_write(tx: Connection, mode: str) -> None:
    person(tx, mode, require_actor=True)
    for statement in (
        "INSERT INTO app_data.person VALUES (1)",
        "INSERT INTO app_data.person SELECT generate_series(1, 3)",
        "TRUNCATE app_data.person",
    ):
        refused(tx, errors.CheckViolation, statement, message="app_data.person", hint="set_context")
    tx.execute("SELECT audit.set_context(NULL, '{\"ticket\": 1}')")
    refused(tx, errors.CheckViolation, "INSERT INTO app_data.person VALUES (1)")
    tx.execute("SELECT audit.set_context('ann')")
    for statement in (
        "INSERT INTO app_data.person VALUES (1)",
        "UPDATE app_data.person SET name = 'x'",
        "DELETE FROM app_data.person",
        "TRUNCATE app_data.person",
    ):
        tx.execute(statement)
    tx.execute("SELECT audit.set_context(NULL)")
    tx.execute("UPDATE app_data.person SET name = 'x'")  # no row, no change, nobody needed
    assert [each["action"] for each in events(tx)] == ["insert", "update", "delete", "truncate"]


def test_a_change_of_policy_is_an_event(tx: Connection) -> None:
    id_ = person(tx, redact=["card"])
    tx.execute("SELECT audit.set_context('dba', '{\"ticket\": 7}')")
    assert attach(tx, redact=["card"]) == id_
    assert acts(tx) == []
    assert attach(tx, hash=["card"], require_actor=True) == id_
    tx.execute("SELECT audit.detach('app_data.person')")
    assert attach(tx) == id_
    columns = ("action", "actor", "metadata", "old_values", "new_values", "table_name")
    found = acts(tx, columns)
    assert [each["action"] for each in found] == ["attach", "detach", "attach"]
    for each in found:
        assert (each["actor"], each["metadata"]) == ("dba", {"ticket": 7})
        assert each["table_name"] == "person"
    changed, ended, again = found
    assert changed["old_values"]["policy"] == {"redact": ["card"]}
    assert changed["new_values"]["policy"] == {"hash": ["card"]}
    assert changed["new_values"]["require_actor"] is True
    assert ended["old_values"] == changed["new_values"]
    assert ended["new_values"] is None
    assert again["old_values"]["detached_at"] is not None
    assert again["new_values"]["policy"] == {}
    insert(tx)
    assert SECRET in str(events(tx))


def test_a_renamed_and_a_dropped_table_are_events(tx: Connection) -> None:
    person(tx)
    tx.execute("ALTER TABLE app_data.person RENAME TO customer")
    tx.execute("SELECT audit.run_maintenance()")
    tx.execute("DROP TABLE app_data.customer")
    tx.execute("SELECT audit.run_maintenance()")
    renamed, dropped = acts(tx)
    assert renamed == event(
        "rename",
        None,
        {"schema_name": "app_data", "table_name": "person"},
        {"schema_name": "app_data", "table_name": "customer"},
    )
    assert dropped["action"] == "drop"
    assert dropped["old_values"]["table_name"] == "customer"


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_secret_of_an_unlogged_table_is_nowhere_on_disk(server: Server, mode: str) -> None:
    """The table is unlogged and dropped, so all that is left of it would be the trail's."""
    with (
        Server(server.name, {}) as own,
        own.clone() as database,
        database.connect("postgres", autocommit=True) as db,
    ):
        db.execute(PERSON.replace("CREATE TABLE", "CREATE UNLOGGED TABLE"))
        attach(db, mode, redact=["card"], hash=["email"], exclude=["notes"])
        write_secrets(db)
        db.execute("DROP TABLE app_data.person")
        db.execute("CHECKPOINT")
        assert on_disk(own, "not a secret") > 0
        for secret in SECRETS:
            assert on_disk(own, secret) == 0


def write_secrets(db: Connection) -> None:
    values = "'not a secret', 'SECRETCARD' || i, 'SECRETMAIL' || i, 'SECRETNOTE' || i"
    for number in (1, 500):
        db.execute(
            f"INSERT INTO app_data.person SELECT i, {values} FROM generate_series(1, {number}) AS i"
        )
        db.execute("UPDATE app_data.person SET card = card || '+', email = email || '+'")
        db.execute("DELETE FROM app_data.person")
    db.execute("CHECKPOINT")


def on_disk(own: Server, text: str) -> int:
    """The number of files of a server, WAL included, in which a text occurs."""
    wanted = text.encode()
    found = 0
    for path in own.data.rglob("*"):
        if path.is_file() and not path.is_relative_to(own.data / "pg_stat_tmp"):
            found += wanted in path.read_bytes()
    return found


def test_a_reader_sees_the_policy(database: Database) -> None:
    with database.connect("postgres") as db:
        person(db, redact=["card"])
        with acting_as(db, "audit_reader"):
            [found] = rows(db, "SELECT policy, require_actor FROM audit.tracked_table")
        assert found == {"policy": {"redact": ["card"]}, "require_actor": False}
