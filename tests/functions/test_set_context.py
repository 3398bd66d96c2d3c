"""audit.set_context(): for one transaction, through savepoints, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from trail import Connection, Row, attached, refused, rows, value

ACTORS = "SELECT actor, actor_type, actor_label, metadata FROM audit.change ORDER BY event_id"
NOBODY = dict.fromkeys(("actor", "actor_type", "actor_label", "metadata"))


@pytest.fixture
def own(db: Connection) -> Connection:
    """A database of its own with the attached table app_data.t."""
    attached(db, "id integer")
    db.commit()
    return db


def write(connection: Connection) -> None:
    connection.execute("INSERT INTO app_data.t VALUES (1)")


def contexts(connection: Connection) -> list[Row]:
    return rows(connection, ACTORS)


def test_all_of_it_is_recorded(own: Connection) -> None:
    own.execute(
        "SELECT audit.set_context('7', %s, 'user', 'Ann Größe')",
        (Jsonb({"reason": "refund", "deep": {"list": [1, None, "ß"]}}),),
    )
    write(own)
    assert contexts(own) == [
        {
            "actor": "7",
            "actor_type": "user",
            "actor_label": "Ann Größe",
            "metadata": {"reason": "refund", "deep": {"list": [1, None, "ß"]}},
        }
    ]


def test_nothing_set_leaves_no_actor_but_the_facts_of_the_server(own: Connection) -> None:
    write(own)
    assert contexts(own) == [NOBODY]
    assert value(own, "SELECT database_user FROM audit.change") == "deployer"


def test_it_ends_with_its_transaction_and_leaves_no_trace(own: Connection) -> None:
    for actor in ("ann", None, "bob"):
        if actor:
            own.execute("SELECT audit.set_context(%s)", (actor,))
        write(own)
        own.commit()
        # what is left of a local setting is '', which must not be taken for JSON
        assert not value(own, "SELECT current_setting('audit.context', true)")
        own.commit()
    assert [row["actor"] for row in contexts(own)] == ["ann", None, "bob"]


def test_it_ends_with_a_rollback_too(own: Connection) -> None:
    own.execute("SELECT audit.set_context('ann')")
    own.rollback()
    write(own)
    assert contexts(own) == [NOBODY]


def test_outside_a_transaction_block_it_ends_with_its_own_statement(own: Connection) -> None:
    own.autocommit = True
    own.execute("SELECT audit.set_context('ann')")
    write(own)
    assert contexts(own) == [NOBODY]


def test_it_survives_a_released_savepoint_and_goes_with_a_rolled_back_one(own: Connection) -> None:
    with own.transaction():
        with own.transaction():
            own.execute("SELECT audit.set_context('kept')")
        with own.transaction(force_rollback=True):
            own.execute("SELECT audit.set_context('gone')")
        write(own)
    assert [row["actor"] for row in contexts(own)] == ["kept"]


def test_a_later_call_replaces_all_of_an_earlier_one(own: Connection) -> None:
    own.execute("SELECT audit.set_context('ann', '{\"a\": 1}', 'user', 'Ann')")
    own.execute("SELECT audit.set_context('bob')")
    write(own)
    assert contexts(own) == [NOBODY | {"actor": "bob"}]


def test_a_call_counts_from_the_next_change_on(own: Connection) -> None:
    for actor in ("ann", None, "bob", "ann"):
        own.execute("SELECT audit.set_context(%s)", (actor,))
        write(own)
    assert [row["actor"] for row in contexts(own)] == ["ann", None, "bob", "ann"]


def test_metadata_without_an_actor_is_fine(own: Connection) -> None:
    own.execute("SELECT audit.set_context(NULL, '{\"job\": 7}')")
    write(own)
    assert contexts(own) == [NOBODY | {"metadata": {"job": 7}}]


def test_it_can_be_called_by_name(own: Connection) -> None:
    own.execute("SELECT audit.set_context(p_actor => 'ann', p_actor_label => 'Ann')")
    write(own)
    assert contexts(own) == [NOBODY | {"actor": "ann", "actor_label": "Ann"}]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ("''", "actor must not be empty", "NULL"),
        ("repeat('é', 1251)", "actor has 2502 bytes, at most 2500 are allowed", "id"),
        ("'a', '[1]'", "metadata must be a JSON object, got [1]", '{"reason"'),
        ("'a', '\"x\"'", 'metadata must be a JSON object, got "x"', '{"reason"'),
        ("'a', '7'", "metadata must be a JSON object, got 7", '{"reason"'),
        ("'a', 'null'", "metadata must be a JSON object, got null", '{"reason"'),
    ],
)
def test_it_refuses_and_keeps_what_was_set(
    own: Connection, arguments: str, message: str, hint: str
) -> None:
    own.execute("SELECT audit.set_context('ann')")
    statement = f"SELECT audit.set_context({arguments})"
    refused(own, errors.InvalidParameterValue, statement, message=message, hint=hint)
    write(own)
    assert [row["actor"] for row in contexts(own)] == ["ann"]


def test_text_that_is_no_json_is_refused_by_its_type(own: Connection) -> None:
    refused(own, errors.InvalidTextRepresentation, "SELECT audit.set_context('a', '{x')")


def test_the_longest_actor_fits_into_the_index_though_it_does_not_compress(own: Connection) -> None:
    digits = "SELECT left(string_agg(md5(i::text), ''), 2500) FROM generate_series(1, 99) AS i"
    actor = value(own, digits)
    own.execute("SELECT audit.set_context(%s)", (actor,))
    write(own)
    assert contexts(own) == [NOBODY | {"actor": actor}]


@pytest.mark.parametrize(
    "text", ['"', "\\", "'; DROP TABLE x; --", "{}", "é\n\t\u2028", "é" * 1250]
)
def test_any_text_comes_back_as_it_was(own: Connection, text: str) -> None:
    own.execute(
        "SELECT audit.set_context(%(text)s, %(metadata)s, %(text)s, %(text)s)",
        {"text": text, "metadata": Jsonb({text: text})},
    )
    write(own)
    expected: dict[str, Any] = dict.fromkeys(("actor", "actor_type", "actor_label"), text)
    assert contexts(own) == [expected | {"metadata": {text: text}}]
