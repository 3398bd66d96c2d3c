"""audit.set_index_profile(): maintenance brings the indexes of partitions to their profile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import errors

from partitions import maintain, partition_of, states, suffixes
from servers import Database
from trail import Connection, acting_as, attached, locked_partitions, refused, rows, value

STANDARD = {"table_idx", "actor_idx"}
PROFILES = {
    "lean": set(),
    "standard": STANDARD,
    "search": STANDARD | {"new_values_idx", "metadata_idx"},
}
SHARED = """
    SELECT count(*) FROM pg_inherits AS i JOIN pg_index AS x ON x.indexrelid = i.inhrelid
     WHERE i.inhparent IN ('audit.event_pkey'::regclass, 'audit.event_row_idx'::regclass)
"""
OPEN = "SELECT partition FROM audit.partition WHERE to_time > now() OR is_default"
RUNNING = "SELECT partition FROM audit.partition WHERE from_time <= now() AND to_time > now()"


@pytest.fixture
def own(backend_database: Database) -> Iterator[Connection]:
    """The deployer in a database of its own, natively partitioned or by pg_partman."""
    with backend_database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def other(backend_database: Database) -> Iterator[Connection]:
    """A second session in the same database, the superuser's."""
    with backend_database.connect("postgres") as connection:
        yield connection


def choose(connection: Connection, hot: str | None, closed: str | None = "standard") -> None:
    connection.execute("SELECT audit.set_index_profile(%s, %s)", (hot, closed))


def found(connection: Connection) -> list[set[str]]:
    """The different sets of indexes that open partitions have."""
    sets = [suffixes(connection, row["partition"]) for row in rows(connection, OPEN)]
    return [one for number, one in enumerate(sets) if one not in sets[:number]]


def test_a_fresh_installation_has_the_standard_profile(own: Connection) -> None:
    query = "SELECT hot_index_profile, closed_index_profile FROM audit.setting"
    assert rows(own, query) == [
        {"hot_index_profile": "standard", "closed_index_profile": "standard"}
    ]
    assert found(own) == [STANDARD]
    assert value(own, SHARED) == 2 * value(own, "SELECT count(*) FROM audit.partition")


@pytest.mark.parametrize("profile", PROFILES)
def test_maintenance_brings_open_partitions_to_it(own: Connection, profile: str) -> None:
    choose(own, profile)
    assert found(own) == [STANDARD]
    run = maintain(own)
    assert (run["status"], run["message"]) == ("ok", None)
    assert found(own) == [PROFILES[profile]]
    own.execute("SELECT audit.set_partitioning('month', 6)")
    assert found(own) == [PROFILES[profile]]
    own.execute("SELECT audit.set_partitioning('day', 3)")
    assert found(own) == [PROFILES[profile]]
    choose(own, "standard")
    maintain(own)
    assert found(own) == [STANDARD]
    assert value(own, SHARED) == 2 * value(own, "SELECT count(*) FROM audit.partition")


def test_only_the_setting_changes_at_once(own: Connection) -> None:
    own.execute("BEGIN")
    choose(own, "lean", "search")
    assert locked_partitions(own) == set()
    own.execute("COMMIT")
    assert found(own) == [STANDARD]


def test_an_index_is_never_built_where_rows_are_written(own: Connection, other: Connection) -> None:
    choose(own, "lean")
    maintain(own)
    attached(own, "id integer PRIMARY KEY")
    other.execute("INSERT INTO app_data.t VALUES (1)")
    choose(own, "search")
    run = maintain(own)
    assert (run["status"], run["message"]) == ("ok", None)
    assert suffixes(own, value(own, RUNNING)) == set()
    assert suffixes(own, "event_default") == PROFILES["search"]
    other.execute("SET lock_timeout = '1s'; INSERT INTO app_data.t VALUES (2)")
    other.commit()


def test_a_partition_that_is_made_for_rows_of_default_has_its_indexes(own: Connection) -> None:
    own.execute(f"DROP TABLE audit.{value(own, RUNNING)}")
    attached(own, "id integer PRIMARY KEY")
    own.execute("INSERT INTO app_data.t VALUES (1)")
    run = maintain(own)
    assert (run["partitions_created"], run["rows_moved"]) == (1, 1)
    assert suffixes(own, value(own, RUNNING)) == STANDARD


