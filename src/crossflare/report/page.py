"""The whole report as Markdown, and as one HTML page that needs nothing else: no network, no script."""

from typing import Any

from crossflare.report import figures
from crossflare.report.contents import DATA, LEAST, Contents
from crossflare.report.drawings import (
    contrast_figures,
    cost_figures,
    coverage_figures,
    coverage_legend,
    curve_blocks,
    headline,
    score_figures,
)
from crossflare.report.examples import worst_examples
from crossflare.report.grid import Grid, to_latex, to_markdown
from crossflare.report.methods import GROUPED_FROM
from crossflare.report.tables import column_name, metric_name, metric_title


def render_template(name: str, /, **values: Any) -> str:
    """Return a page made from a template.

    Raises:
        UserError: The extra `report` is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise figures.MissingExtraError("jinja2") from error
    templates = Environment(
        loader=PackageLoader("crossflare.report", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return templates.get_template(name).render(**values)


def render_page(contents: Contents) -> str:
    """Return the page.

    Raises:
        UserError: The extra `report` is not installed.
    """
    results = contents.results
    main, *others = results.metrics
    return render_template(
        "report.html.j2",
        folder=results.folder,
        many=len(results.folder.methods) >= GROUPED_FROM,
        least=next((section.grids[0] for section in contents.sections if section.title == LEAST), None),
        subject=results.subject,
        reference=results.reference,
        environment=contents.environment,
        summary=contents.head,
        data=contents.data,
        metric=metric_title(main),
        methods=contents.methods,
        main=contents.main,
        main_figures=score_figures(results, main),
        contrasts=contents.contrasts.get(main),
        headline=headline(results, main),
        contrast_figures=contrast_figures(results, main),
        others=[(metric_title(each), contents.scores[each], contents.contrasts.get(each)) for each in others],
        curves=curve_blocks(results),
        sections=[section for section in contents.sections if section.title != LEAST],
        cost_figures=cost_figures(results),
        coverage_legend=coverage_legend(results),
        coverage_figures=coverage_figures(results),
        examples=worst_examples(results),
        latex=to_latex(contents.main),
        signatures=[
            (metric_name(cell.metric), cell.method, column_name(cell.language), str(cell.signature))
            for cell in results.cells.values()
            if cell.signature
        ],
    )


def to_text(contents: Contents) -> str:
    """Return the report as Markdown."""
    head, results = contents.head, contents.results
    parts = [f"# {head.title}", "\n".join(f"- {name}: {value}" for name, value in head.facts)]
    if head.finding:
        parts.append(f"**{head.finding}** {head.detail}".strip())
    parts += [f"> **Note.** {warning}" for warning in head.warnings]
    if head.missing:
        parts.append("Runs are missing; their cells are marked.\n\n" + "\n".join(f"- {line}" for line in head.missing))
    grids, warnings = contents.data
    if grids:
        parts += [f"## {DATA}", *(_titled(grid, "###") for grid in grids)]
        parts += ["\n".join(f"- {line}" for line in warnings)] if warnings else []
    if contents.methods:
        parts.append("## Methods\n\n" + "\n".join(f"- **{name}**: {text}" for name, text in contents.methods))
    for metric in results.metrics:
        grids = [contents.scores[metric], *([contents.contrasts[metric]] if metric in contents.contrasts else [])]
        parts += [_titled(grid) for grid in grids]
    for section in contents.sections:
        tables = [_titled(grid, "###") for grid in section.grids]
        if section.folded:
            tables = ["<details><summary>Tables</summary>", *tables, "</details>"]
        parts += [f"## {section.title}", *tables]
    parts.append("## How to get these numbers again")
    if results.folder.recipe:
        parts.append(f"```yaml\n{results.folder.recipe.rstrip()}\n```")
    for title, texts in contents.environment.items():
        parts += [f"### {title.capitalize()}", *(f"```text\n{text}\n```" for text in texts)]
    lines = [f"- `{cell.signature}`" for cell in results.cells.values() if cell.signature]
    return "\n\n".join([*parts, "### Signatures", "\n".join(lines)]) + "\n"


def _titled(grid: Grid, mark: str = "##") -> str:
    return f"{mark} {grid.title}\n\n{to_markdown(grid)}".rstrip()
