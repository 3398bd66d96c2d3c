"""A trail of any size, filled on the server with events as capture would have written them.

Everything about an event follows from its number, so the trail is the same each time, and a row, a
transaction or a request can be named without searching for it. Events come in cycles of 1,000 that
spread over tables and transactions in the same way. Neighbours of one table and action within a
transaction are taken for the rows of one statement, which share a context. Of ten events of a
table three insert, six update and one deletes. A third of the rows is deleted some time after the
insert; the others are updated, a few of them thousands of times, most of them a few times or never
(the law of Zipf and Mandelbrot). Values are realistic in form and size, but the old value of a
change is not the new value of the change before.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from audit_schema.errors import AuditSchemaError

Connection = psycopg.Connection[Any]
Connect = Callable[[], Connection]

CYCLE: Final = 1000
NAMES: Final = tuple(f"synthetic.record_{number:02}" for number in range(1, 21))
ACTORS: Final = 1000
SIZES: Final = (40, 20, 12, 8, 6, 4, 3, 3, 2, 2)
"""How often a transaction has 1, 2, … 10 events, in per cent: three on average."""
LAG: Final = 100
"""Ten times as many events of its table lie between the insert and the delete of a row."""
ROW_HEAD: Final = 1 / 160_000
"""Rows of about the same, highest frequency, for each event: the first ones get some thousand."""
ACTOR_HEAD: Final = 50
FIRST_XID: Final = 1_000_000
REQUEST: Final = 2_654_435_761
SAME_TABLE: Final = 0.6
"""How likely the next event of a transaction is of the same table."""
SESSIONS: Final = 2

TABLE: Final = """
    CREATE TABLE {} (
        id bigint PRIMARY KEY, email text NOT NULL, status text NOT NULL,
        balance numeric NOT NULL, version integer NOT NULL, updated_at timestamptz NOT NULL,
        note text)"""
SLOTS: Final = """
    CREATE TABLE synthetic.slot (
        slot integer PRIMARY KEY, transaction integer, step integer, run integer,
        tracked_table_id integer, place integer, weight integer)"""

CREATE_PARTITIONS: Final = """
    SELECT audit._create_partition(period, period + length)
      FROM (SELECT partition_interval, ('1 ' || partition_interval)::interval FROM audit.setting)
           AS setting (unit, length)
     CROSS JOIN LATERAL generate_series(date_trunc(unit, %(start)s), %(end)s, length)
           AS periods (period)
     WHERE NOT audit._is_covered(period, period + length)"""
PARTITIONS: Final = """
    SELECT partition, from_time, to_time FROM audit.partition
     WHERE from_time < %(end)s AND to_time > %(start)s ORDER BY from_time"""
INDEXES: Final = """
    SELECT i.relname, c.conname
      FROM pg_index AS x
      JOIN pg_class AS i ON i.oid = x.indexrelid
      LEFT JOIN pg_constraint AS c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
     WHERE x.indrelid = format('audit.%%I', %s::text)::regclass"""
PROFILE_INDEXES: Final = """
    SELECT replace(pg_get_indexdef(x.indexrelid), 'event_default', %s) FROM pg_index AS x
     WHERE x.indrelid = 'audit.event_default'::regclass
       AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = x.indexrelid)"""
# As if maintenance had run every hour, the last time an hour ago.
HOUR_LATER: Final = "UPDATE audit.counting SET observed_at = observed_at - interval '1 hour'"
MAINTAIN: Final = "SELECT status, message FROM audit.run_maintenance()"
CONTINUE_IDS: Final = "SELECT setval(pg_get_serial_sequence('audit.event', 'id'), %s)"

# OFFSET 0 keeps the steps apart: merged, an expression would be computed for each column using it.
COLUMNS: Final = """INSERT INTO {} (
    id, started_at, occurred_at, xid, tracked_table_id, action, row_key, row_hash, old_values,
    new_values, actor, context_id, actor_type, backend_pid, client_addr, database_user,
    application_name, metadata)
