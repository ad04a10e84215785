"""Pictures of the findings: SVG files that look right on their own, on a light and on a dark background."""

import re
import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from crossflare.analysis.findings import ALL, STATES, Activations, Drops, Heat
from crossflare.errors import UserError
from crossflare.report.figures import ACCENT, LINE, SOFT, IntervalRow, axes_of, intervals

FAINTEST = 0.005
"""Weights below this are not drawn."""
CELL = 0.21
"""Inches for a token in a heat map."""


def check_extra() -> None:
    """Refuse early if nothing can be drawn.

    Raises:
        UserError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UserError('pictures need matplotlib, which is not installed; pip install "crossflare[report]", or --json')


def draw_activations(found: Mapping[str, Activations]) -> str:
    """Return bars of the r coordinates: a row for each state, a column for each language; one scale for all."""
    with axes_of("activations", 1.0) as (axes, save):
        figure: Any = axes.figure
        figure.clear()
        figure.set_size_inches(max(4.6, 2.3 * len(found)), 4.4)
        grid = figure.subplots(len(STATES), len(found), sharex=True, sharey=True, squeeze=False)
        for column, (language, each) in enumerate(found.items()):
            for panel, state in zip(grid[:, column], STATES, strict=True):
                means = each.means[state]
                panel.bar(range(len(means)), means, width=0.7, color=ACCENT if state == "fused" else SOFT, alpha=0.85)
                panel.axhline(0, color=SOFT, linewidth=0.8)
                panel.grid(axis="y", color=LINE, linewidth=0.8)
                panel.margins(y=0.12)
                panel.tick_params(axis="y", labelcolor=SOFT)
                panel.set_xticks(range(len(means)), [str(n + 1) for n in range(len(means))], fontsize=8)
                panel.locator_params(axis="y", nbins=4)
                if not column:
                    panel.set_ylabel(state)
            grid[0, column].set_title(language, fontsize=10.5, fontweight="bold")
            grid[-1, column].set_xlabel("coordinate")
        return standalone(save())


def draw_heat(heat: Heat) -> str:
    """Return the pairing as a map: a row for each target token, a column for each source token."""
    size = (1.6 + CELL * len(heat.source), 1.3 + CELL * len(heat.target))
    with axes_of("alignment", 1.0) as (axes, save), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font for measuring lacks some scripts; the reader's font has them
        axes.figure.set_size_inches(*size)
        axes.set_aspect("equal")
        axes.set_xlim(-0.5, len(heat.source) - 0.5)
        axes.set_ylim(len(heat.target) - 0.5, -0.5)
        drawn, most = heat.weights > FAINTEST, float(heat.weights.max(initial=0))
        for row, column in zip(*drawn.nonzero(), strict=True):
            shade = float(heat.weights[row, column]) / most
            axes.bar(column, 0.9, 0.9, row - 0.45, color=ACCENT, alpha=max(0.06, shade))
        axes.set_xticks(range(len(heat.source)), heat.source, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(range(len(heat.target)), heat.target, fontsize=8, parse_math=False)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.grid(drawn.mean() < 0.5, color=LINE, linewidth=0.5)  # it guides the eye if most is empty
        axes.tick_params(length=0, labelcolor=SOFT)
        axes.set_xlabel("source" if most > 1 - FAINTEST else f"source (darkest: {most:.2f})")
        axes.set_ylabel("target")
        return standalone(save())


def draw_drops(found: Drops, key: str = "blocks") -> str:
    """Return a bar for each block: the points that are lost without its fusion, and their interval."""
    rows = [
        IntervalRow(part.place, 100 * d.score, 100 * d.low, 100 * d.high, strong=part.place == ALL)
        for part in found.parts
        for d in [part.drop]
    ]
    low, high = min(0.0, *(row.low for row in rows)), max(0.0, *(row.high for row in rows))
    room = 0.05 * (high - low) or 1.0
    label = f"points of {found.metric.replace('_', ' ')} lost without its fusion"
    return standalone(intervals(key, rows, label, (low - room, high + room), reference=0.0))


def standalone(svg: str) -> str:
    """Return a drawing of the report as a file of its own, with the report's colours in it."""
    css = (files("crossflare.report") / "templates" / "report.css.j2").read_text(encoding="utf-8")
    colours = re.match(r":root \{.*?^\}\n@media[^{]*dark\) \{.*?^\}\n", css, re.DOTALL | re.MULTILINE)
    assert colours is not None, "the report's style begins with its colours, light and dark"
    width = float(re.findall(r'viewBox="\S+ \S+ (\S+) ', svg)[0])
    style = f"<style>{colours[0]}svg {{ background: var(--card); max-width: 100%; }}</style>"
    head, rest = svg.split(">", 1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head} width="{1.6 * width:.0f}">{style}{rest}\n'


def numbers(values: Sequence[float]) -> list[float]:
    """Return values, rounded as files have them."""
    return [round(float(value), 6) for value in values]
