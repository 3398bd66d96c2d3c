"""What capture adds to one statement, against every peer: CPU, WAL and bytes on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audit_schema.bench import capture
from audit_schema.bench.by_hand import BY_HAND
from audit_schema.bench.variant import BARE, OURS, OURS_ROW, Variant
from audit_schema.database import sqlalchemy_url
from benchmarks.lab import Lab
from benchmarks.report import Page, signed

TITLE: Final = "What a statement costs"

OWN: Final = (BARE, OURS, OURS_ROW, BY_HAND)
ACTIONS: Final = (
    "bulk INSERT",
    "bulk UPDATE",
    "bulk DELETE",
    "COPY",
    "one-row INSERT",
    "one-row UPDATE",
    "one-row DELETE",
    "ten-row INSERT",
    "ten-row UPDATE",
    "ten-row DELETE",
)
METHOD: Final = """
The table has ten columns, a row is about 250 bytes as JSON, and holds {rows:,} rows. A bulk
statement and COPY bring or change {bulk:,} rows. One-row statements run {single:,} times in a loop
of PL/pgSQL, ten-row statements {ten:,} times: one session, one transaction for each loop, no client
between the statements. An UPDATE changes three columns. By hand means that the statement itself
writes the same events (data-modifying CTE), without any trigger.
"""
LOGICAL: Final = """
Logical decoding records nothing in the database: a reader takes the changes from the WAL. It has a
server of its own with wal_level = logical, and is compared with the bare table there; its CPU
includes that of the process that decodes.
"""


@dataclass(frozen=True)
class Budget:
    """What a figure of audit_schema may be at most; `figure` is one or the sum of several."""

    title: str
    action: str
    figures: tuple[str, ...]
    value: str
    limit: float
    unit: str


STORED: Final = ("heap_bytes", "toast_bytes", "index_bytes")
BUDGETS: Final = (
    Budget("bulk INSERT", "bulk INSERT", ("cpu_us",), "added", 8, "µs a row"),
    Budget("bulk UPDATE", "bulk UPDATE", ("cpu_us",), "added", 18, "µs a row"),
    Budget("bulk DELETE", "bulk DELETE", ("cpu_us",), "added", 8, "µs a row"),
    Budget("one-row UPDATE", "one-row UPDATE", ("cpu_us",), "added", 27, "µs"),
    Budget("one-row INSERT", "one-row INSERT", ("cpu_us",), "added", 19, "µs"),
    Budget("ten-row UPDATE", "ten-row UPDATE", ("cpu_us",), "added", 215, "µs a statement"),
    Budget("WAL of an INSERT with its row", "bulk INSERT", ("wal_bytes",), "median", 900, "B"),
    Budget("tables and indexes, INSERT", "bulk INSERT", STORED, "median", 420, "B an event"),
    Budget("tables and indexes, UPDATE", "bulk UPDATE", STORED, "median", 420, "B an event"),
    Budget("tables and indexes, DELETE", "bulk DELETE", STORED, "median", 420, "B an event"),
)


def measure(lab: Lab) -> dict[str, Any]:
    """Measure all variants; those read by logical decoding on a server of their own."""
    size = capture.Size(lab.amount(lab.rows, 200))
    stored = [*OWN, *(peer for peer in lab.peers if not peer.logical)]
    logical = [BARE, *(peer for peer in lab.peers if peer.logical)]
    result: dict[str, Any] = {
        "size": {name: getattr(size, name) for name in ("rows", "bulk", "single", "ten")},
        "variants": _describe([*stored, *logical]),
        "peers": [peer.name for peer in lab.peers if not peer.logical],
        "stored": _measure(lab, stored, size),
    }
    if len(logical) > 1:
        result["logical"] = _measure(lab, logical, size, {"wal_level": "logical"})
    return result


def _measure(
    lab: Lab,
    variants: Sequence[Variant],
    size: capture.Size,
    settings: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    with lab.server(settings) as server:
        url = sqlalchemy_url(server.url())
        return capture.measure(url, variants, size, lab.rounds, lab.console)


def _describe(variants: Sequence[Variant]) -> dict[str, dict[str, str]]:
    return {one.name: {"title": one.title, "records": one.records} for one in variants}


def render(result: dict[str, Any], page: Page) -> None:
    """Budgets first, then every variant and action."""
    page.add(METHOD.format(**result["size"]))
    stored, titles = result["stored"], _titles(result)
    page.heading("Budgets", level=3)
    page.add("What audit_schema allows itself, and the least that any peer needs for the same.")
    columns = ["added CPU, WAL, bytes", "budget", "audit_schema", "best peer", "which"]
    page.table(columns, [_budget_row(budget, result) for budget in BUDGETS])
    page.heading("CPU", level=3)
    page.add(
        "Microseconds: of the bare statement in the first line, added to it in the others; a row, "
        "or a statement of ten rows."
    )
    page.table(["CPU µs", *ACTIONS], _cpu_rows(stored, titles))
    for kind, actions in (("bulk", ACTIONS[:4]), ("one-row", ACTIONS[4:7])):
        page.bars(
            f"capture-{kind}",
            {action: _added(stored, titles, action) for action in actions},
            title=f"CPU added by capture, {kind} statements",
            x="µs a row",
        )
    page.heading("WAL", level=3)
    page.add("Bytes of WAL a row, or a statement of ten rows, with those of the row itself.")
    page.table(["WAL bytes", *ACTIONS], _figure_rows(stored, titles, ("wal_bytes",)))
    page.heading("On disk", level=3)
    page.add("Bytes that tables, TOAST tables and indexes of the log grow by, an event.")
    captured = {name: actions for name, actions in stored.items() if name != BARE.name}
    page.table(["bytes an event", *ACTIONS], _figure_rows(captured, titles, STORED))
    _render_records(result, page)
    if "logical" in result:
        page.heading("Logical decoding", level=3)
        page.add(LOGICAL)
        page.table(["CPU µs", *ACTIONS], _cpu_rows(result["logical"], titles))
        page.table(["WAL bytes", *ACTIONS], _figure_rows(result["logical"], titles, ("wal_bytes",)))


def _titles(result: Mapping[str, Any]) -> dict[str, str]:
    return {name: variant["title"] for name, variant in result["variants"].items()}


def _cpu_rows(measured: Mapping[str, Any], titles: Mapping[str, str]) -> list[list[object]]:
    return [
        [
            titles[name],
            *(
                None
                if action not in actions
                else actions[action]["cpu_us"]["median"]
                if name == BARE.name
                else signed(actions[action]["cpu_us"]["added"])
                for action in ACTIONS
            ),
        ]
        for name, actions in measured.items()
    ]


def _figure_rows(
    measured: Mapping[str, Any], titles: Mapping[str, str], figures: Sequence[str]
) -> list[list[object]]:
    """The medians of *figures*, added up."""
    return [
        [titles[name], *(_value(actions.get(action), figures) for action in ACTIONS)]
        for name, actions in measured.items()
    ]


def _value(
    action: Mapping[str, Any] | None, figures: Sequence[str], value: str = "median"
) -> float | None:
    return None if action is None else sum(action[figure][value] for figure in figures)


def _added(measured: Mapping[str, Any], titles: Mapping[str, str], action: str) -> dict[str, float]:
    return {
        titles[name]: actions[action]["cpu_us"]["added"]
        for name, actions in measured.items()
        if name != BARE.name and action in actions
    }


def _budget_row(budget: Budget, result: Mapping[str, Any]) -> list[object]:
    stored = result["stored"]
    own, *others = (
        (_value(stored[name][budget.action], budget.figures, budget.value) or 0.0, name)
        for name in [OURS.name, *result["peers"]]
    )
    best, which = min(others, default=(None, ""))
    sign = signed if budget.value == "added" else lambda value: f"{value:,.0f}"
    return [
        f"{budget.title} ({budget.unit})",
        sign(budget.limit),
        f"**{sign(own[0])}**" if own[0] <= budget.limit else sign(own[0]),
        None if best is None else sign(best),
        _titles(result).get(which),
    ]


def _render_records(result: Mapping[str, Any], page: Page) -> None:
    rows = [
        (variant["title"], variant["records"])
        for variant in result["variants"].values()
        if variant["records"]
    ]
    if rows:
        page.heading("What is not recorded", level=3)
        page.table(["variant", "leaves out"], rows)
