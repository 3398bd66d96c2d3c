"""What is recorded depends on the values alone, not on the settings of the session."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trail import MODES, Connection, attached, rows, value

COLUMNS = {
    "tstz": "timestamptz",
    "ts": "timestamp",
    "day": "date",
    "span": "interval",
    "raw": "bytea",
    "f8": "float8",
    "f4": "float4",
    "num": "numeric",
    "price": "money",
    "rel": "regclass",
    "typ": "regtype",
    "period": "tstzrange",
    "times": "timestamptz[]",
    "floats": "float8[]",
    "place": "point",
    "words": "text[]",
}
# what the settings of a session can be; each changes how some type above is written
SETTINGS = {
    "TimeZone": ("UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati", "-03:30"),
    "DateStyle": ("ISO, MDY", "SQL, DMY", "Postgres, MDY", "German, DMY"),
    "IntervalStyle": ("postgres", "postgres_verbose", "sql_standard", "iso_8601"),
    "bytea_output": ("hex", "escape"),
    "extra_float_digits": ("-15", "0", "1", "3"),
    "lc_monetary": ("C", "C.UTF-8"),
    "search_path": ("app_data", "pg_temp, app_data, public", "audit, app_data", '""'),
    "quote_all_identifiers": ("on", "off"),
    "jit": ("on", "off"),
    "plan_cache_mode": ("force_custom_plan", "auto"),
    "standard_conforming_strings": ("on", "off"),
    "transform_null_equals": ("on", "off"),
    "xmloption": ("document", "content"),
    "enable_hashjoin": ("on", "off"),
}
# the numbers of jsonb know no negative zero
floats = st.floats().map(lambda number: number + 0.0)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
spans = st.timedeltas(timedelta(days=-9999), timedelta(days=9999))
row_values = st.fixed_dictionaries(
    {
        "tstz": moments,
        "ts": moments.map(lambda moment: moment.replace(tzinfo=None)),
        "day": st.dates(),
        "span": spans,
        "raw": st.binary(max_size=12),
        "f8": floats,
        "f4": st.floats(width=32).map(lambda number: number + 0.0),
        "num": st.decimals(Decimal(-(10**12)), Decimal(10**12), places=4),
        "price": st.decimals(-(10**9), 10**9, places=2).map(str),
        "rel": st.sampled_from(["app_data.t", "app_data.source", "pg_class", "audit.event"]),
        "typ": st.sampled_from(["timestamptz", "app_data.t", "text[]"]),
        "period": st.tuples(moments, moments)
        .map(sorted)
        .map(lambda ends: f"[{ends[0].isoformat()},{ends[1].isoformat()})"),
        "times": st.lists(moments, max_size=2),
        "floats": st.lists(floats, max_size=2),
        "place": st.tuples(*[st.floats(-1e9, 1e9)] * 2).map(lambda xy: f"({xy[0]!r},{xy[1]!r})"),
        "words": st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), max_size=2
        ),
    }
)
session_settings = st.fixed_dictionaries(
    {name: st.sampled_from(choices) for name, choices in SETTINGS.items()}
)

INSERT_SOURCE = "INSERT INTO app_data.source VALUES (1, {})".format(
    ", ".join(f"%({name})s::{type_}" for name, type_ in COLUMNS.items())
)
WRITES = (
    "INSERT INTO app_data.t SELECT * FROM app_data.source",
    "UPDATE app_data.t SET " + ", ".join(f"{name} = NULL" for name in COLUMNS),
    "DELETE FROM app_data.t",
)
RECORDED = """
    SELECT action, row_key::text, old_values::text, new_values::text
      FROM audit.event ORDER BY id
"""


def recorded(tx: Connection, session: Mapping[str, str]) -> list[dict[str, str]]:
    """What a session with these settings leaves in the trail."""
    with tx.transaction(force_rollback=True):
        for name, choice in session.items():
            tx.execute("SELECT set_config(%s, %s, true)", (name, choice))
        for write in WRITES:
            tx.execute(write)
        return rows(tx, RECORDED)


@pytest.mark.parametrize("mode", MODES)
@settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(row=row_values, session=session_settings)
def test_the_recorded_bytes_do_not_depend_on_the_session(
    tx: Connection, mode: str, row: Mapping[str, object], session: Mapping[str, str]
) -> None:
    with tx.transaction(force_rollback=True):
        columns = "id integer PRIMARY KEY, " + ", ".join(
            f"{name} {type_}" for name, type_ in COLUMNS.items()
        )
        attached(tx, columns, mode)
        tx.execute(f"CREATE TABLE app_data.source ({columns})")
        tx.execute(INSERT_SOURCE, row)
        expected = recorded(tx, {})
        assert [event["action"] for event in expected] == ["insert", "update", "delete"]
        assert recorded(tx, session) == expected
        # the row comes back from the trail as it was
        tx.execute(WRITES[0])
        back = """
            SELECT s::text = jsonb_populate_record(NULL::app_data.source, e.new_values)::text
              FROM audit.event AS e, app_data.source AS s
        """
        assert value(tx, back) is True


@pytest.mark.parametrize("mode", MODES)
def test_values_are_written_in_utc_and_iso_form(tx: Connection, mode: str) -> None:
    tx.execute("SET LOCAL TimeZone = 'America/New_York'; SET LOCAL DateStyle = 'German'")
    table = attached(tx, "id timestamptz PRIMARY KEY, span interval, raw bytea, rel regclass", mode)
    tx.execute(
        f"INSERT INTO {table} VALUES ('2024-07-01 12:00+02', '1 mon 2 days', '\\x00ff', %s)",
        (table,),
    )
    assert rows(tx, "SELECT row_key, new_values FROM audit.event") == [
        {
            "row_key": {"id": "2024-07-01T10:00:00+00:00"},
            "new_values": {
                "id": "2024-07-01T10:00:00+00:00",
                "span": "1 mon 2 days",
                "raw": "\\x00ff",
                "rel": "app_data.t",
            },
        }
    ]


@pytest.mark.parametrize("mode", MODES)
def test_capture_leaves_the_settings_of_the_session_alone(tx: Connection, mode: str) -> None:
    query = "SELECT name, setting FROM pg_settings ORDER BY name"
    tx.execute("SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL bytea_output = 'escape'")
    table = attached(tx, "id integer PRIMARY KEY, n integer", mode)
    before = rows(tx, query)
    tx.execute(f"INSERT INTO {table} VALUES (1, 1)")
    tx.execute(f"UPDATE {table} SET n = 2")
    assert rows(tx, query) == before
