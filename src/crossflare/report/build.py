"""The report of a run folder, written beside its runs."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crossflare.disk.files import json_text, write_if_new
from crossflare.disk.storage import StorageError, sweep
from crossflare.disk.versions import FORMATS
from crossflare.report.calibration import calibration_rows
from crossflare.report.data import TITLE, data_grids
from crossflare.report.figures import MissingExtraError
from crossflare.report.labels import label_rows
from crossflare.report.methods import descriptions
from crossflare.report.page import render_page
from crossflare.report.resample import PairedTests
from crossflare.report.results import Contrast, MethodScore, Results, collect
from crossflare.report.sections import environment, sections
from crossflare.report.summary import summary
from crossflare.report.tables import Grid, contrasts, scores
from crossflare.report.text import report_tables, to_csv, to_markdown


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says, and where its parts lie."""

    results: Results
    json: Path
    csv: Path
    markdown: Path
    html: Path | None
    """None: the extra `report` is not installed."""
    note: str = ""
    """Why there is no page."""
    latex: Path | None = None


def build_report(run_dir: Path) -> Report:
    """Write results.json, results.csv, report.md, .tex and .html into a run folder, from nothing but its files.

    The same files give the same bytes. Without the extra `report` all but the page is written, and `note` says so.

    Raises:
        UserError: The folder holds no finished run, or a file of it is damaged.
    """
    results = collect(run_dir)
    html = run_dir / "report.html"
    latex = run_dir / "report.tex"
    made = Report(results, run_dir / "results.json", run_dir / "results.csv", run_dir / "report.md", html, latex=latex)
    sweep(run_dir)
    try:
        write_if_new(made.json, json_text(to_json(results)))
        write_if_new(made.csv, to_csv(results))
        write_if_new(made.markdown, to_text(results))
        write_if_new(latex, report_tables(results))
        write_if_new(html, render_page(results))
    except StorageError as error:
        if not error.read_only or not made.markdown.is_file():
            raise
        kept = f"{run_dir} may only be read: the report in it is the one that was written before"
        return replace(made, html=html if html.is_file() else None, note=kept)
    except MissingExtraError as error:
        # an older page would tell of other numbers than the files beside it
        html.unlink(missing_ok=True)
        return replace(made, html=None, note=str(error))
    return made


def to_json(results: Results) -> dict[str, Any]:
    """Return every number with its interval and its signature, scores between 0 and 1."""
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
        "warnings": list(summary(results).warnings),
        "differences": [_contrast(each, results) for each in results.contrasts.values()],
        "labels": list(label_rows(results.per_label)),
        "calibration": list(calibration_rows(results.calibrated)),
        "missing": [dict(zip(("method", "language", "seed"), key, strict=True)) for key in results.folder.missing],
    }


def to_text(results: Results) -> str:
    """Return the report as Markdown."""
    head = summary(results)
    parts = [f"# {head.title}", "\n".join(f"- {name}: {value}" for name, value in head.facts)]
    if head.finding:
        parts.append(f"**{head.finding}** {head.detail}".strip())
    parts += [f"> **Note.** {warning}" for warning in head.warnings]
    if head.missing:
        parts.append("Runs are missing; their cells are marked.\n\n" + "\n".join(f"- {line}" for line in head.missing))
    grids, warnings = data_grids(results.folder)
    if grids:
        parts += [f"## {TITLE}", *(_titled(grid, "###") for grid in grids)]
        parts += ["\n".join(f"- {line}" for line in warnings)] if warnings else []
    if about := descriptions(results.folder):
        parts.append("## Methods\n\n" + "\n".join(f"- **{name}**: {text}" for name, text in about))
    for metric in results.metrics:
        grids = [scores(results, metric), *([contrasts(results, metric)] if results.subject else [])]
        parts += [_titled(grid) for grid in grids if grid.rows]
    for section in sections(results):
        tables = [_titled(grid, "###") for grid in section.grids]
        if section.folded:
            tables = ["<details><summary>Tables</summary>", *tables, "</details>"]
        parts += [f"## {section.title}", *tables]
    parts.append("## How to get these numbers again")
    if results.folder.recipe:
        parts.append(f"```yaml\n{results.folder.recipe.rstrip()}\n```")
    for title, texts in environment(results).items():
        parts += [f"### {title.capitalize()}", *(f"```text\n{text}\n```" for text in texts)]
    lines = [f"- `{cell.signature}`" for cell in results.cells.values() if cell.signature]
    return "\n\n".join([*parts, "### Signatures", "\n".join(lines)]) + "\n"


def _titled(grid: Grid, mark: str = "##") -> str:
    return f"{mark} {grid.title}\n\n{to_markdown(grid)}".rstrip()


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
    """Return the p-values beside the bootstrap's own `p`."""
    return {"p_permutation": tested.p if tested else None, "p_mcnemar": tested.mcnemar if tested else None}
