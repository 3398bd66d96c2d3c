"""Plans of statements as EXPLAIN shows them, also inside of functions, short enough to read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

SETTINGS: Final = {
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_level": "notice",
    "client_min_messages": "notice",
}
PARTITION: Final = r"\w+_(p\d{8}|default)\w*"


@dataclass
class _Node:
    """One node of a plan, with what is said of it and the nodes below."""

    heading: str
    details: list[str] = field(default_factory=list)
    below: list[_Node] = field(default_factory=list)

    @property
    def executed(self) -> bool:
        return "never executed" not in self.heading

    @property
    def rows(self) -> float:
        found = re.search(r"actual rows=([\d.]+)", self.heading)
        return float(found[1]) if found else 0.0

    @property
    def form(self) -> tuple[Any, ...]:
        """What the node does, whichever partition it reads."""
        heading = re.sub(rf"{PARTITION}( \w+)?", "", self.heading)
        heading = re.sub(r"\(actual.*\)", "", heading)
        return (heading, *(node.form for node in self.below))


def explain(connection: psycopg.Connection[Any], work: Callable[[], object]) -> str:
    """Do *work* on a superuser's connection, return the longest plan of its statements.

    That is EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) without estimates. Of partitions that are read
    in the same way only the one with most rows is shown.
    """
    plans: list[str] = []
    connection.execute("LOAD 'auto_explain'")
    for name, value in SETTINGS.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
    work()
    return shorten(max(plans, key=len))


def shorten(plan: str) -> str:
    """Return the text of a plan without estimates, and without partitions that are read alike."""
    return "\n".join(_lines(_parse(plan), ""))


def _parse(plan: str) -> _Node:
    """Read the text of auto_explain, which begins with the statement."""
    lines = plan.splitlines()
    first = next(at for at, line in enumerate(lines) if "(cost=" in line)
    root = _Node(_heading(lines[first]))
    open_nodes = [(0, root)]
    for line in lines[first + 1 :]:
        depth = len(line) - len(line.lstrip())
        if not line.lstrip().startswith("->"):
            open_nodes[-1][1].details.append(line.strip())
            continue
        while open_nodes[-1][0] >= depth:
            open_nodes.pop()
        node = _Node(_heading(line))
        open_nodes[-1][1].below.append(node)
        open_nodes.append((depth, node))
    return root


def _heading(line: str) -> str:
    text = line.strip().removeprefix("->").strip()
    return re.sub(r" +\(cost=[^)]*\)", "", text).replace(" (actual", "  (actual")


def _lines(node: _Node, margin: str) -> list[str]:
    lines = [f"{margin}{node.heading}"] + [f"{margin}  {detail}" for detail in node.details]
    executed = [one for one in node.below if one.executed]
    for group in _alike(executed):
        shown = max(group, key=lambda one: one.rows)
        [first, *more] = _lines(shown, f"{margin}      ")
        lines += [f"{margin}  ->  {first.strip()}", *more]
        if len(group) > 1:
            lines.append(f"{margin}      ({len(group) - 1} more partitions in the same way)")
    if skipped := len(node.below) - len(executed):
        lines.append(f"{margin}      ({skipped} more that were never executed)")
    return lines


def _alike(nodes: Sequence[_Node]) -> list[list[_Node]]:
    """Nodes that differ in nothing but their partition, together."""
    groups: dict[tuple[Any, ...], list[_Node]] = {}
    for node in nodes:
        groups.setdefault(node.form, []).append(node)
    return list(groups.values())
