"""The table of calibration errors, and the pictures of accuracy against coverage."""

from crossflare.evaluation.calibration import COLDEST, HOTTEST
from crossflare.report import figures
from crossflare.report.calibration import SHARES
from crossflare.report.curves import TOGETHER
from crossflare.report.methods import grouped
from crossflare.report.results import Results
from crossflare.report.tables import DASH, Entry, Grid, points, span

TITLE = "Calibration"


def calibration_grids(results: Results) -> tuple[Grid, ...]:
    """Return methods by languages of the calibration errors, before and after; none where nothing was calibrated."""
    methods = [method for method in grouped(results.folder) if method in {name for name, _ in results.calibrated}]
    rows = tuple(
        (method, tuple(_entry(results, method, language) for language in results.folder.languages))
        for method in methods
    )
    legend = (
        "Expected calibration error of the test rows with the temperature, over 15 bins of as many rows, mean over "
        "seeds, with the 95 % interval; then that of the probabilities as the models say them, and the temperatures, "
        "each fitted on dev rows by log-loss (of another language where it is named). Small samples have some error by "
        f"chance alone. T {COLDEST:.2f} and T {HOTTEST:.2f} are bounds: the dev rows ask for more, as those of a model "
        "that has learnt little do."
    )
    legend += _raw(results)
    title = "expected calibration error, in points"
    return (Grid(title, ("method", *results.folder.languages), rows, legend),) if rows else ()


def _raw(results: Results) -> str:
    """Return a sentence that names what has no temperature, each method with its languages; nothing where all have."""
    found: dict[str, list[str]] = {}
    for method in grouped(results.folder):
        for language in results.folder.languages:
            if results.folder.of(method, language) and (method, language) not in results.calibrated:
                found.setdefault(method, []).append(language)
    named = ", ".join(f"{method} ({' '.join(languages)})" for method, languages in found.items())
    return f" As the models say them, for want of a temperature of dev rows in the language: {named}." if named else ""


def _entry(results: Results, method: str, language: str) -> Entry:
    found = results.calibrated.get((method, language))
    if found is None:
        return Entry(DASH, empty=True)
    raw = f"raw {points(found.raw.score)} ({span(found.raw)})"
    low, high = min(found.temperatures), max(found.temperatures)
    heat = f"T {low:.2f}" + (f"{DASH}{high:.2f}" if f"{low:.2f}" != f"{high:.2f}" else "")
    other = f" ({found.fitted_on})" if found.fitted_on != language else ""
    return Entry(points(found.calibrated.score), (span(found.calibrated), raw, heat + other))


def coverage_legend(results: Results) -> list[tuple[str, figures.Pen]]:
    """Return the methods in the pictures with their pens: subject, reference, and as many as can be told apart."""
    there = [method for method in grouped(results.folder) if method in {name for name, _ in results.calibrated}]
    first = [method for method in there if method in (results.subject, results.reference)]
    shown = [*first, *(method for method in there if method not in first)][:TOGETHER]
    return list(figures.pens([method for method in there if method in shown], results.subject).items())


def coverage_figures(results: Results) -> list[figures.Figure]:
    """Return a picture for each language: the accuracy of the surest rows against the share of rows answered."""
    drawn: list[figures.Figure] = []
    pens = coverage_legend(results)
    shares = tuple(100 * share for share in SHARES)
    for index, language in enumerate(results.folder.languages):
        lines = [
            figures.Line(shares, tuple(100 * each for each in found.accuracies), pen)
            for method, pen in pens
            if (found := results.calibrated.get((method, language)))
        ]
        if lines:
            svg = figures.curves(f"coverage{index}", lines, "rows answered, surest first, %", "accuracy, points")
            drawn.append(figures.Figure(language, svg))
    return drawn
