"""Figures as inline SVG that takes its colours and its type from the page, so that it suits light, dark and paper.

matplotlib draws with placeholder colours; `_inline` turns those into the page's CSS variables.
"""

import io
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from crossflare.errors import UserError

SERIES = 7
"""How many colours the palette has in addition to the accent."""
DASHES = ("6 2.5", "1.5 2", "7 2 1.5 2", "")
INK, SOFT, LINE, ACCENT, PAPER = "#010101", "#010102", "#010103", "#010104", "#010105"
_VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", ACCENT: "--accent", PAPER: "--card"} | {
    f"#02020{index}": f"--series-{index}" for index in range(SERIES)
}
_WIDTH = 4.6
"""Inches: a figure is one column of the page, or the width of a telephone."""


class MissingExtraError(UserError):
    """A library of the extra `report` is not installed."""

    def __init__(self, library: str) -> None:
        super().__init__(f'report.html needs {library}, which is not installed; pip install "crossflare[report]"')


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawing with the words above it."""

    title: str
    svg: str


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One line of an interval figure; values in points."""

    name: str
    value: float | None
    low: float = 0.0
    high: float = 0.0
    dots: tuple[float, ...] = ()
    """One value per seed."""
    strong: bool = False
    gap: str = "missing"
    """The text in place of a missing value."""


@dataclass(frozen=True, slots=True)
class Pen:
    """The style of one method's curves: no two neighbours differ in colour alone."""

    color: str
    dash: str
    """The dashes, as SVG writes them."""

    @property
    def variable(self) -> str:
        """The page's variable that holds the colour."""
        return _VARIABLES[self.color]


def pens(names: Sequence[str], subject: str | None) -> dict[str, Pen]:
    """Return a pen for each name; the subject has the accent."""
    others = [name for name in names if name != subject]
    found = {name: Pen(f"#02020{i % SERIES}", DASHES[i % len(DASHES)]) for i, name in enumerate(others)}
    return {name: found.get(name, Pen(ACCENT, "")) for name in names}


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    pen: Pen
    faint: bool = False


def intervals(
    key: str, rows: Sequence[IntervalRow], label: str, limits: tuple[float, float], *, reference: float | None = None
) -> str:
    """Return an SVG of values as bars from zero with their intervals, one row each, the first on top.

    Args:
        key: Unique among the figures of a page.
        rows: The rows to draw; a row without a value shows why.
        label: The label of the axis, with its unit.
        limits: The ends of the axis; figures that are compared share them.
        reference: The value where a dashed line is drawn.
    """
    with axes_of(key, 0.62 + 0.33 * len(rows)) as (axes, save):
        axes.set_xlim(*limits)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        if reference is not None:
            axes.axvline(reference, color=SOFT, linewidth=1.1, dashes=(4, 3), zorder=1.5)
        for place, row in enumerate(rows):
            if row.value is None:
                axes.text(sum(limits) / 2, place, row.gap, color=SOFT, ha="center", va="center", style="italic")
                continue
            color = ACCENT if row.strong else SOFT
            axes.barh(place, row.value, height=0.5, color=color, alpha=0.16, zorder=1)
            axes.plot(
                [row.low, row.high], [place, place], color=color, linewidth=2.6, solid_capstyle="round", alpha=0.45
            )
            if len(row.dots) > 1:
                axes.plot(row.dots, [place + 0.23] * len(row.dots), "o", color=color, markersize=2.4, alpha=0.8, mew=0)
            axes.plot([row.value], [place], "o", color=color, markersize=7.5, mec=PAPER, mew=1.2, zorder=3)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if row.strong else "normal")
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(label)
        return save()


def curves(key: str, lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """Return an SVG of training curves; the page draws the legend."""
    with axes_of(key, 2.7) as (axes, save):
        axes.grid(color=LINE, linewidth=0.8)
        for line in lines:
            dashes = (0, tuple(float(part) / 2 for part in line.pen.dash.split()))
            axes.plot(
                line.xs, line.ys, color=line.pen.color, linewidth=0.9 if line.faint else 2.0,
                alpha=0.35 if line.faint else 1.0, zorder=2 if line.faint else 3,
                linestyle=dashes if line.pen.dash else "-", marker="o" if len(line.xs) == 1 else None, markersize=5,
            )  # fmt: skip
        axes.tick_params(axis="y", labelcolor=SOFT)
        axes.locator_params(nbins=6)
        axes.margins(x=0.02, y=0.08)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return save()


def scatter(
    key: str, points: Mapping[str, tuple[float, float]], subject: str | None, x_label: str, y_label: str
) -> str:
    """Return an SVG of named points: the names in a column at the right, each with a line to its point.

    The x axis, which is positive, is logarithmic where it spans more than a factor of ten. Names next to their points
    would collide where methods cost the same, as most do.
    """
    names = sorted(points, key=lambda name: points[name][1])
    with axes_of(key, max(2.7, 0.5 + 0.2 * len(names))) as (axes, save):
        costs = [cost for cost, _ in points.values()]
        if max(costs) >= 10 * min(costs):
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(color=LINE, linewidth=0.8)
        axes.margins(x=0.08, y=0.06)
        for name in names:
            color = ACCENT if name == subject else SOFT
            axes.plot(*points[name], "o", color=color, markersize=7, mec=PAPER, mew=1.2, zorder=3)
        low, high = axes.get_ylim()
        heights = spread([(points[name][1] - low) / (high - low) for name in names], 1 / max(len(names), 12))
        edge = axes.get_yaxis_transform()  # x as a share of the axes, y in points
        for name, height in zip(names, heights, strict=True):
            x, y = points[name]
            strong = name == subject
            axes.annotate(
                name, (x, y), (1.06, low + height * (high - low)), textcoords=edge, va="center", annotation_clip=False,
                fontsize=9, fontweight="bold" if strong else "normal", color=ACCENT if strong else INK,
                arrowprops={"arrowstyle": "-", "color": ACCENT if strong else LINE, "linewidth": 0.8,
                            "shrinkA": 2, "shrinkB": 4, "relpos": (0, 0.5)},
            )  # fmt: skip
        axes.tick_params(axis="y", labelcolor=SOFT)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return save()


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights, moved as little as possible to be `gap` apart, and within 0 to 1 if they fit."""
    placed: list[float] = []
    for index, height in enumerate(heights):
        lowest = placed[-1] + gap if placed else min(gap / 2, 1.0)
        placed.append(max(height, lowest, gap * (index + 0.5)))
    top = 1 - gap / 2
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], top)
        top = placed[index] - gap
    return placed


@contextmanager
def axes_of(key: str, height: float) -> Generator[tuple[Any, Any]]:
    """Yield axes and a function that returns them as SVG."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib") from error
    style: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "crossflare", "font.family": "DejaVu Sans", "font.size": 10.5,
        "text.color": INK, "axes.labelcolor": SOFT, "axes.edgecolor": LINE, "xtick.color": SOFT,
        "ytick.color": LINE, "ytick.labelcolor": INK, "xtick.labelcolor": SOFT, "axes.spines.top": False,
        "axes.spines.right": False, "axes.spines.left": False, "ytick.left": False, "axes.axisbelow": True,
        "axes.unicode_minus": True, "path.simplify": False,
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")

        def save() -> str:
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", transparent=True)
            return _inline(buffer.getvalue(), key)

        yield figure.subplots(), save


def _inline(svg: str, key: str) -> str:
    """Return matplotlib's file as an element of a page: page colours and fonts, ids of its own, no date."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{key}-", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"([^>]*)height="[^"]*"', r"<svg \1\2", svg, count=1).strip()
