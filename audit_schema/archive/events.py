"""Events as text of COPY, as Arrow tables, and as a Parquet file; each gives the other exactly.

COPY sends CSV with all that is not NULL in quotes and times as microseconds: this text is what an
archive is checked by. What a Parquet file holds gives the same text again, byte for byte, or it
is not what the server sent.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

TIME: Final = "timestamp with time zone"
TYPES: Final[Mapping[str, pa.DataType]] = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "text": pa.string(),
    "inet": pa.string(),
    "jsonb": pa.string(),
    TIME: pa.timestamp("us", tz="UTC"),
}
"""How each type of PostgreSQL is kept; documents stay text, so that 1.0 and 1.00 differ."""

CHUNK: Final = 8 * 2**20
"""Bytes of text that become one row group: memory is a few times as much."""
LARGE: Final = ("row_key", "old_values", "new_values")
COUNTERS: Final = ("id", "started_at", "occurred_at", "xid", "context_id")

Columns = Mapping[str, str]
"""Type of PostgreSQL by name of the column."""


class Content:
    """What passed by: how many events, and the SHA-256 of their text."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.events = 0

    def add(self, text: bytes, events: int) -> None:
        self._digest.update(text)
        self.events += events

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def write(
    sink: Any, columns: Columns, rows: Iterable[bytes], advance: Callable[[int], None]
) -> Content:
    """Write *rows*, lines of text, as one Parquet file."""
    content, schema = Content(), _schema(columns)
    with pyarrow.parquet.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=[name for name in columns if name not in (*LARGE, *COUNTERS)],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in COUNTERS if name in columns},
        write_page_checksum=True,
        write_page_index=True,
    ) as writer:
        for text in _chunks(rows):
            table = _from_text(text, columns).cast(schema)
            writer.write_table(table, row_group_size=len(table))
            content.add(text, len(table))
            advance(len(table))
    return content


def content_of(file: Any, columns: Columns, advance: Callable[[int], None]) -> Content:
    """Return what a Parquet file holds."""
    content = Content()
    for table in tables(file):
        content.add(_to_text(table.cast(_schema(columns, wire=True))), len(table))
        advance(len(table))
    return content


def copy_text(file: Any) -> Iterator[tuple[bytes, int]]:
    """Yield what a Parquet file holds as text for COPY FROM, and how many events that is."""
    for table in tables(file):
        yield _to_text(table), len(table)


def tables(file: Any) -> Iterator[Any]:
    """Yield a Parquet file piece by piece."""
    parquet = pyarrow.parquet.ParquetFile(file, page_checksum_verification=True)
    for number in range(parquet.num_row_groups):
        yield parquet.read_row_group(number, use_threads=False)


def _schema(columns: Columns, *, wire: bool = False) -> Any:
    """Return the columns of the file, or on the wire, where times are microseconds."""
    types = {**TYPES, TIME: pa.int64()} if wire else TYPES
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])


def _chunks(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Put lines together to pieces of a size."""
    lines: list[bytes] = []
    size = 0
    for row in rows:
        lines.append(row)
        size += len(row)
        if size >= CHUNK:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def _from_text(text: bytes, columns: Columns) -> Any:
    return pyarrow.csv.read_csv(
        pa.BufferReader(text),
        read_options=pyarrow.csv.ReadOptions(
            column_names=list(columns), block_size=len(text) + 1, use_threads=False
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=_schema(columns, wire=True),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _to_text(table: Any) -> bytes:
    text = io.BytesIO()
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
    pyarrow.csv.write_csv(table, text, options)
    return text.getvalue()
