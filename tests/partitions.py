"""What the tests of partition maintenance look at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from trail import Connection, Row, rows, value


def bounds(connection: Connection) -> list[tuple[datetime, datetime]]:
    """From and to of each partition but DEFAULT, in order."""
    query = """
        SELECT from_time, to_time FROM audit.partition
         WHERE NOT is_default ORDER BY from_time
    """
    return [(row["from_time"], row["to_time"]) for row in rows(connection, query)]


def starts_of(period: str, moment: datetime, count: int) -> list[datetime]:
    """The starts of `count` periods in UTC, from the one of `moment` on."""
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return [midnight + timedelta(days=n) for n in range(count)]
    if period == "week":
        monday = midnight - timedelta(days=midnight.weekday())
        return [monday + timedelta(weeks=n) for n in range(count)]
    first = midnight.year * 12 + midnight.month - 1
    return [
        midnight.replace(year=(first + n) // 12, month=(first + n) % 12 + 1, day=1)
        for n in range(count)
    ]


def expected_bounds(period: str, moment: datetime, premake: int) -> list[tuple[datetime, datetime]]:
    """The bounds of the running period and `premake` after it."""
    starts = starts_of(period, moment, premake + 2)
    return list(pairwise(starts))


def maintain(connection: Connection) -> Row:
    """Run the maintenance; its row of audit.maintenance_run."""
    [run] = rows(connection, "SELECT * FROM audit.run_maintenance()")
    return run


def stray_event(connection: Connection, age: str) -> None:
    """Write two events of one statement as of a time ago, as the owner of the trail."""
    connection.execute(
        f"""
        SET LOCAL ROLE audit_owner;
        WITH first AS (
            INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action,
                                     backend_pid, database_user, metadata)
            VALUES (now() - '{age}'::interval, now() - '{age}'::interval, 77, 1, 'truncate',
                    1, 'old', '{{"age": "{age}"}}')
            RETURNING *)
        INSERT INTO audit.event (started_at, occurred_at, xid, context_id, tracked_table_id, action)
        SELECT started_at, occurred_at, xid, id, tracked_table_id, action FROM first;
        RESET ROLE;
        """
    )


def places(connection: Connection) -> list[str]:
    """The partition of each event, by age."""
    query = "SELECT tableoid::regclass::text AS place FROM audit.event ORDER BY started_at"
    return [row["place"] for row in rows(connection, query)]


def now(connection: Connection) -> datetime:
    """The start of the transaction."""
    moment: datetime = value(connection, "SELECT now()")
    return moment


def suffixes(connection: Connection, partition: str) -> set[str]:
    """The indexes that a profile gave to a partition, by the end of their names."""
    query = """
        SELECT substr(c.relname, length(%(partition)s::text) + 2) AS suffix
          FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indexrelid
         WHERE x.indrelid = format('audit.%%I', %(partition)s::text)::regclass AND x.indisvalid
           AND x.indexrelid NOT IN (SELECT inhrelid FROM pg_inherits)
    """
    return {row["suffix"] for row in rows(connection, query, {"partition": partition})}


def states(connection: Connection) -> dict[str, str]:
    """The state of each partition by name, oldest first."""
    found = rows(connection, "SELECT partition, state FROM audit.partition ORDER BY from_time")
    return {row["partition"]: row["state"] for row in found}


def partition_of(connection: Connection, age: str) -> str:
    """Write two events as of a time ago and have maintenance make their partition; its name."""
    stray_event(connection, age)
    connection.commit()
    assert maintain(connection)["status"] == "ok"
    connection.commit()
    name = value(
        connection,
        "SELECT partition FROM audit.partition"
        " WHERE from_time <= now() - %(age)s::interval AND to_time > now() - %(age)s::interval",
        {"age": age},
    )
    return str(name)
