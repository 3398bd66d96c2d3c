"""What people see, and what programs read."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.console import Console

from audit_schema import Change, display


def change(**values: Any) -> Change:
    defaults: dict[str, Any] = {
        "transaction_id": UUID(int=1),
        "event_id": 1,
        "occurred_at": datetime(2026, 11, 1, tzinfo=UTC),
        "actor": None,
        "actor_type": None,
        "actor_label": None,
        "action": "update",
        "table_schema": "public",
        "table_name": "orders",
        "row_key": {"id": 17},
        "old_values": {"note": None, "amount": Decimal("1.10")},
        "new_values": {"note": "x", "amount": Decimal("1.20")},
        "metadata": None,
        "database_user": "app",
        "database_role": None,
        "client_addr": None,
        "application_name": None,
        "started_at": datetime(2026, 11, 1, tzinfo=UTC),
        "xid": 700,
        "tracked_table_id": 1,
        "cursor": "1/1/1",
    }
    return Change(**(defaults | values))


def shown(*changes: Change) -> str:
    console = Console(file=io.StringIO(), width=40)
    display.print_changes(list(changes), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_columns_pair_old_and_new() -> None:
    assert change().columns == [
        ("amount", Decimal("1.10"), Decimal("1.20")),
        ("note", None, "x"),
    ]
    assert change(old_values=None, new_values={"id": 1}).columns == [("id", None, 1)]
    assert change(old_values=None, new_values=None).columns == []


def test_update_shows_old_and_new() -> None:
    text = shown(change())
    assert 'public.orders {"id": 17}  by database user app' in text
    assert '    amount: 1.10 → 1.20\n    note: null → "x"\n' in text


def test_insert_and_delete_show_one_side() -> None:
    text = shown(
        change(action="insert", old_values=None, new_values={"id": 1}),
        change(action="delete", old_values={"id": 2}, new_values=None),
    )
    assert "    id: 1\n" in text
    assert "    id: 2\n" in text


def test_actor_with_type_label_and_metadata() -> None:
    text = shown(
        change(actor="7", actor_type="user", actor_label="Ann", metadata={"ticket": "[T]"})
    )
    assert 'by user 7 (Ann) {"ticket": "[T]"}' in text


def test_nothing() -> None:
    assert shown() == "no changes in this period\n"


def test_recorded_values_do_not_steer_the_terminal() -> None:
    text = shown(
        change(actor="\x1b[31mred\x9b1m", table_name="\r", new_values={"\x07": "\x1b\u202e\x7f"})
    )
    assert not set(text) & set("\x1b\x9b\r\x07\u202e\x7f")


def test_json_keeps_numbers_exact() -> None:
    exact = "12345678901234567890.123456789000"
    text = display.dumps({"a": [Decimal(exact)], "at": datetime(2026, 11, 1, tzinfo=UTC)})
    assert text == f'{{"a": [{exact}], "at": "2026-11-01T00:00:00+00:00"}}'
    assert json.loads(display.dumps(display.as_dicts([change()])))[0]["xid"] == 700