@pytest.mark.parametrize("mode", ["ROW EXCLUSIVE", "ACCESS SHARE"])
def test_a_busy_partition_keeps_its_indexes_until_the_next_run(
    own: Connection, other: Connection, mode: str
) -> None:
    name = value(own, RUNNING)
    other.execute(f"LOCK TABLE audit.{name} IN {mode} MODE")
    choose(own, "lean")
    run = maintain(own)
    assert (run["status"], run["message"]) == (
        "ok",
        f"indexes are not as they shall be yet, being busy: {{audit.{name}}}",
    )
    assert suffixes(own, name) == STANDARD
    assert suffixes(own, "event_default") == set()
    other.rollback()
    assert maintain(own)["message"] is None
    assert suffixes(own, name) == set()


def test_indexes_of_others_are_left_alone(own: Connection, other: Connection) -> None:
    name = value(own, RUNNING)
    other.execute(f"CREATE INDEX mine ON audit.{name} USING gin (new_values jsonb_path_ops)")
    other.commit()
    choose(own, "lean", "lean")
    maintain(own)
    query = "SELECT count(*) FROM pg_class WHERE relname = 'mine'"
    assert value(own, query) == 1


def test_a_partition_that_others_made_is_completed(own: Connection, other: Connection) -> None:
    with acting_as(other, "audit_owner"):
        other.execute("""
            CREATE TABLE audit.mine PARTITION OF audit.event
                FOR VALUES FROM ('2100-01-01 00:00+00') TO ('2100-02-01 00:00+00')
        """)
    other.commit()
    assert suffixes(own, "mine") == set()
    maintain(own)
    assert suffixes(own, "mine") == STANDARD


def test_what_an_interrupted_build_left_is_built_again(own: Connection, other: Connection) -> None:
    other.execute("""
        UPDATE pg_index SET indisvalid = false
         WHERE indexrelid = 'audit.event_default_actor_idx'::regclass
    """)
    other.commit()
    assert suffixes(own, "event_default") == {"table_idx"}
    assert maintain(own)["status"] == "ok"
    assert suffixes(own, "event_default") == STANDARD


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_read_does_not_depend_on_the_profile(own: Connection, profile: str) -> None:
    choose(own, profile, profile)
    maintain(own)
    attached(own, "id integer PRIMARY KEY, n integer")
    for number in range(3):
        with own.transaction():
            own.execute("SELECT audit.set_context('ann', '{\"ticket\": 7}')")
            own.execute("INSERT INTO app_data.t VALUES (%s, 1)", (number,))
    for call, expected in (
        ("history('app_data.t')", 3),
        ("history('app_data.t', '2')", 1),
        ("actor_activity('ann')", 3),
        ("transaction_changes((SELECT max(transaction_id::text)::uuid FROM audit.change))", 1),
        ("search('{\"id\": 2}')", 1),
        ("search(p_metadata => '{\"ticket\": 7}')", 3),
    ):
        assert len(rows(own, f"SELECT * FROM audit.{call}")) == expected, call


@pytest.mark.parametrize("profile", ["", "LEAN", "gin", None])
def test_an_unknown_profile_is_refused(tx: Connection, profile: str | None) -> None:
    shown = "NULL" if profile is None else f"'{profile}'"
    for arguments in ((profile, "lean"), ("lean", profile)):
        refused(
            tx,
            errors.InvalidParameterValue,
            "SELECT audit.set_index_profile(%s, %s)",
            arguments,
            message=f"unknown index profile {shown}",
            hint="Use lean, standard or search.",
        )


def test_an_administrator_may_choose_and_a_reader_not(root_tx: Connection) -> None:
    with acting_as(root_tx, "audit_reader"):
        refused(
            root_tx,
            errors.InsufficientPrivilege,
            "SELECT audit.set_index_profile('lean', 'lean')",
            message="set_index_profile",
        )
        assert set(states(root_tx).values()) == {"open"}
    with acting_as(root_tx, "audit_admin"):
        choose(root_tx, "lean", "search")


def test_status_says_which_are_chosen(database: Database) -> None:
    query = "SELECT value FROM audit.status() WHERE item = 'index profiles'"
    with database.connect() as db:
        choose(db, "lean", "search")
        assert value(db, query) == "lean while written to, search once closed; 0 closing"
        partition_of(db, "90 days")
        maintain(db)
        assert value(db, query) == "lean while written to, search once closed; 0 closing"
        choose(db, "lean", "lean")
        choose(db, "lean", "standard")
        assert value(db, query) == "lean while written to, standard once closed; 1 closing"
