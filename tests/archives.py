"""Closed partitions and a folder for their archives, for the tests of both."""

from __future__ import annotations

from pathlib import Path

from trail import Connection, Row, rows

MONTHS = 3
PARTITIONS = """
    SELECT audit._create_partition(month, month + interval '1 month')
      FROM generate_series(date_trunc('month', now(), 'UTC') - %s * interval '1 month',
                           date_trunc('month', now(), 'UTC') - interval '1 month',
                           '1 month') AS month
"""
# What can be mistaken for something else: NULL, JSON null, empty, NaN, quotes, lines, 1.0 and 1.00.
EVENTS = r"""
    INSERT INTO audit.event (
        context_id, started_at, occurred_at, xid, tracked_table_id, action, row_key, row_hash,
        old_values, new_values, actor, actor_type, metadata, client_addr, client_port)
    SELECT i, t, t + i * interval '1 microsecond', i, 1 + mod(i, 2), 'update', key,
           jsonb_hash_extended(key, 1 + mod(i, 2)), jsons[1 + mod(i, 6)],
           jsons[1 + mod(i + 1, 6)], texts[1 + mod(i, 6)], texts[1 + mod(i, 5)],
           jsons[1 + mod(i, 5)], inet '10.0.0.1', i
      FROM generate_series(1, %(months)s) AS m
     CROSS JOIN generate_series(1, %(events)s) AS i
     CROSS JOIN LATERAL (SELECT date_trunc('month', now(), 'UTC') - m * interval '1 month'
                                + i * interval '1.000001 seconds' AS t) AS moment
     CROSS JOIN LATERAL (SELECT jsonb_build_object('id', mod(i, 7)) AS key) AS row
     CROSS JOIN (SELECT ARRAY[NULL, '', 'NULL', 'NaN', E'"a, b"\r\n', E'\\N \U0001f600'],
                        ARRAY[NULL, 'null', '{"a": 1.0}', '{"a": 1.00, "b": null}', '"NaN"',
                              '{"\u00e9": "x\ny", "n": 123456789012345678901234567890.10}'
                             ]::jsonb[]) AS odd (texts, jsons)
"""
CLOSE = """
    UPDATE audit.counting SET settled_to = date_trunc('hour', now(), 'UTC'),
                              counted_to = date_trunc('hour', now(), 'UTC')
"""


def close_months(connection: Connection, folder: object, events: int = 12) -> None:
    """Make the events of closed months, and say where their archives go."""
    connection.execute("SET ROLE audit_owner")
    connection.execute(PARTITIONS, [MONTHS])
    if events:  # the text of the statement is not for databases of every encoding
        connection.execute(EVENTS, {"months": MONTHS, "events": events})
    connection.execute(CLOSE)
    connection.execute("RESET ROLE")
    connection.execute("SELECT audit.set_archive(%s)", [str(folder)])


def archives(connection: Connection, *columns: str) -> list[Row]:
    """These columns of all archives, by period."""
    found = rows(connection, "SELECT * FROM audit.archive ORDER BY from_time, id")
    return [{name: row[name] for name in columns} for row in found]


def states(connection: Connection) -> list[str]:
    """The states of all archives, by period."""
    return [row["state"] for row in archives(connection, "state")]


def files(folder: Path) -> list[str]:
    """The names of the files of archives."""
    return sorted(path.name for path in folder.iterdir())
