"""The pictures of the page of evidence: scores with intervals and seeds, and differences with intervals."""

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "crossflare", "svg.fonttype": "none", "font.family": "sans-serif"})
INK, ACCENT, SOFT = "#1f2430", "#b4441c", "#8a8f9c"
REACH = 14
"""Points to either side in the pictures with several lines."""


def picture(scores: dict[str, Any], gaps: dict[str, Any], subject: str, label: str, path: Path) -> None:
    """Draw every method's score with its interval and its seeds, and beside it FLARE less the method.

    Args:
        scores: Method -> its score, in the order of the lines.
        gaps: Method -> FLARE less it.
        subject: The method that stands out.
        label: What the scores are.
        path: The file.
    """
    names = list(scores)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 0.34 * len(names) + 1), sharey=True, gridspec_kw={"wspace": 0.06}
    )
    for place, name in enumerate(reversed(names)):
        score, colour = scores[name], ACCENT if name == subject else INK
        left.plot([100 * score["low"], 100 * score["high"]], [place, place], color=colour, lw=2, solid_capstyle="butt")
        left.plot(100 * score["score"], place, "o", color=colour, ms=6)
        left.plot([100 * v for v in score["by_seed"].values()], [place + 0.24] * len(score["by_seed"]), "|", color=SOFT)
        if name in gaps:
            _whisker(right, gaps[name], place)
    left.set_yticks(range(len(names)), list(reversed(names)))
    right.axvline(0, color=SOFT, lw=1)
    left.set_xlabel(f"{label} (ticks: seeds)")
    right.set_xlabel("FLARE less the method, points")
    _finish(figure, (left, right), path)


def panels(rows: dict[str, dict[str, Any]], titles: dict[str, str], path: Path) -> None:
    """Draw FLARE less each of a few methods, a panel for each and a line for each task or language.

    Args:
        rows: A line's name -> method -> FLARE less it.
        titles: A panel's title -> its method.
        path: The file.
    """
    size = (2.3 * len(titles), 0.34 * len(rows) + 1)
    figure, axes = plt.subplots(1, len(titles), figsize=size, sharey=True, sharex=True, gridspec_kw={"wspace": 0.08})
    for axis, (title, method) in zip(axes, titles.items(), strict=True):
        for place, gaps in enumerate(reversed(rows.values())):
            if method in gaps:
                _whisker(axis, gaps[method], place)
        axis.axvline(0, color=SOFT, lw=1)
        axis.set_title(title, fontsize=9)
        axis.set_xlim(-REACH, REACH)  # a wider interval runs off the picture
    axes[0].set_yticks(range(len(rows)), list(reversed(rows)))
    figure.supxlabel("FLARE less the method, points", fontsize=10, y=0, va="top")
    _finish(figure, tuple(axes), path)


def clear(gap: Any) -> bool:
    """Whether a difference's interval excludes 0."""
    return gap["low"] > 0 or gap["high"] < 0


def _whisker(axis: Any, gap: Any, place: float) -> None:
    colour = INK if clear(gap) else SOFT
    axis.plot([100 * gap["low"], 100 * gap["high"]], [place, place], color=colour, lw=2)
    axis.plot(100 * gap["score"], place, "o", color=colour, ms=6)


def _finish(figure: Any, axes: tuple[Any, ...], path: Path) -> None:
    for axis in axes:
        axis.grid(axis="x", color="#dddddd", lw=0.6)
        axis.tick_params(length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None}, facecolor="white")
    plt.close(figure)