"""
EVENTS: Final = """
    WITH numbered AS (
        SELECT s.step, s.run, s.tracked_table_id, c.cycle * 1000 + s.slot AS number,
               c.cycle * s.weight + s.place AS nth,
               c.cycle * %(transactions)s + s.transaction AS transaction,
               hashint8extended(c.cycle * 1000 + s.slot, 0) & ((1::bigint << 60) - 1) AS chance
          FROM generate_series(%(first)s::bigint, %(last)s, %(sessions)s) AS c (cycle)
         CROSS JOIN LATERAL (
               SELECT * FROM synthetic.slot WHERE slot + c.cycle >= 0 ORDER BY slot) AS s
        OFFSET 0),
    dated AS (
        SELECT *, nth / 10 + %(lag)s AS ten, mod(nth, 10) AS turn,
               hashint8extended(transaction, 1) & ((1::bigint << 60) - 1) AS fate,
               to_timestamp(%(epoch)s::float8 + transaction * %(step)s::float8) AS started_at
          FROM numbered OFFSET 0),
    popular AS (
        SELECT *, LEAST(run, turn - CASE WHEN turn < 3 THEN 0 WHEN turn < 9 THEN 3 ELSE 9 END)
               AS back,
               floor(%(head)s::float8 * (power(
                   1 + 2 * ten / %(head)s::float8,
                   mod(chance, 1000003) / 1000003.0::float8) - 1))::bigint AS rank
          FROM dated WHERE started_at >= %(from)s AND started_at < %(to)s OFFSET 0),
    keyed AS (
        SELECT *, CASE WHEN turn < 3 THEN 3 * ten + turn + 1
                       WHEN turn < 9 THEN 3 * (rank / 2) + mod(rank, 2) + 1
                       ELSE 3 * (ten - %(lag)s) + 3 END AS key
          FROM popular OFFSET 0),
    rendered AS (
        SELECT *, ('{"id": ' || key || '}')::jsonb AS row_key,
               CASE WHEN turn NOT BETWEEN 3 AND 8 THEN (
                   '{"id": ' || key || ', "email": "user' || key || '@example.com", "status": '
                   '"active", "balance": ' || mod(chance, 1000000) || '.50, "version": 1, '
                   '"updated_at": ' || to_json(started_at) || ', "note": "file '
                   || mod(chance, 10000) || '"}')::jsonb END AS whole
          FROM keyed OFFSET 0)
    SELECT number + 1, started_at, started_at + (step + 1) * interval '200 microseconds',
           transaction + %(first_xid)s, tracked_table_id,
           CASE WHEN turn < 3 THEN 'insert' WHEN turn < 9 THEN 'update' ELSE 'delete' END,
           row_key, jsonb_hash_extended(row_key, tracked_table_id),
           CASE WHEN turn = 9 THEN whole
                WHEN turn > 2 THEN (
                    '{"balance": ' || mod(chance, 1000000) || '.50, "updated_at": '
                    || to_json(started_at - interval '1 day') || '}')::jsonb END,
           CASE WHEN turn < 3 THEN whole
                WHEN turn < 9 THEN (
                    '{"balance": ' || mod(chance, 999983) || '.25, "updated_at": '
                    || to_json(started_at) || '}')::jsonb END,
           'user-' || floor(%(actor_head)s::float8 * (power(
               1 + %(actors)s::float8 / %(actor_head)s::float8,
               mod(fate, 1000003) / 1000003.0::float8) - 1)),
           CASE WHEN back > 0 THEN number + 1 - back END,
           CASE WHEN back = 0 THEN 'user' END,
           CASE WHEN back = 0 THEN 1000 + mod(fate, 30) END,
           CASE WHEN back = 0 THEN inet '10.0.0.1' + mod(fate, 8) END,
           CASE WHEN back = 0 THEN 'shop' END,
           CASE WHEN back = 0 THEN 'shop-web' END,
           CASE WHEN back = 0 THEN (
               '{"request_id": "req-' || to_hex(transaction * %(request)s) || '", "route": "POST '
               '/records/' || mod(fate, 100) || '", "reason": "correction by telephone", '
               '"ticket": ' || mod(fate, 100000) || '}')::jsonb END
      FROM rendered"""


class Slot(NamedTuple):
    """The place of one event in each cycle."""

    transaction: int
    step: int  # within its transaction
    run: int  # within the neighbours of its table there
    table: int
    place: int  # among the events of the table
    weight: int  # events of the table in a cycle


class Partition(NamedTuple):
    """One partition of the trail."""

    name: str
    from_time: datetime
    to_time: datetime

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier("audit", self.name)


@dataclass(frozen=True)
class Trail:
    """A trail of about *events* events that run evenly from *start* to *end*, both with a zone."""

    events: int
    start: datetime
    end: datetime

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The pattern of a cycle: sizes of transactions, and tables by the law of Zipf."""
        rng = Random(1)
        tables = range(len(NAMES))
        shares = [1 / (table + 1) for table in tables]
        drawn: list[tuple[int, int, int, int]] = []  # transaction, step, run, table
        while len(drawn) < CYCLE:
            [size] = rng.choices(range(1, len(SIZES) + 1), SIZES)
            transaction = drawn[-1][0] + 1 if drawn else 0
            for step in range(min(size, CYCLE - len(drawn))):
                [table] = rng.choices(tables, shares)
                if step and rng.random() < SAME_TABLE:
                    table = drawn[-1][3]
                run = drawn[-1][2] + 1 if step and table == drawn[-1][3] else 0
                drawn.append((transaction, step, run, table))
        weights = Counter(table for *_, table in drawn)
        places = {table: count() for table in tables}
        return tuple(
            Slot(transaction, step, run, table, next(places[table]), weights[table])
            for transaction, step, run, table in drawn
        )

    @cached_property
    def cycles(self) -> int:
        return max(1, math.ceil(self.events / CYCLE))

    @cached_property
    def transactions(self) -> int:
        """Transactions in a cycle."""
        return self.slots[-1].transaction + 1

    @cached_property
    def step(self) -> float:
        """Seconds from one transaction to the next."""
        span = (self.end - self.start).total_seconds()
        return span / (self.cycles * self.transactions)

    def cycle_at(self, moment: datetime) -> int:
        """The cycle that runs at a moment, also outside of the trail."""
        seconds = (moment - self.start).total_seconds()
        return math.floor(seconds / self.step / self.transactions)

    def parameters(self) -> dict[str, Any]:
        """What the statements ask for, whatever they fill."""
        return {
            "transactions": self.transactions,
            "epoch": self.start.timestamp(),
            "step": self.step,
            "lag": LAG,
            "head": max(1.0, self.events * ROW_HEAD),
            "first_xid": FIRST_XID,
            "actors": ACTORS,
            "actor_head": ACTOR_HEAD,
            "request": REQUEST,
        }

    def row(self, rng: Random) -> tuple[str, int]:
        """Any row whose insert is in the trail, as table and key: most have few events."""
        slot = rng.choice(self.slots)
        return NAMES[slot.table], self._inserted(slot, rng.randrange(self.cycles))

    def busy_row(self, rng: Random) -> tuple[str, int]:
        """One of the twenty rows that change most: some thousand events."""
        rank = rng.randrange(20)
        return NAMES[0], 3 * (rank // 2) + rank % 2 + 1

    def transaction(self, rng: Random) -> int:
        """The number of any transaction."""
        return rng.randrange(self.cycles * self.transactions)

    def size(self, transaction: int) -> int:
        """The number of events of a transaction."""
        offset = transaction % self.transactions
        return sum(slot.transaction == offset for slot in self.slots)

    def actor(self, rng: Random) -> str:
        """An actor, the busy ones more often."""
        return f"user-{int(ACTOR_HEAD * ((1 + ACTORS / ACTOR_HEAD) ** rng.random() - 1))}"

    def request(self, rng: Random, since: datetime) -> str:
        """The request id of any transaction since a moment."""
        first = max(0, self.cycle_at(since) + 1) * self.transactions
        return f"req-{rng.randrange(first, self.cycles * self.transactions) * REQUEST:x}"

    def email(self, rng: Random, since: datetime) -> str:
        """An address that was inserted since a moment."""
        cycle = rng.randrange(max(0, self.cycle_at(since) + 1), self.cycles)
        return f"user{self._inserted(rng.choice(self.slots), cycle)}@example.com"

    def _inserted(self, slot: Slot, cycle: int) -> int:
        """A key that a table inserts in a cycle, or not long before."""
        return 3 * ((cycle * slot.weight + slot.place) // 10 + LAG) + slot.place % 3 + 1


def prepare(connection: Connection, trail: Trail) -> None:
    """Make the tables that the events are about, attach them, and make all partitions."""
    connection.execute("CREATE SCHEMA synthetic")
    connection.execute(SLOTS)
    ids: list[int] = []
    for name in NAMES:
        connection.execute(sql.SQL(TABLE).format(sql.Identifier(*name.split("."))))
        row = connection.execute("SELECT audit.attach(%s::regclass)", [name]).fetchone()
        assert row is not None
        ids.append(row[0])
    with connection.cursor().copy("COPY synthetic.slot FROM STDIN") as copy:
        for number, slot in enumerate(trail.slots):
            copy.write_row((number, *slot[:3], ids[slot.table], *slot[4:]))
    connection.execute("ANALYZE synthetic.slot")
    create_partitions(connection, trail.start, trail.end)
    connection.execute(CONTINUE_IDS, [trail.cycles * CYCLE])


def create_partitions(connection: Connection, start: datetime, end: datetime) -> None:
    """Make the partitions that are missing from *start* to *end*, as maintenance would have."""
    connection.execute("SET ROLE audit_owner")
    connection.execute(CREATE_PARTITIONS, {"start": start, "end": end})
    connection.execute("SELECT audit._fit_indexes()")
    connection.execute("RESET ROLE")


def partitions(
    connection: Connection, trail: Trail, cycles: range | None = None
) -> list[Partition]:
    """The partitions that the events of *cycles* (all) fill, oldest first; fill() each of them."""
    span = _span(trail, cycles or range(trail.cycles))
    return [Partition(*row) for row in connection.execute(PARTITIONS, span)]


def fill(connect: Connect, trail: Trail, partition: Partition, cycles: range | None = None) -> None:
    """Write the events of a partition, only those of *cycles*, from two sessions at once.

    connect: gives a superuser's autocommit connection. The indexes of the partition are dropped
    before and built again afterwards: that is faster, and leaves them without gaps.
    """
    chosen = cycles or range(trail.cycles)
    with closing(_session(connect)) as connection:
        _detach(connection, partition)
        with ThreadPoolExecutor(SESSIONS) as pool:
            insert = partial(_insert, connect, trail, chosen, partition)
            list(pool.map(insert, range(SESSIONS)))
        _attach(connection, partition)


def transaction_id(connection: Connection, trail: Trail, number: int) -> Any:
    """The id of a transaction, for audit.transaction_changes()."""
    row = connection.execute(
        "SELECT audit.transaction_id(to_timestamp(%s::float8 + %s::bigint * %s::float8), %s)",
        [trail.start.timestamp(), number, trail.step, number + FIRST_XID],
    ).fetchone()
    assert row is not None
    return row[0]


def check(connection: Connection, trail: Trail, samples: int = 20) -> None:
    """Raise AuditSchemaError unless the read functions find what was generated."""
    rng = Random(2)
    for _ in range(samples):
        table, key = trail.row(rng)
        changes = connection.execute(
            "SELECT action FROM audit.history(%s::regclass, to_jsonb(%s::bigint), '-infinity')",
            [table, key],
        ).fetchall()
        actions = [action for (action,) in reversed(changes)]
        between = {*actions[1:]} <= ({"delete"} if key % 3 == 0 else {"update"})
        if len(actions) < 100 and not (actions and actions[0] == "insert" and between):
            raise AuditSchemaError(f"the history of {table}, row {key}, reads {actions}")
        number = trail.transaction(rng)
        made = connection.execute(
            "SELECT actor FROM audit.transaction_changes(%s)",
            [transaction_id(connection, trail, number)],
        ).fetchall()
        if len(made) != trail.size(number) or not all(actor for (actor,) in made):
            raise AuditSchemaError(f"transaction {number} of the trail reads {made}")


def maintain(connection: Connection) -> float:
    """Let maintenance run as if an hour had passed; the seconds that it takes."""
    connection.execute(HOUR_LATER)
    begin = time.monotonic()
    run = connection.execute(MAINTAIN).fetchone()
    if run is None or run[0] != "ok":
        raise AuditSchemaError(f"maintenance failed: {run and run[1]}")
    return time.monotonic() - begin


def months_before(moment: datetime, months: int) -> datetime:
    """The start of a trail that ends at *moment* and covers about so many months."""
    return moment - timedelta(days=round(months * 365.25 / 12))


def _session(connect: Connect) -> Connection:
    connection = connect()
    for name, value in (("TimeZone", "UTC"), ("jit", "off"), ("maintenance_work_mem", "1GB")):
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    return connection


def _span(trail: Trail, cycles: range) -> dict[str, datetime]:
    def begin(cycle: int) -> datetime:
        return trail.start + timedelta(seconds=cycle * trail.transactions * trail.step)

    return {"start": begin(cycles.start), "end": begin(cycles.stop)}


def _detach(connection: Connection, partition: Partition) -> None:
    """Take a partition out of the trail and its indexes away."""
    connection.execute(
        sql.SQL("ALTER TABLE audit.event DETACH PARTITION {}").format(partition.identifier)
    )
    for index, constraint in connection.execute(INDEXES, [partition.name]).fetchall():
        if constraint is None:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier("audit", index)))
        else:
            connection.execute(
                sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                    partition.identifier, sql.Identifier(constraint)
                )
            )


def _insert(
    connect: Connect, trail: Trail, cycles: range, partition: Partition, session: int
) -> None:
    """Write every SESSIONS-th cycle of a partition, so that all go on at about the same time."""
    parameters = trail.parameters() | {
        "first": max(cycles.start, trail.cycle_at(partition.from_time) - 1) + session,
        "last": min(cycles.stop - 1, trail.cycle_at(partition.to_time) + 1),
        "sessions": SESSIONS,
        "from": partition.from_time,
        "to": partition.to_time,
    }
    with closing(_session(connect)) as connection:
        statement = sql.SQL(COLUMNS).format(partition.identifier) + sql.SQL(EVENTS)
        psycopg.ClientCursor(connection).execute(statement, parameters)


def _attach(connection: Connection, partition: Partition) -> None:
    """Put a partition back, build the indexes of the hot profile, vacuum as autovacuum would."""
    connection.execute(
        sql.SQL("ALTER TABLE audit.event ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            partition.identifier,
            sql.Literal(partition.from_time),
            sql.Literal(partition.to_time),
        )
    )
    for (statement,) in connection.execute(PROFILE_INDEXES, [partition.name]).fetchall():
        connection.execute(statement)
    connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(partition.identifier))
