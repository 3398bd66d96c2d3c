"""audit.partition: the partitions with their bounds, whatever the session's settings."""

from __future__ import annotations

from itertools import pairwise

import pytest

from trail import Connection, acting_as, rows, value

EPOCHS = """
    SELECT partition, is_default,
           extract(epoch FROM from_time)::bigint AS from_time,
           extract(epoch FROM to_time)::bigint AS to_time
      FROM audit.partition ORDER BY partition
"""


def test_it_lists_the_partitions_without_gaps(tx: Connection) -> None:
    found = rows(tx, EPOCHS)
    assert [row["partition"] for row in found if row["is_default"]] == ["event_default"]
    bounded = sorted((row["from_time"], row["to_time"]) for row in found if not row["is_default"])
    assert len(bounded) == 5
    assert all(end == start for (_, end), (start, _) in pairwise(bounded))
    assert all(
        (row["from_time"], row["to_time"]) == (None, None) for row in found if row["is_default"]
    )


@pytest.mark.parametrize("style", ["ISO, MDY", "SQL, DMY", "SQL, MDY", "Postgres, DMY", "German"])
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns", "Asia/Shanghai"])
def test_its_bounds_do_not_depend_on_the_session(tx: Connection, style: str, zone: str) -> None:
    expected = rows(tx, EPOCHS)
    tx.execute("SELECT set_config('DateStyle', %s, true)", (style,))
    tx.execute("SELECT set_config('TimeZone', %s, true)", (zone,))
    assert rows(tx, EPOCHS) == expected


def test_it_counts_rows_and_bytes(tx: Connection) -> None:
    tx.execute("ANALYZE audit.event")
    assert value(tx, "SELECT min(estimated_rows) FROM audit.partition") == 0
    assert value(tx, "SELECT min(total_bytes) FROM audit.partition") > 0


def test_a_reader_may_read_it(root_tx: Connection) -> None:
    with acting_as(root_tx, "audit_reader"):
        assert value(root_tx, "SELECT count(*) FROM audit.partition") == 6
