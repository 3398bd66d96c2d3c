"""What the trail holds turns back into exactly the row that was there, for every type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from psycopg import errors

from trail import MODES, Connection, attached, event, events, refused, rows, value
from triggers.test_capture_rendering import SETTINGS

Literals = SearchStrategy[str]

EXAMPLES = 25

SESSION = SETTINGS | {
    "client_encoding": ("UTF8", "LATIN1", "SQL_ASCII", "EUC_JP"),
    "array_nulls": ("on", "off"),
    "xmlbinary": ("base64", "hex"),
    "default_text_search_config": ("simple", "german"),
    "lc_numeric": ("C", "C.UTF-8"),
    "lc_time": ("C", "C.UTF-8"),
    "backslash_quote": ("on", "off"),
    "escape_string_warning": ("on", "off"),
}
sessions = st.fixed_dictionaries(
    {name: st.sampled_from(choices) for name, choices in SESSION.items()}
)

# --- values, as PostgreSQL reads them -----------------------------------------------------------

texts = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    st.sampled_from(
        ["", " ", "\x01", "\x7f", "\x85", "\ufeff", "\ufffe\uffff", "\U0010ffff", "😀", "e\u0301"]
    ),
    st.sampled_from(["null", "NULL", "true", "NaN", "{}", '"', "'", "\\", "\\u0000", "\\x00", "%"]),
)
ascii_words = st.text("abz'\\\" :*&|!()<>", min_size=1, max_size=6)


def integers(bits: int) -> Literals:
    high = 2 ** (bits - 1)
    return st.one_of(st.sampled_from([-high, high - 1]), st.integers(-high, high - 1)).map(str)


def plain(low: int, high: int, places: int) -> Literals:
    return st.decimals(low, high, places=places, allow_nan=False).map(lambda d: f"{d:f}")


numerics = st.one_of(
    st.builds(lambda n, scale: f"{n}e-{scale}", st.integers(-(10**30), 10**30), st.integers(0, 50)),
    st.builds(lambda n, zeros: f"{n}.{'0' * zeros}", st.integers(-9, 9), st.integers(1, 6)),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "0.0", "0.00", "-0", "1e4000", "1e-900"]),
)
# -0 is the one number that JSON cannot hold
floats8 = st.floats().map(lambda number: repr(number + 0.0))
floats4 = st.floats(width=32).map(lambda number: repr(number + 0.0))
finite = st.floats(-1e100, 1e100).map(repr)
coordinates = st.one_of(finite, st.sampled_from(["-0", "Infinity", "NaN", "5e-324"]))
cents = st.integers(-(2**63), 2**63 - 1).map(
    lambda n: f"{'-' * (n < 0)}{abs(n) // 100}.{abs(n) % 100:02}"
)


def era(moment: date) -> Literals:
    """A moment of our era and, with the same digits, one before it."""
    text = moment.isoformat(*[" "] if isinstance(moment, datetime) else [])
    return st.sampled_from([text, f"{text} BC"] if moment.year < 4713 else [text])


dates = st.one_of(
    st.dates(date(1, 1, 1), date(9999, 12, 31))
    .filter(lambda d: (d.month, d.day) != (2, 29))
    .flatmap(era),
    st.sampled_from(["infinity", "-infinity", "epoch", "5874897-12-31", "4714-11-24 BC"]),
)
moments = st.one_of(
    st.datetimes().filter(lambda d: (d.month, d.day) != (2, 29)).flatmap(era),
    st.sampled_from(
        ["infinity", "-infinity", "294276-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC"]
    ),
)
times = st.one_of(st.times().map(time.isoformat), st.just("24:00:00"))
offsets = st.builds(
    lambda sign, h, m, s: f"{sign}{h:02}:{m:02}:{s:02}",
    st.sampled_from("+-"),
    st.integers(0, 14),
    st.integers(0, 59),
    st.integers(0, 59),
)
intervals = st.builds(
    lambda months, days, us: f"{months} months {days} days {us} microseconds",
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(10**15), 10**15),
)
addresses = st.one_of(
    st.builds(lambda ip, n: f"{ip}/{n}", st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda ip, n: f"{ip}/{n}", st.ip_addresses(v=6), st.integers(0, 128)),
)
networks = st.one_of(
    st.integers(0, 32).map(lambda n: f"{'10.0.0.0' if n > 7 else '0.0.0.0'}/{n}"),
    st.integers(16, 128).map(lambda n: f"2001::/{n}"),
)
points = st.builds(lambda x, y: f"({x},{y})", coordinates, coordinates)
corners = st.builds(lambda x, y: f"({x},{y})", finite, finite)
corner_lists = st.lists(corners, min_size=1, max_size=4).map(",".join)


def hexadecimal(number: int) -> Literals:
    return st.binary(min_size=number, max_size=number).map(bytes.hex)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def array(items: list[Any] | str | None) -> str:
    """The literal of an array of any number of dimensions."""
    if isinstance(items, list):
        return "{" + ",".join(array(item) for item in items) + "}"
    return "NULL" if items is None else quoted(items)


def arrays(elements: Literals) -> Literals:
    items = st.none() | elements
    return st.one_of(
        st.lists(items, max_size=3),
        st.integers(1, 3).flatmap(
            lambda width: st.lists(
                st.lists(items, min_size=width, max_size=width), min_size=1, max_size=2
            )
        ),
        items.map(lambda item: [[[item]]]),
    ).map(array)


def composites(*fields: Literals) -> Literals:
    """The literal of a composite value; a field that is NULL is empty."""
    return st.tuples(*[st.none() | field for field in fields]).map(
        lambda values: "(" + ",".join("" if v is None else quoted(v) for v in values) + ")"
    )


def ranges(bounds: Literals, order: Any) -> Literals:
    @st.composite
    def build(draw: DrawFn) -> str:
        if draw(st.integers(0, 9)) == 0:
            return "empty"
        low, high = sorted(draw(st.tuples(bounds, bounds)), key=order)
        low, high = (draw(st.sampled_from(["", quoted(end)])) for end in (low, high))
        return f"{draw(st.sampled_from('[('))}{low},{high}{draw(st.sampled_from('])'))}"

    return build()


def multiranges(members: Literals) -> Literals:
    return st.lists(members, max_size=3).map(lambda found: "{" + ",".join(found) + "}")


def word(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


lexemes = st.one_of(ascii_words, texts.filter(bool)).map(word)
vectors = st.lists(
    st.builds(
        lambda lexeme, places: lexeme + (":" + ",".join(places) if places else ""),
        lexemes,
        st.lists(
            st.builds(
                lambda n, weight: f"{n}{weight}", st.integers(1, 16383), st.sampled_from("ABCD")
            ),
            max_size=2,
        ),
    ),
    max_size=3,
).map(" ".join)
queries = st.recursive(
    st.builds(
        lambda lexeme, flag: lexeme + flag, lexemes, st.sampled_from(["", ":*", ":AB", ":*D"])
    ),
    lambda inner: st.one_of(
        inner.map(lambda q: f"!({q})"),
        st.builds(
            lambda a, op, b: f"({a}) {op} ({b})",
            inner,
            st.sampled_from(["&", "|", "<->", "<7>"]),
            inner,
        ),
    ),
    max_leaves=4,
)
json_numbers = st.one_of(
    st.integers().map(str),
    st.sampled_from(
        ["0", "1.0", "1.00", "1e2", "1E-3", "0.10", "-1.50", "1e400", "12345678901234567890.5"]
    ),
)
json_strings = st.builds(
    lambda text, ascii_only: json.dumps(text, ensure_ascii=ascii_only), texts, st.booleans()
)
# NULL and JSON null are one in the trail, so null only within a document
documents = st.recursive(
    st.one_of(json_numbers, json_strings, st.sampled_from(["true", "false"])),
    lambda inner: st.one_of(
        st.lists(inner | st.just("null"), max_size=3).map(lambda found: f"[{', '.join(found)}]"),
        st.lists(st.tuples(json_strings, inner | st.just("null")), max_size=3).map(
            lambda found: "{" + ", ".join(f"{key}: {item}" for key, item in found) + "}"
        ),
    ),
    max_leaves=5,
)
no_lists = documents.filter(lambda text: not text.startswith("["))
markup = st.text("ab é😀<>&\"'", max_size=6).map(
    lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
)
xmls = st.one_of(
    markup.map(lambda text: f"<a b='1'>{text}</a>"),
    markup.map(lambda text: f"{text}<b/><!-- {text} --><?p {text} ?>"),
    st.sampled_from(["", " ", "<![CDATA[<&]]>", "<?xml version='1.0'?><a/>", "\n<a>\r\n</a>"]),
)
numbers = st.integers(-(2**31) + 1, 2**31 - 2).map(str)
days = st.dates(date(1000, 1, 1)).map(date.isoformat)
stamps = st.datetimes(datetime(1000, 1, 1)).map(lambda moment: moment.isoformat(" "))

# --- columns: their types and what goes into them -----------------------------------------------

USER_TYPES = """
    CREATE TYPE app_data.mood AS ENUM ('sad', 'so so', 'it''s "ok"', 'null', '');
    CREATE DOMAIN app_data.price AS numeric(12, 2) CHECK (VALUE > -1e9);
    CREATE DOMAIN app_data.moods AS app_data.mood[];
    CREATE TYPE app_data.pair AS (a integer, "B b" text, at timestamptz, mood app_data.mood);
    CREATE TYPE app_data.nest AS (inside app_data.pair, many app_data.pair[], n app_data.price);
    CREATE DOMAIN app_data.own_pair AS app_data.pair;
    CREATE TYPE app_data.span AS RANGE (subtype = timestamptz);
