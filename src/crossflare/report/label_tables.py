"""The tables of single labels."""

from crossflare.evaluation.significance import Interval
from crossflare.report.labels import MOST, PerLabel
from crossflare.report.results import Results
from crossflare.report.tables import DASH, Entry, Grid, points, span


def label_grids(results: Results) -> tuple[Grid, ...]:
    """Return for each method and language that is looked at the scores of its labels, and who was taken for whom."""
    found: list[Grid] = []
    for (method, language), each in results.per_label.items():
        found.append(_scores(f"{method} in {language}: each label, in points", each))
        if len(each.names) <= MOST:
            found.append(_taken_for(f"{method} in {language}: label (rows) and prediction (columns)", each))
    return tuple(found)


def _scores(title: str, found: PerLabel) -> Grid:
    rows = tuple(
        (
            found.names[each.label],
            (_entry(each.precision), _entry(each.recall), _entry(each.f1), Entry(f"{each.support:,}")),
        )
        for each in found.scores
    )
    return Grid(title, ("label", "precision", "recall", "F1", "rows"), rows, "Mean over seeds; 95 % intervals.")


def _entry(score: Interval | None) -> Entry:
    if score is None:
        return Entry(DASH, empty=True, note="the label is not there, or was given to no row")
    return Entry(points(score.score), (span(score),))


def _taken_for(title: str, found: PerLabel) -> Grid:
    none = bool(found.taken_for[:, -1].any())
    columns = range(len(found.names) + none)
    rows = tuple(
        (
            name,
            tuple(
                Entry(
                    _count(found.taken_for[place, column]),
                    best=column == place,
                    empty=not found.taken_for[place, column],
                )
                for column in columns
            ),
        )
        for place, name in enumerate(found.names)
        if found.taken_for[place].any()
    )
    head = ("label", *found.names, *(["none"] if none else []))
    return Grid(title, head, rows, "Test rows, mean over seeds; bold: right.")


def _count(count: float) -> str:
    return f"{count:.1f}".removesuffix(".0")
