"""Clients that change a few attached tables at random, for tests that replay the trail."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg
from psycopg import errors

from servers import Database
from trail import Connection

CLIENTS = 8
KEYS = 40
VALUES = "n numeric, s text, at timestamptz, b bytea, j jsonb, f float8"
TABLES = {
    "app_data.plain": ("statement", f"id int PRIMARY KEY, {VALUES}"),
    "app_data.by_row": ("row", f"id int PRIMARY KEY, {VALUES}"),
    "app_data.pair": ("statement", "id int, k int, s text, PRIMARY KEY (id, k) DEFERRABLE"),
    "app_data.pair_by_row": ("row", "id int, k int, s text, PRIMARY KEY (id, k) DEFERRABLE"),
    "app_data.bag": ("statement", "id int, s text"),
    "app_data.bag_by_row": ("row", "id int, s text"),
    "app_data.child": (
        "statement",
        "id int PRIMARY KEY, plain_id int REFERENCES app_data.plain ON UPDATE CASCADE"
        " ON DELETE CASCADE",
    ),
    "app_data.parted": ("row", f"id int PRIMARY KEY, {VALUES}) PARTITION BY RANGE (id"),
    "app_data.mark": ("statement", "client int, number int, PRIMARY KEY (client, number)"),
}
PARTITIONS = """
    CREATE TABLE app_data.parted_low PARTITION OF app_data.parted FOR VALUES FROM (0) TO (20);
    CREATE TABLE app_data.parted_high PARTITION OF app_data.parted DEFAULT
"""
# A row with every kind of value, the same for the same number; %(v)s is now and then NULL.
ROW = """
    g, %(v)s * 1.50, 's' || %(v)s, '2026-03-29 02:30+01'::timestamptz + %(v)s * interval '1 s',
    int4send(%(v)s), jsonb_build_object('v', %(v)s, 'list', ARRAY[g, %(v)s]), %(v)s / 3.0
