"""Tables of other shapes than the account: narrow, wide, and with large rows."""

from __future__ import annotations

from random import Random
from typing import Final

from psycopg import sql

from audit_schema.bench.workload import Column, Shape, column

_KINDS: Final = (
    ("integer", "g % 1000", "17", "17 + version"),
    ("numeric(14, 2)", "(g * 7919 % 1000000) / 100.0", "123.45", "version + 0.5"),
    ("text", "'value ' || g", "'value 17'", "'value ' || version"),
    ("timestamptz", "timestamptz '2025-01-01' + g * interval '1 second'", "now()", "now()"),
    ("boolean", "g % 2 = 0", "true", "version % 2 = 0"),
)
_VERSION: Final = column("version", "integer", "1", "1", "version + 1")
_WIDE: Final = 98
_BODY: Final = 10_000

NARROW: Final = Shape(
    "counter",
    "3 columns",
    (_VERSION, column("note", "text", "'note ' || g", "'note 17'", "'note ' || version")),
    few=("version",),
)
WIDE: Final = Shape(
    "wide",
    "100 columns",
    (
        _VERSION,
        *(column(f"c{number}", *_KINDS[number % len(_KINDS)]) for number in range(1, _WIDE + 1)),
    ),
    few=("version", "c1", "c2"),
)


def _document() -> Shape:
    """A text of 10 kB that hardly compresses: a piece of a fixed random one for each row."""
    pool = Random(1).randbytes(_BODY).hex()
    body = Column(
        "body",
        sql.SQL("text"),
        sql.SQL("substr({}, (g % {})::integer + 1, {})").format(pool, _BODY, _BODY),
        sql.Literal(pool[:_BODY]),
        sql.SQL("substr({}, version % {} + 1, {})").format(pool, _BODY, _BODY),
    )
    return Shape("document", "10 kB a row", (_VERSION, body), few=("version",))


DOCUMENT: Final = _document()