"""
moods = st.sampled_from(["sad", "so so", 'it\'s "ok"', "null", ""])
pairs = composites(integers(32), texts, moments, moods)
GROUPS: dict[str, dict[str, Literals]] = {
    "numbers": {
        "smallint": integers(16),
        "integer": integers(32),
        "bigint": integers(64),
        "numeric": numerics,
        "numeric(12,4)": plain(-(10**7), 10**7, 4),
        "numeric(5,-2)": plain(-99999, 99999, 0),
        "real": floats4,
        "float8": floats8,
        "money": cents,
        "boolean": st.sampled_from(["true", "false"]),
        "oid": st.integers(0, 2**32 - 1).map(str),
    },
    "strings": {
        "text": texts,
        "varchar(20)": texts,
        "char(20)": texts,
        '"char"': st.sampled_from(["", *map(chr, range(1, 128))]),
        "name": texts,
        "bytea": st.binary(max_size=20).map(lambda found: "\\x" + found.hex()),
        "bit(5)": st.text("01", min_size=5, max_size=5),
        "varbit": st.text("01", max_size=70),
        "uuid": st.uuids().map(str),
        'text COLLATE "C"': texts,
    },
    "times": {
        "date": dates,
        "time": times,
        "time(0)": times,
        "timetz": st.builds("{}{}".format, times, offsets),
        "timestamp": moments,
        "timestamp(3)": stamps,
        "timestamptz": moments,
        "interval": intervals,
        "interval day to minute": st.just("3 days 04:05:06"),
    },
    "networks and ids": {
        "inet": addresses,
        "cidr": networks,
        "macaddr": hexadecimal(6),
        "macaddr8": hexadecimal(8),
        "pg_lsn": st.builds("{:X}/{:X}".format, *[st.integers(0, 2**32 - 1)] * 2),
        "xid8": st.integers(0, 2**64 - 1).map(str),
        "tid": st.builds("({},{})".format, st.integers(0, 2**32 - 1), st.integers(0, 65535)),
        "pg_snapshot": st.builds(
            lambda low, n: f"{low}:{low + n}:{low}", st.integers(3, 2**31), st.integers(1, 9)
        ),
        "regclass": st.sampled_from(["pg_class", "audit.event", "app_data.t", "77777777"]),
        "regtype": st.sampled_from(["timestamptz", "app_data.t", "text[]"]),
        "regrole": st.sampled_from(["app", "deployer"]),
        "regprocedure": st.sampled_from(["pg_catalog.now()", "audit.detach(regclass)"]),
    },
    "geometry": {
        "point": points,
        "line": st.builds("{{{},{},{}}}".format, st.floats(1, 9).map(repr), finite, finite),
        "lseg": st.builds("[{},{}]".format, points, points),
        "box": st.builds("{},{}".format, corners, corners),
        "path": st.builds(str.format, st.sampled_from(["[{}]", "({})"]), corner_lists),
        "polygon": corner_lists.map(lambda found: f"({found})"),
        "circle": st.builds("<{},{}>".format, points, st.floats(0, 1e100).map(repr)),
    },
    "documents": {
        "jsonb": documents,
        "tsvector": vectors,
    },
    # PostgreSQL itself does not read these back to the same bytes: their texts are compared
    "languages": {
        "tsquery": queries,
        "jsonpath": st.one_of(
            st.sampled_from(["$", "lax $.a[*] ? (@ > 1)", "strict $.a.datetime()"]),
            texts.map(lambda text: f"$.{json.dumps(text)}"),
        ),
    },
    "xml": {"xml": xmls},
    "ranges": {
        "int4range": ranges(numbers, int),
        "int8range": ranges(numbers, int),
        "numrange": ranges(plain(-999, 999, 3), float),
        "daterange": ranges(days, str),
        "tsrange": ranges(stamps, str),
        "tstzrange": ranges(stamps, str),
        "int4multirange": multiranges(ranges(numbers, int)),
        "nummultirange": multiranges(ranges(plain(-999, 999, 3), float)),
        "datemultirange": multiranges(ranges(days, str)),
        "tstzmultirange": multiranges(ranges(stamps, str)),
    },
    "arrays": {
        "integer[]": arrays(integers(32)),
        "numeric[]": arrays(numerics),
        "float8[]": arrays(floats8),
        "text[]": arrays(texts),
        "char(3)[]": arrays(st.text("ab ", max_size=3)),
        "boolean[]": arrays(st.sampled_from(["t", "f"])),
        "bytea[]": arrays(st.binary(max_size=5).map(lambda found: "\\x" + found.hex())),
        "timestamptz[]": arrays(moments),
        "interval[]": arrays(intervals),
        "money[]": arrays(cents),
        "point[]": arrays(points),
        "tstzrange[]": arrays(ranges(stamps, str)),
        # an array of documents that are lists cannot be told from one of more dimensions
        "jsonb[]": arrays(no_lists),
    },
    "types of users": {
        "app_data.mood": moods,
        "app_data.mood[]": arrays(moods),
        "app_data.price": plain(-999, 999, 3),
        "app_data.moods": arrays(moods),
        "app_data.pair": pairs,
        "app_data.pair[]": arrays(pairs),
        "app_data.nest": composites(pairs, st.lists(pairs, max_size=2).map(array), plain(-9, 9, 2)),
        "app_data.own_pair": pairs,
        "app_data.span": ranges(stamps, str),
        "app_data.span_multirange": multiranges(ranges(stamps, str)),
    },
}


def nullable(literals: Literals) -> SearchStrategy[str | None]:
    return st.integers(0, 9).flatmap(lambda number: literals if number else st.none())


def row_values(group: str) -> SearchStrategy[list[list[str | None]]]:
    """Some rows, each a list of literals; about one in ten is NULL."""
    row = st.tuples(*[nullable(literals) for literals in GROUPS[group].values()]).map(list)
    return st.lists(row, min_size=2, max_size=4)


def names(group: str) -> list[str]:
    return [f"c{number}" for number in range(len(GROUPS[group]))]


def require_xml(connection: Connection) -> None:
    """Skip the test when the server was built without XML."""
    try:
        with connection.transaction():
            connection.execute("SELECT xmlcomment('')")
    except errors.FeatureNotSupported:
        pytest.skip("the server was built without XML")


def prepare(connection: Connection, group: str, mode: str) -> None:
    """The attached table app_data.t, and its twin app_data.source, whose rows go into it."""
    connection.execute(USER_TYPES)
    columns = ", ".join(
        f"{name} {type_}" for name, type_ in zip(names(group), GROUPS[group], strict=True)
    )
    attached(connection, f"id integer PRIMARY KEY, {columns}", mode)
    for name in ("source", "later"):
        connection.execute(f"CREATE TABLE app_data.{name} (LIKE app_data.t)")


def offer(connection: Connection, group: str, found: list[list[str | None]]) -> None:
    """Put rows into app_data.source, numbered from 0."""
    places = ", ".join(f"%s::{type_.partition(' COLLATE')[0]}" for type_ in GROUPS[group])
    connection.cursor().executemany(
        f"INSERT INTO app_data.source VALUES (%s, {places})",
        [[number, *row] for number, row in enumerate(found)],
    )


def changed(group: str) -> str:
    """The names of the columns whose bytes differ between rows `s` and `l`."""
    found = ", ".join(
        f"CASE WHEN ROW(s.{name})::record *<> ROW(l.{name})::record THEN '{name}' END"
        for name in names(group)
    )
    return f"(SELECT array_agg(k ORDER BY k) FROM unnest(ARRAY[{found}]) AS k WHERE k IS NOT NULL)"


@contextmanager
def session(connection: Connection, choices: Mapping[str, str]) -> Iterator[None]:
    """Settings for a while."""
    before = {name: value(connection, "SELECT current_setting(%s)", (name,)) for name in choices}
    for name, choice in choices.items():
        connection.execute("SELECT set_config(%s, %s, true)", (name, choice))
    yield
    for name, choice in before.items():
        connection.execute("SELECT set_config(%s, %s, true)", (name, choice))


# of each event: the row that it turns back into, and the row that was in the table
TURNED_BACK = """
    WITH e AS (
        SELECT (row_key ->> 'id')::integer AS id, action, old_values AS old, new_values AS new
          FROM audit.event),
    i AS (SELECT * FROM e WHERE action = 'insert'),
    u AS (SELECT u.id, i.new || u.old AS old, i.new || u.new AS new
            FROM e AS u JOIN i USING (id) WHERE u.action = 'update'),
    pair (what, recorded, row, text, json) AS (
        SELECT 'insert', i.new, ROW(s.*), s::text, to_jsonb(s)
          FROM i JOIN app_data.source AS s USING (id)
        UNION ALL
        SELECT 'update, old', u.old, ROW(s.*), s::text, to_jsonb(s)
          FROM u JOIN app_data.source AS s USING (id)
        UNION ALL
        SELECT 'update, new', u.new, ROW(l.*), l::text, to_jsonb(l)
          FROM u JOIN app_data.later AS l USING (id)
        UNION ALL
        SELECT 'delete', e.old, ROW(l.*), l::text, to_jsonb(l)
          FROM e JOIN app_data.later AS l USING (id) WHERE e.action = 'delete')
    SELECT pair.what, back::record *= pair.row AS same_bytes, back::text = pair.text AS same_text,
           pair.recorded::text = pair.json::text AS same_json, pair.recorded::text, pair.text,
           back::text AS back
      FROM pair
     CROSS JOIN LATERAL jsonb_populate_record(NULL::app_data.source, pair.recorded) AS back