"""
WIDE = (
    f"INSERT INTO {{0}} SELECT {ROW} FROM generate_series(%(a)s, %(a)s + 3) AS g"
    " ON CONFLICT (id) DO UPDATE SET n = excluded.n, j = NULL",
    f"INSERT INTO {{0}} SELECT {ROW} FROM (SELECT %(a)s AS g) AS one ON CONFLICT DO NOTHING",
    f"""
        MERGE INTO {{0}} AS t USING (SELECT * FROM (SELECT {ROW} FROM generate_series(%(a)s, %(c)s)
                                    AS g) AS r (id, n, s, at, b, j, f)) AS r ON t.id = r.id
         WHEN MATCHED AND t.n IS NULL THEN DELETE
         WHEN MATCHED THEN UPDATE SET s = r.s, f = r.f
         WHEN NOT MATCHED THEN INSERT VALUES (r.id, r.n, r.s, r.at, r.b, r.j, r.f)
    """,
    "UPDATE {0} SET n = n + 1, s = %(v)s::text WHERE id BETWEEN %(a)s AND %(c)s",
    "UPDATE {0} SET j = j || '{{\"more\": 1.0}}', n = n WHERE id = %(a)s",
    "UPDATE {0} SET id = %(c)s WHERE id = %(a)s",
    "UPDATE {0} SET id = id + 40 WHERE id BETWEEN %(a)s AND %(a)s + 3",
    "UPDATE {0} SET id = id - 40 WHERE id >= 40",
    "DELETE FROM {0} WHERE id BETWEEN %(a)s AND %(a)s + 2",
    "WITH gone AS (DELETE FROM {0} WHERE id = %(a)s RETURNING *)"
    " INSERT INTO {0} SELECT id, n, 'again', at, b, j, f FROM gone",
)
PAIR = (
    "INSERT INTO {0} SELECT %(a)s, g, 's' FROM generate_series(%(c)s, %(c)s + 3) AS g",
    "UPDATE {0} SET k = k + 1 WHERE id = %(a)s",
    "UPDATE {0} SET id = k, k = id WHERE id IN (%(a)s, %(c)s)",
    "DELETE FROM {0} WHERE k = %(c)s",
)
BAG = (
    "INSERT INTO {0} SELECT %(a)s, %(v)s::text FROM generate_series(1, 3)",
    "UPDATE {0} SET s = s || '.' WHERE id = %(a)s",
    "UPDATE {0} SET id = %(c)s WHERE id = %(a)s",
    "DELETE FROM {0} WHERE id = %(a)s",
    "DELETE FROM {0} WHERE length(s) > 8",
)
CHILD = (
    "INSERT INTO {0} SELECT %(c)s * 1000 + id, id FROM app_data.plain WHERE id BETWEEN %(a)s AND 45"
    " ON CONFLICT DO NOTHING",
    "UPDATE {0} SET plain_id = %(a)s WHERE plain_id = %(c)s",
)
STATEMENTS = tuple(
    re.sub(r"(%\(.\)s)", r"\1::int", statement.format(table))
    for table, statements in (
        ("app_data.plain", WIDE),
        ("app_data.by_row", WIDE),
        ("app_data.parted", WIDE),
        ("app_data.pair", PAIR),
        ("app_data.pair_by_row", PAIR),
        ("app_data.bag", BAG),
        ("app_data.bag_by_row", BAG),
        ("app_data.child", CHILD),
    )
    for statement in statements
)
TRUNCATE = "TRUNCATE app_data.bag"
# What a client may expect of the others, and of its own random keys.
CONFLICTS = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.IntegrityError,
    errors.CardinalityViolation,  # MERGE met a row that another client changed meanwhile
)
LOST = (psycopg.OperationalError, errors.AdminShutdown, errors.CrashShutdown)


def prepare(database: Database) -> None:
    """Make the tables and attach them; let deadlocks be found soon."""
    with database.connect() as owner:
        for table, (mode, definition) in TABLES.items():
            owner.execute(f"CREATE TABLE {table} ({definition})")
            if table == "app_data.parted":
                owner.execute(PARTITIONS)
            owner.execute("SELECT audit.attach(%s, %s)", (table, mode))
        owner.execute("GRANT TRUNCATE ON app_data.bag TO app")
    with database.connect("postgres") as root:
        root.execute(f"ALTER DATABASE {database.name} SET deadlock_timeout = '20ms'")


@dataclass
class Client:
    """One client; the same number does the same work."""

    database: Database
    number: int
    committed: list[int] = field(default_factory=list)
    conflicts: int = 0
    lost: bool = False

    def work(self, transactions: int) -> None:
        """Run transactions, or as many as the server lives for."""
        try:
            with self.database.connect("app") as connection:
                for number in range(transactions):
                    self._transaction(connection, number)
        except LOST as error:
            if type(error) not in LOST:  # OperationalError has many children
                raise
            self.lost = True
        except psycopg.Rollback:  # psycopg could not tell the server
            self.lost = True

    def _transaction(self, connection: Connection, number: int) -> None:
        choice = random.Random(f"{self.number} {number}")
        connection.isolation_level = choice.choice(
            [psycopg.IsolationLevel.READ_COMMITTED] * 3 + [psycopg.IsolationLevel.REPEATABLE_READ]
        )
        undone = choice.random() < 0.1
        try:
            with connection.transaction():
                connection.execute("SELECT audit.set_context(%s)", [f"{self.number}/{number}"])
                if choice.random() < 0.005:
                    connection.execute(TRUNCATE)
                for statement, parameters in _statements(choice, choice.randint(1, 4)):
                    connection.execute(statement, parameters)
                self._undone(connection, choice)
                connection.execute(
                    "INSERT INTO app_data.mark VALUES (%s, %s)", (self.number, number)
                )
                if undone:
                    raise psycopg.Rollback
        except CONFLICTS:
            self.conflicts += 1
        else:
            self.committed += [] if undone else [number]

    def _undone(self, connection: Connection, choice: random.Random) -> None:
        """Do some work within a savepoint, and take it back now and then."""
        if choice.random() < 0.7:
            return
        with connection.transaction():
            for statement, parameters in _statements(choice, 2):
                connection.execute(statement, parameters)
            if choice.random() < 0.5:
                raise psycopg.Rollback


def _statements(choice: random.Random, count: int) -> Iterator[tuple[str, dict[str, int | None]]]:
    for _ in range(count):
        a = choice.randrange(KEYS)
        yield (
            choice.choice(STATEMENTS),
            {"a": a, "c": choice.randrange(KEYS), "v": choice.choice([None, *range(9)])},
        )


def run(
    database: Database, transactions: int, meanwhile: Callable[[], None] = lambda: None
) -> list[Client]:
    """Let CLIENTS clients work at once, and do something meanwhile."""
    clients = [Client(database, number) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(client.work, transactions) for client in clients]
        meanwhile()
        for work in working:
            work.result()
    return clients
