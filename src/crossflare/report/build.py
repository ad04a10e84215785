"""The report of a run folder, written next to its runs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from crossflare.disk.files import json_text, write_if_new
from crossflare.disk.storage import StorageError, sweep
from crossflare.disk.versions import FORMATS
from crossflare.evaluation.folder import RunFiles
from crossflare.report.contents import Contents, contents_of
from crossflare.report.details import SHARES, Calibrated, PerLabel, Place
from crossflare.report.figures import MissingExtraError
from crossflare.report.grid import to_csv, to_latex_float, to_terminal
from crossflare.report.page import render_page, to_text
from crossflare.report.resample import PairedTests
from crossflare.report.results import Contrast, MethodScore, Results, collect


@dataclass(frozen=True, slots=True)
class Report:
    """The values of a report, and the places of its parts."""

    contents: Contents
    json: Path
    csv: Path
    markdown: Path
    html: Path | None
    """None: the extra `report` is not installed."""
    note: str = ""
    """Why there is no page."""
    latex: Path | None = None

    @property
    def results(self) -> Results:
        """The values."""
        return self.contents.results


def build_report(run_dir: Path) -> Report:
    """Write results.json, results.csv, report.md, .tex and .html into a run folder, from its files alone.

    The same files give the same bytes. Without the extra `report` all but the page is written, and `note` says so.

    Raises:
        UserError: The folder holds no finished run, or a file of it is damaged.
    """
    contents = contents_of(collect(run_dir))
    html = run_dir / "report.html"
    latex = run_dir / "report.tex"
    made = Report(
        contents, RunFiles(run_dir).results, run_dir / "results.csv", run_dir / "report.md", html, latex=latex
    )
    sweep(run_dir)
    try:
        write_if_new(made.json, json_text(to_json(contents)))
        write_if_new(made.csv, to_csv(contents.every_score))
        write_if_new(made.markdown, to_text(contents))
        write_if_new(latex, to_tex(contents))
        write_if_new(html, render_page(contents))
    except StorageError as error:
        if not error.read_only or not made.markdown.is_file():
            raise
        kept = f"{run_dir} may only be read: the report in it is the one that was written before"
        return replace(made, html=html if html.is_file() else None, note=kept)
    except MissingExtraError as error:
        # an older page would have other numbers than the files next to it
        html.unlink(missing_ok=True)
        return replace(made, html=None, note=str(error))
    return made


def console_table(contents: Contents) -> Group:
    """Return the table of the main metric for the terminal, the warnings, and its legend."""
    warnings = [Text(f"! {warning}", style="yellow") for warning in contents.head.warnings]
    title = Text(f"{contents.results.folder.name}: {contents.main.title}", style="italic")
    table = to_terminal(contents.main, contents.results.subject)
    return Group(title, table, *warnings, Text(contents.main.legend, style="dim"))


def to_tex(contents: Contents) -> str:
    """Return the main tables and the differences as LaTeX floats, with intervals, for use in a paper."""
    name = contents.results.folder.name
    floats: list[str] = []
    for metric, grid in contents.scores.items():
        floats.append(to_latex_float(grid, f"tab:{name}-{metric}"))
        if metric in contents.contrasts:
            floats.append(to_latex_float(contents.contrasts[metric], f"tab:{name}-{metric}-differences"))
    return "% Needs \\usepackage{booktabs}; wide tables may want \\resizebox or a landscape page.\n" + "\n".join(floats)


def to_json(contents: Contents) -> dict[str, Any]:
    """Return every number with its interval and its signature, scores between 0 and 1."""
    results = contents.results
    return {
        "format": FORMATS["results"],
        "name": results.folder.name,
        "metrics": list(results.metrics),
        "subject": results.subject,
        "reference": results.reference,
        "scores": [_cell(cell) for cell in results.cells.values()],
        "ranks": [
            {"metric": metric, "method": method, "rank": rank.score, "low": rank.low, "high": rank.high}
            for (metric, method), rank in results.ranks.items()
        ],
        "warnings": list(contents.head.warnings),
        "differences": [_contrast(each, results) for each in results.contrasts.values()],
        "labels": list(_label_rows(results.per_label)),
        "calibration": list(_calibration_rows(results.calibrated)),
        "missing": [dict(zip(("method", "language", "seed"), key, strict=True)) for key in results.folder.missing],
    }


def _cell(cell: MethodScore) -> dict[str, Any]:
    return {
        **{name: getattr(cell, name) for name in ("metric", "method", "language")},
        **(asdict(cell.score) if cell.score else {"score": None, "gap": cell.gap}),
        "by_seed": dict(zip(map(str, cell.seeds), cell.by_seed, strict=True)),
        "missing_seeds": list(cell.missing),
        "less_reference": {**asdict(cell.against), **_tests(cell.tested), "q": cell.q} if cell.against else None,
        "signature": str(cell.signature) if cell.signature else None,
    }


def _contrast(each: Contrast, results: Results) -> dict[str, Any]:
    return {
        "metric": each.metric,
        "method": results.subject,
        "less": each.method,
        "language": each.language,
        **(asdict(each.difference) if each.difference else {"score": None, "gap": each.gap}),
        **_tests(each.tested),
        "q": each.q,
        "signatures": [
            str(cell.signature) if cell.signature else None
            for method in (results.subject, each.method)
            if method and (cell := results.cells[each.metric, method, each.language])
        ],
    }


def _tests(tested: PairedTests | None) -> dict[str, float | None]:
    """Return the p-values in addition to the bootstrap's own `p`."""
    return {"p_permutation": tested.p if tested else None, "p_mcnemar": tested.mcnemar if tested else None}


def _label_rows(found: Mapping[Place, PerLabel]) -> Iterator[dict[str, object]]:
    """Yield the scores of each label."""
    for (method, language), each in found.items():
        for score in each.scores:
            yield {
                "method": method,
                "language": language,
                "label": each.names[score.label],
                "support": score.support,
                **{name: value for name, value in asdict(score).items() if name in ("precision", "recall", "f1")},
                "given": dict(zip(each.names, each.taken_for[score.label].tolist(), strict=False)),
            }


def _calibration_rows(found: Mapping[Place, Calibrated]) -> Iterator[dict[str, object]]:
    """Yield the calibration of each method and language."""
    for (method, language), each in found.items():
        yield {
            "method": method,
            "language": language,
            "error": asdict(each.raw),
            "error_calibrated": asdict(each.calibrated),
            "temperatures": list(each.temperatures),
            "fitted_on": each.fitted_on,
            "accuracy_by_coverage": dict(zip(map(str, SHARES), each.accuracies, strict=True)),
        }