"""
DIFFER = """
    SELECT count(*) FROM app_data.source AS s JOIN app_data.later AS l USING (id)
     WHERE s::record *<> l::record
"""
NAMED = """
    SELECT (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(e.old_values) AS k) AS old,
           (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(e.new_values) AS k) AS new,
           {changed} AS changed
      FROM audit.event AS e
      JOIN app_data.source AS s ON s.id = (e.row_key ->> 'id')::integer
      JOIN app_data.later AS l ON l.id = s.id
     WHERE e.action = 'update'
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("group", GROUPS)
def test_a_row_comes_back_from_the_trail_as_it_was(tx: Connection, group: str, mode: str) -> None:
    """By its bytes and its text, under any settings of the session that wrote it."""
    if group == "xml":
        require_xml(tx)
    prepare(tx, group, mode)
    columns = ", ".join(names(group))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),  # to find the smallest example takes minutes
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(found=row_values(group), choices=sessions)
    def check(found: list[list[str | None]], choices: Mapping[str, str]) -> None:
        with tx.transaction(force_rollback=True):
            offer(tx, group, found)
            tx.execute(
                f"INSERT INTO app_data.later SELECT (id + 1) % {len(found)}, {columns}"
                "  FROM app_data.source"
            )
            with session(tx, choices):
                for some in ("id = 0", "id > 0"):  # one row, and many
                    tx.execute(f"INSERT INTO app_data.t SELECT * FROM app_data.source WHERE {some}")
                for some in ("id = 0", "id > 0"):
                    tx.execute(
                        f"UPDATE app_data.t SET ({columns}) = (SELECT {columns} FROM app_data.later"
                        f" AS l WHERE l.id = t.id) WHERE {some}"
                    )
                for some in ("id = 0", "id > 0"):
                    tx.execute(f"DELETE FROM app_data.t WHERE {some}")
            backs, updates = rows(tx, TURNED_BACK), rows(tx, NAMED.format(changed=changed(group)))
            same = ["same_text", "same_json"]
            if group not in ("languages", "xml"):
                same.append("same_bytes")
            assert [row for row in backs if not all(row[name] for name in same)] == []
            assert [row for row in updates if not row["old"] == row["new"] == row["changed"]] == []
            assert len(updates) == value(tx, DIFFER)
            assert len(backs) == 2 * len(found) + 2 * len(updates)

    check()


