"""The report: a page of Markdown with tables, and plots in SVG."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]

PLOTS: Final = "images/performance"
COLORS: Final = ("#1f6feb", "#d1242f", "#1a7f37", "#bf8700", "#8250df", "#57606a", "#0a7ea4")
# A fixed salt and no date: the same figures give the same bytes.
STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "audit_schema",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#d0d7de",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


class Page:
    """A page under construction: *folder*/performance.md and its plots beside it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "performance.md"
        self._images = folder / PLOTS
        self._blocks: list[str] = []

    def heading(self, text: str, level: int = 2) -> None:
        """Begin a section."""
        self._blocks.append(f"{'#' * level} {text}")

    def add(self, text: str) -> None:
        """Add a paragraph, or several; line breaks and indentation of a docstring are undone."""
        paragraphs = re.split(r"\n\s*\n", text.strip())
        self._blocks += [" ".join(paragraph.split()) for paragraph in paragraphs]

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; the first column is text, the others are figures. None leaves a cell empty.

        A number is shown by number(); pass text for any other form.
        """
        lines = [_line(columns), "|---|" + "---:|" * (len(columns) - 1)]
        lines += [_line([_cell(value) for value in row]) for row in rows]
        self._blocks.append("\n".join(lines))

    def code(self, text: str, title: str) -> None:
        """Add *text* as it is, folded away under *title*."""
        summary = f"<details><summary>{html.escape(title)}</summary>"
        self._blocks.append(f"{summary}\n\n```\n{text.strip()}\n```\n\n</details>")

    def plot(
        self,
        name: str,
        series: Mapping[str, Points],
        *,
        title: str,
        x: str,
        y: str,
        log_x: bool = False,
        log_y: bool = False,
    ) -> None:
        """Add lines over *x*: one for each label of *series*, through its points (x, y)."""
        with self.figure(name, title) as axes:
            for number, (label, points) in enumerate(series.items()):
                color = COLORS[number % len(COLORS)]
                axes.plot(*zip(*points, strict=True), marker="o", ms=4, color=color, label=label)
            axes.set(xlabel=x, ylabel=y)
            axes.yaxis.set_major_formatter(_tick)
            if log_x:
                axes.set_xscale("log")
                ticks = sorted({point[0] for points in series.values() for point in points})
                axes.set_xticks(ticks, [number_text(tick) for tick in ticks])
                axes.minorticks_off()
            axes.set_yscale("log") if log_y else axes.set_ylim(bottom=0)
            _add_legend(axes, series)

    def bars(
        self,
        name: str,
        series: Mapping[str, Mapping[str, float]],
        *,
        title: str,
        x: str,
        stacked: bool = False,
    ) -> None:
        """Add horizontal bars: series by label, each a value by group; groups go down the page."""
        groups = list(dict.fromkeys(group for values in series.values() for group in values))
        height = 0.8 if stacked else 0.8 / len(series)
        with self.figure(name, title, rows=len(groups) * (1 if stacked else len(series))) as axes:
            left = dict.fromkeys(groups, 0.0)
            for number, (label, values) in enumerate(series.items()):
                shift = 0.0 if stacked else (number - (len(series) - 1) / 2) * height
                found = [group for group in groups if group in values]
                axes.barh(
                    [groups.index(group) + shift for group in found],
                    [values[group] for group in found],
                    height * 0.92,
                    left=[left[group] for group in found],
                    color=COLORS[number % len(COLORS)],
                    label=label,
                )
                if stacked:
                    left |= {group: left[group] + values[group] for group in found}
            axes.set_yticks(range(len(groups)), groups)
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            axes.set_xlabel(x)
            axes.xaxis.set_major_formatter(_tick)
            _add_legend(axes, series)

    @contextmanager
    def figure(self, name: str, title: str, rows: int = 0) -> Iterator[Axes]:
        """Yield the axes of a plot of any kind, which is then added; *rows* make it higher."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=(8, max(4.0, 1.2 + 0.24 * rows)), layout="constrained")
            FigureCanvasSVG(figure)
            axes = figure.add_subplot()
            axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
            yield axes
            self._images.mkdir(parents=True, exist_ok=True)
            figure.savefig(self._images / f"{name}.svg", format="svg", metadata={"Date": None})
        self._blocks.append(f"![{title}]({PLOTS}/{name}.svg)")

    def write(self) -> None:
        """Write the page."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("\n\n".join(self._blocks) + "\n", encoding="utf-8")


def number_text(value: float) -> str:
    """Return *value* with thousands separated and about three digits."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def signed(value: float) -> str:
    """Return *value* as number_text() does, with its sign."""
    return f"{'+' if value >= 0 else '-'}{number_text(abs(value))}"


def _add_legend(axes: Axes, labels: Collection[str]) -> None:
    """Name the series below the plot, where they hide nothing."""
    figure = axes.get_figure(root=True)
    if figure is not None and len(labels) > 1:
        handles, names = axes.get_legend_handles_labels()
        columns = max(1, 90 // (8 + max(len(name) for name in names)))
        figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)))


def _tick(value: float, _: float) -> str:
    return number_text(value)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return number_text(value) if isinstance(value, int | float) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
