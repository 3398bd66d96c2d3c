"""Partitions through the calendar, on a server whose clock is set; the same by both backends."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg import sql

from partitions import bounds, bounds_ahead, expected_bounds, maintain, places, starts_of
from servers import Database, Server, faketime_of
from trail import Connection, Row, attached, rows

pytestmark = pytest.mark.slow

PREMAKE = 2
# What the clock shows, in UTC; at those with ! maintenance does not run.
STORIES = {
    "end of a month": ("month", ["2027-01-31 23:59:30", "2027-02-01 00:00:01"]),
    "end of February": ("month", ["2027-02-28 23:59:30", "2027-03-01 00:00:01"]),
    "leap day": ("day", ["2028-02-28 23:59:30", "2028-02-29 23:59:30", "2028-03-01 00:00:01"]),
    "week of the leap day": (
        "week",
        ["2028-02-27 23:59:30", "2028-02-29 12:00", "2028-03-06 00:01"],
    ),
    "end of a year": ("month", ["2027-12-31 23:59:30", "2028-01-01 00:00:01"]),
    "week 53": ("week", ["2026-12-31 23:59:30", "2027-01-03 23:59:30", "2027-01-04 00:00:01"]),
    "summer time begins": (
        "day",
        ["2027-03-14 06:59:30", "2027-03-14 07:00:01", "2027-03-15 04:01"],
    ),
    "summer time ends": ("day", ["2027-11-07 04:30", "2027-11-07 06:30", "2027-11-08 00:00:01"]),
    "a month that summer time ends in": ("month", ["2027-10-31 23:59:30", "2027-12-01 00:00:01"]),
    "clock set back": ("month", ["2027-06-15 12:00", "2027-04-20 12:00", "2027-06-16 12:00"]),
    "no maintenance for days": (
        "day",
        ["2027-01-30 12:00", "! 2027-02-02 12:00", "2027-02-05 12:00"],
    ),
    "no maintenance for months": (
        "month",
        ["2026-12-10 12:00", "! 2027-03-10 12:00", "! 2027-04-30 23:59:30", "2027-06-01 00:00:01"],
    ),
}
CHANGES = [
    ("month", "week", "2027-12-31 23:59:30"),
    ("month", "day", "2028-02-29 12:00"),
    ("week", "month", "2028-02-29 12:00"),
    ("week", "day", "2027-01-03 23:59:30"),
    ("day", "week", "2026-12-31 12:00"),
    ("day", "month", "2027-03-14 07:00:01"),
]
CATALOG = """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds, c.relowner::regrole::text,
           c.relacl::text, c.reloptions, c.relrowsecurity, c.relreplident, c.relpersistence,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index AS i WHERE i.indrelid = c.oid
                  ORDER BY 1) AS indexes,
           ARRAY(SELECT conname || ' ' || pg_get_constraintdef(k.oid) FROM pg_constraint AS k
                  WHERE k.conrelid = c.oid AND k.contype <> 'n' ORDER BY 1) AS constraints,
           ARRAY(SELECT pg_get_triggerdef(t.oid) || t.tgenabled::text FROM pg_trigger AS t
                  WHERE t.tgrelid = c.oid ORDER BY 1) AS triggers,
           ARRAY(SELECT format('%s %s %s %s %s %s', a.attname, a.atttypid::regtype, a.attnotnull,
                               a.attidentity, a.attstorage, a.attcompression)
                   FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
                  ORDER BY a.attnum) AS columns
      FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'audit.event'::regclass ORDER BY 1
"""


class ClockServer(Server):
    """A server whose clock is set; its sessions live in a time zone with summer time."""

    def __init__(self, name: str, clock: Path) -> None:
        super().__init__(name, {"timezone": "America/New_York"}, clock)
        self._clock = clock

    def set_clock(self, moment: datetime) -> None:
        """Let the clock go on from a moment."""
        part = self._clock.with_suffix(".part")  # never let the server read half of it
        part.write_text(f"{moment.timestamp() - time.time():+.3f}")
        part.replace(self._clock)


@pytest.fixture(scope="module")
def clock_server(server: Server) -> Iterator[ClockServer]:
    if not faketime_of(server.name):
        pytest.skip(f"{server.name} has no libfaketime")
    server.require("pg_partman")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        clock = Path(folder, "clock")
        clock.write_text("+0")
        clock_server = ClockServer(server.name, clock)
        with clock_server:
            yield clock_server


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text.removeprefix("! ")).replace(tzinfo=UTC)


def start(server: ClockServer, connection: Connection, period: str, moment: str) -> None:
    """Begin a trail at a moment: nothing is left of the partitions that the template has."""
    server.set_clock(moment_of(moment))
    attached(connection, "id integer GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (id)")
    for row in rows(connection, "SELECT partition FROM audit.partition WHERE NOT is_default"):
        name = sql.Identifier(row["partition"])
        connection.execute(sql.SQL("DROP TABLE audit.{}").format(name))
    connection.execute("SELECT audit.set_partitioning(%s, %s)", (period, PREMAKE))


def write(connection: Connection) -> None:
    connection.execute("INSERT INTO app_data.t DEFAULT VALUES")


def tell(server: ClockServer, database: Database, period: str, moments: list[str]) -> list[Row]:
    """Live through a story; the catalog at its end."""
    with database.connect(autocommit=True) as connection:
        start(server, connection, period, moments[0])
        for text in moments:
            moment = moment_of(text)
            server.set_clock(moment)
            write(connection)
            if text.startswith("!"):
                continue
            run = maintain(connection)
            assert (run["status"], run["rows_left"], run["message"]) == ("ok", 0, None)
            assert set(expected_bounds(period, moment, PREMAKE)) <= set(bounds(connection))
            again = maintain(connection)
            assert (again["partitions_created"], again["rows_moved"]) == (0, 0)
            query = "SELECT item, remedy FROM audit.status() WHERE item ~ 'partition'"
            assert {row["remedy"] for row in rows(connection, query)} == {None}
        found = bounds(connection)
        assert all(end in starts_of(period, begin, 2) for begin, end in found)  # whole periods
        homes = [starts_of(period, moment_of(text), 1)[0] for text in moments]
        assert places(connection) == [f"audit.event_p{home:%Y%m%d}" for home in sorted(homes)]
        return rows(connection, CATALOG)


@pytest.mark.parametrize("story", STORIES)
def test_the_calendar_is_followed_alike_by_both_backends(
    clock_server: ClockServer, story: str
) -> None:
    period, moments = STORIES[story]
    catalogs = []
    for template in ("native", "partman"):
        with clock_server.clone(template) as database:
            catalogs.append(tell(clock_server, database, period, moments))
    assert catalogs[0] == catalogs[1]


@pytest.mark.parametrize(("old", "new", "text"), CHANGES)
def test_another_interval_fits_in_at_any_time(
    clock_server: ClockServer, old: str, new: str, text: str
) -> None:
    catalogs = []
    for template in ("native", "partman"):
        with clock_server.clone(template) as database, database.connect(autocommit=True) as own:
            start(clock_server, own, old, text)
            clock_server.set_clock(moment_of(text))
            write(own)
            own.execute("SELECT audit.set_partitioning(%s, 5)", (new,))
            running = expected_bounds(old, moment_of(text), 0)
            assert bounds(own) == running + bounds_ahead(new, running[0][1], 5)
            for begin, _ in bounds(own):
                clock_server.set_clock(begin + timedelta(seconds=1))
                write(own)
            assert len(set(places(own))) == 6
            assert "audit.event_default" not in places(own)
            catalogs.append(rows(own, CATALOG))
    assert catalogs[0] == catalogs[1]