# --- what JSON cannot hold ----------------------------------------------------------------------

# a type and its value: what the trail holds instead, and what this turns back into
INEXACT: dict[str, tuple[str, str, str, str | None]] = {
    "negative zero": ("float8", "-0", "0", "0"),
    "negative zero of a real": ("real", "-0", "0", "0"),
    "negative zero in an array": ("float8[]", "{-0,1}", "[0, 1]", "{0,1}"),
    "white space of json": ("json", '{"a" :\n1}', '{"a": 1}', '{"a": 1}'),
    "a key that json has twice": ("json", '{"a": 1, "a": 2}', '{"a": 2}', '{"a": 2}'),
    "order of keys of json": (
        "json",
        '{"bb": 1, "a": 2}',
        '{"a": 2, "bb": 1}',
        '{"a": 2, "bb": 1}',
    ),
    "exponents of json": ("json", "[1e2, -0]", "[100, 0]", "[100, 0]"),
    "escapes of json": ("json", r'"\u00e9\ud83d\ude00\/"', '"é😀/"', '"é😀/"'),
    "json null": ("json", "null", "null", None),
    "jsonb null": ("jsonb", "null", "null", None),
    "jsonb null in an array": ("jsonb[]", "{null,NULL}", "[null, null]", "{NULL,NULL}"),
    "an array of documents that are lists": ("jsonb[]", "{[1],[2]}", "[[1], [2]]", "{{1},{2}}"),
    "lower bound of an array": ("integer[]", "[0:1]={1,2}", "[1, 2]", "{1,2}"),
    "numbering of an int2vector": ("int2vector", "1 2", "[1, 2]", "1 2"),
    "declaration of xml": ("xml", "<?xml version='1.0' encoding='UTF-8'?><a/>", '"<a/>"', "<a/>"),
}
# JSON has numbers without these, so they are strings; they turn back all the same
NOT_NUMBERS = [
    (type_, literal)
    for type_ in ("numeric", "real", "float8")
    for literal in ("NaN", "Infinity", "-Infinity")
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", INEXACT)
def test_what_json_cannot_hold_is_recorded_as_near_as_it_can_be(
    tx: Connection, what: str, mode: str
) -> None:
    type_, literal, recorded, back = INEXACT[what]
    if type_ == "xml":
        require_xml(tx)
    table = attached(tx, f"id integer PRIMARY KEY, x {type_}", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, %s), (2, NULL)", (literal,))
    query = f"""
        SELECT (e.new_values -> 'x')::text AS recorded,
               (jsonb_populate_record(NULL::{table}, e.new_values)).x::text AS back
          FROM audit.event AS e ORDER BY e.id LIMIT 1
    """
    assert rows(tx, query) == [{"recorded": recorded, "back": back}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("type_", "literal"), NOT_NUMBERS)
def test_numbers_that_json_does_not_have_are_strings(
    tx: Connection, type_: str, literal: str, mode: str
) -> None:
    table = attached(tx, f"id integer PRIMARY KEY, x {type_}", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, %s)", (literal,))
    query = f"""
        SELECT e.new_values ->> 'x' AS recorded, jsonb_typeof(e.new_values -> 'x') AS type,
               t::record *= jsonb_populate_record(NULL::{table}, e.new_values)::record AS same
          FROM audit.event AS e, {table} AS t
    """
    assert rows(tx, query) == [{"recorded": literal, "type": "string", "same": True}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("type_", "literal", "recorded"),
    [
        ("app_data.words[]", '{"{a,b}","{c}"}', [["a", "b"], ["c"]]),
        ("jsonb[]", '{"[1, 2]",[3]}', [[1, 2], [3]]),
    ],
)
def test_a_list_of_lists_is_recorded_but_postgresql_does_not_read_it_back(
    tx: Connection, type_: str, literal: str, recorded: object, mode: str
) -> None:
    tx.execute("CREATE DOMAIN app_data.words AS text[]")
    table = attached(tx, f"id integer PRIMARY KEY, x {type_}", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, %s)", (literal,))
    assert events(tx) == [event("insert", {"id": 1}, None, {"id": 1, "x": recorded})]
    refused(
        tx,
        errors.InvalidTextRepresentation,
        f"SELECT jsonb_populate_record(NULL::{table}, new_values) FROM audit.event",
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("literal", "error"),
    [
        (r'"\u0000"', errors.UntranslatableCharacter),
        (r'{"\u0000": 1}', errors.UntranslatableCharacter),
        (r'"\ud83d"', errors.InvalidTextRepresentation),
        (r'"\ude00\ud83d"', errors.InvalidTextRepresentation),
        ("1e200000", errors.NumericValueOutOfRange),
    ],
    ids=["zero byte", "zero byte in a key", "half a pair", "pair reversed", "number"],
)
def test_json_that_jsonb_cannot_hold_fails_the_write_and_leaves_nothing(
    tx: Connection, literal: str, error: type[errors.Error], mode: str
) -> None:
    table = attached(tx, "id integer PRIMARY KEY, x json", mode)
    tx.execute("CREATE TABLE app_data.source (x json)")
    tx.execute("INSERT INTO app_data.source VALUES (%s)", (literal,))  # a json it is
    tx.execute(f"INSERT INTO {table} VALUES (1, '1')")
    for write in (
        f"INSERT INTO {table} SELECT 2, x FROM app_data.source",
        f"UPDATE {table} SET x = s.x FROM app_data.source AS s",
    ):
        refused(tx, error, write)
    assert rows(tx, f"SELECT id, x FROM {table}") == [{"id": 1, "x": 1}]
    assert [row["action"] for row in events(tx)] == ["insert"]


@pytest.mark.parametrize("mode", MODES)
def test_an_infinite_interval_comes_back(tx: Connection, mode: str) -> None:
    if tx.info.server_version < 170000:
        pytest.skip("infinite intervals came with PostgreSQL 17")
    table = attached(tx, "id interval PRIMARY KEY, many interval[]", mode)
    tx.execute(f"INSERT INTO {table} VALUES ('infinity', '{{-infinity,1 day}}')")
    assert events(tx) == [
        event(
            "insert",
            {"id": "infinity"},
            None,
            {"id": "infinity", "many": ["-infinity", "1 day"]},
        )
    ]


@pytest.mark.parametrize("mode", MODES)
def test_null_json_null_and_absent(tx: Connection, mode: str) -> None:
    """JSON null within a document is kept; instead of one, it is as NULL; what stayed is absent."""
    table = attached(tx, "id integer PRIMARY KEY, doc jsonb, n integer", mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, NULL, 1)")
    for doc in ("null", '{"a": null}', "{}", None, "0"):
        tx.execute(f"UPDATE {table} SET doc = %s", (doc,))
    assert events(tx) == [
        event("insert", {"id": 1}, None, {"id": 1, "doc": None, "n": 1}),
        event("update", {"id": 1}, {"doc": None}, {"doc": {"a": None}}),
        event("update", {"id": 1}, {"doc": {"a": None}}, {"doc": {}}),
        event("update", {"id": 1}, {"doc": {}}, {"doc": None}),
        event("update", {"id": 1}, {"doc": None}, {"doc": 0}),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_byte_that_is_no_character_is_recorded_so_that_it_can_be_read(
    tx: Connection, mode: str
) -> None:
    table = attached(tx, 'id integer PRIMARY KEY, x "char"', mode)
    tx.execute(f"INSERT INTO {table} VALUES (1, 'é')")
    [found] = events(tx)
    assert found["new_values"] == {"id": 1, "x": r"\303"}
