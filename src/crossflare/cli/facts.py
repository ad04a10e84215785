"""The verb that looks things up: languages."""

from typing import Annotated, Any

import typer

from crossflare.cli.terminal import examples, out, print_json, say, table
from crossflare.errors import UserError

PANEL = "Checks"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare languages", "all languages with a translation engine"),
            ("crossflare languages swahili", "by name, tag or engine code"),
            ("crossflare languages qu --json", "for scripts"),
        ),
    )(languages)


def languages(
    query: Annotated[
        str | None, typer.Argument(metavar="[QUERY]", help="A name, tag or code, or a part of one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List languages: their tag, script, and what the translation engines call them."""
    rows = _matching(query)
    if as_json:
        print_json(rows)
        return
    shown = table("tag", "name", "script", "NLLB", "M2M-100", "Apertium")
    for row in rows:
        codes = [str(row[engine]) if row[engine] else "[dim]-[/]" for engine in ("script", "nllb", "m2m", "apertium")]
        shown.add_row(f"[cyan]{row['tag']}[/]", str(row["name"]), *codes)
    out().print(shown)
    say(f"{len(rows)} language{'s' if len(rows) != 1 else ''}")


def _matching(query: str | None) -> list[dict[str, Any]]:
    """Return the languages with `query` in a name or code; else the one that `find` makes of it, or its suggestions."""
    from dataclasses import asdict

    from crossflare.languages import all_languages, find

    rows = [asdict(language) for language in all_languages()]
    if query is None:
        return rows
    wanted = query.strip().casefold()
    exact = [row for row in rows if wanted in {str(value).casefold() for value in row.values()}]
    if exact:
        return exact
    try:
        return [asdict(find(query))]
    except UserError:
        within = [row for row in rows if len(wanted) > 2 and wanted in f"{row['name']} {row['nllb']}".casefold()]
        if not within:
            raise
        return within
