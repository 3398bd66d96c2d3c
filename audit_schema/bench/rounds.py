"""Rounds taken in turn over all variants, and what their medians say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from audit_schema.bench.variant import Variant

Figures = Mapping[str, float]
"""Measured values by name, such as cpu_us."""
Round = Mapping[str, Figures]
"""The figures of each action that a variant did in one round."""
Rounds = Mapping[str, Sequence[Round]]
"""All counted rounds of each variant, by its name."""


def take_rounds(
    variants: Sequence[Variant],
    rounds: int,
    run: Callable[[Variant, int], Round],
    console: Console,
    title: str = "",
) -> Rounds:
    """Let each variant *run* once a round, the first of them after the others in the next round.

    Round 0 warms up and is not kept; *rounds* are counted after it.
    """
    kept: dict[str, list[Round]] = {variant.name: [] for variant in variants}
    with _progress(console) as progress:
        task = progress.add_task("", total=(rounds + 1) * len(variants))
        for number in range(rounds + 1):
            for variant in rotated(variants, number):
                text = f"{title} round {number} of {rounds}: {variant.title}".strip()
                progress.update(task, description=text)
                figures = run(variant, number)
                progress.advance(task)
                if number:
                    kept[variant.name].append(figures)
    return kept


def rotated(variants: Sequence[Variant], number: int) -> list[Variant]:
    """Return *variants* in the order of round *number*."""
    first = number % len(variants)
    return [*variants[first:], *variants[:first]]


def summarise(rounds: Rounds, against: str | None = None) -> dict[str, dict[str, Any]]:
    """Return for each variant, action and figure the median with its spread.

    `against` is the variant to compare with: `added` is the median of the differences within the
    rounds, `ratio` that of the quotients.
    """
    base = rounds.get(against, []) if against else []
    return {name: _summarise_variant(taken, base) for name, taken in rounds.items()}


def _summarise_variant(taken: Sequence[Round], base: Sequence[Round]) -> dict[str, Any]:
    return {
        action: {
            figure: _summarise_figure(
                [one[action][figure] for one in taken],
                [one[action][figure] for one in base if figure in one.get(action, {})],
            )
            for figure in figures
        }
        for action, figures in taken[0].items()
    }


def _summarise_figure(values: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    summary = {"median": median(values), "min": min(values), "max": max(values)}
    if base:
        pairs = list(zip(values, base, strict=True))
        summary["added"] = median(value - bare for value, bare in pairs)
        if all(base):
            summary["ratio"] = median(value / bare for value, bare in pairs)
    return {name: round(value, 4) for name, value in summary.items()}


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
