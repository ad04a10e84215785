"""The verb that looks at data before any work: inspect."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossflare.cli.terminal import OK, bars, err, examples, out, plain, print_json, say, table
from crossflare.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from crossflare.inspection.found import Look
    from crossflare.inspection.show import Sheet
RECIPES = (".yaml", ".yml")
LEAST = 4
"""A table with this many columns or fewer is not split."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        "inspect",
        rich_help_panel="Checks",
        epilog=examples(
            ("crossflare inspect recipe.yaml", "the rows that a recipe reads, before anything is trained"),
            ("crossflare inspect recipe.yaml --strict", "exit with 2 where there is something to warn of"),
            ("crossflare inspect recipe.yaml --rows rows", "write the test rows with their ids, for another system"),
            ("crossflare inspect tweets.tsv --language ha", "one file; its columns are guessed and named"),
            ("crossflare inspect news.csv --language am --model minilm", "does this base read Amharic?"),
        ),
    )(inspect)


def inspect(
    path: Annotated[Path, typer.Argument(metavar="RECIPE|FILE", help="A recipe, or rows.", show_default=False)],
    assignments: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe first; repeatable.")
    ] = [],  # noqa: B006
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Of a file: the base whose tokenizer reads it.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="TAG", help="Of a file: the language of its texts.")
    ] = None,
    text: Annotated[list[str], typer.Option("--text", metavar="COLUMN", help="Of the text; of two, twice.")] = [],  # noqa: B006
    label: Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="Of the label.")] = None,
    max_length: Annotated[int, typer.Option("--max-length", min=4, help="Of a file: tokens beyond it are cut.")] = 128,
    file_format: Annotated[str | None, typer.Option("--format", metavar="KIND", help="csv, tsv, jsonl, ...")] = None,
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", metavar="SIGN", help="Between cells: ;, |, tab")
    ] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="The first line is a row; columns go by place.")
    ] = False,
    quotes: Annotated[bool | None, typer.Option("--quotes/--no-quotes", help="Whether TSV cells are quoted.")] = None,
    rows: Annotated[
        Path | None,
        typer.Option("--rows", metavar="FOLDER", help="Of a recipe: write its test rows with their ids there."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 where there is anything to warn of.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Look at rows before anything is trained: balance, leaks, lengths, scripts, what the base can read.

    Also whether rows correspond that should be translations, and how much text is to be translated.
    """
    from crossflare.inspection.found import refused
    from crossflare.inspection.remarks import warnings_of
    from crossflare.recipe.strict_yaml import GatheredError

    of_file = {"--model": model, "--language": language, "--text": text, "--label": label, "--format": file_format}
    of_file |= {"--delimiter": delimiter, "--quotes": quotes, "--no-header": no_header or None}
    if path.suffix.lower() in RECIPES:
        if given := [name for name, value in of_file.items() if value]:
            raise UserError(f"{path} is a recipe, which says {given[0][2:]} itself; leave {given[0]} out, or use --set")
        looks = _recipe(path, assignments, rows)
    else:
        if assignments:
            raise UserError(f"{path} is no recipe, whose names end in .yaml: leave --set out")
        if rows is not None:
            raise UserError(f"{path} is no recipe, whose names end in .yaml: leave --rows out")
        if language is None:
            raise UserError(f"{path}: expected the language of the texts, got none; add --language TAG, as in sw")
        from crossflare.inspection.looks import look_at_file
        from crossflare.tasks.layout import FileLayout

        places = {"header": False} if no_header else {}
        columns = tuple(int(name) if no_header and name.isdecimal() else name for name in text)
        named = int(label) if label is not None and no_header and label.isdecimal() else label
        layout = FileLayout(columns, named, format=file_format, delimiter=delimiter, quotes=quotes, **places)  # type: ignore[arg-type]
        for option, mistake in layout.mistakes():
            raise UserError(f"{path}: {option}: {mistake}")
        with bars():
            looks = [look_at_file(path, language, layout, model, max_length)]
    lines = [warnings_of(look) for look in looks]
    if as_json:
        print_json([{**look.values(), "warnings": said} for look, said in zip(looks, lines, strict=True)])
    else:
        for look, said in zip(looks, lines, strict=True):
            _show(look, said)
    wrong = [line for look in looks for line in refused(look)]
    wrong += [line for said in lines for line in said] if strict else []
    if wrong:
        raise GatheredError(dict.fromkeys(wrong), "data")


def _recipe(path: Path, assignments: list[str], rows: Path | None) -> "list[Look]":
    """Look at the rows of a recipe; for a grid, at the cells that differ in rows or base."""
    from crossflare.experiment.running.looking import looks_of, write_test_rows
    from crossflare.experiment.steps.graph import contexts_of
    from crossflare.recipe.grid import load_recipe

    contexts = contexts_of(load_recipe(path, assignments), Path())
    for written in () if rows is None else write_test_rows(contexts, rows):
        err().print(f"[dim]wrote {plain(written)}[/]", soft_wrap=True)
    with bars():
        return looks_of(contexts)


def _show(look: "Look", warnings: list[str]) -> None:
    from crossflare.inspection.show import sheets

    waiting = sheets(look)
    while waiting:
        sheet = waiting.pop(0)
        drawn = _drawn(sheet)
        if _width(drawn) > out().width and len(sheet.head) > LEAST:
            waiting[:0] = halves(sheet)
            continue
        out().print(drawn)
        if sheet.legend:
            out().print(f"[dim]{plain(sheet.legend)}[/]\n")
    for line in warnings:
        say(f"[yellow]![/] {plain(line)}")
    if not warnings:
        say(f"{OK} {plain(look.name)}: nothing to warn of")


def halves(sheet: "Sheet") -> "tuple[Sheet, Sheet]":
    """Split a table into two, each with its first columns and half of the others."""
    keys = sheet.keys
    middle = keys + (len(sheet.head) - keys + 1) // 2

    def some(start: int, end: int) -> "Sheet":
        rows = tuple((*row[:keys], *row[start:end]) for row in sheet.rows)
        named = keys + max(0, min(end, sheet.named) - start)
        head = (*sheet.head[:keys], *sheet.head[start:end])
        return replace(sheet, head=head, rows=rows, named=named, legend="")

    rest = replace(some(middle, len(sheet.head)), title=f"{sheet.title}, continued", legend=sheet.legend)
    return some(keys, middle), rest


def _width(drawn: "Table") -> int:
    """Return how many characters wide a table is when nothing of it is cut."""
    from rich.measure import Measurement

    console = out()
    return Measurement.get(console, console.options.update(max_width=1000), drawn).maximum


def _drawn(sheet: "Sheet") -> "Table":
    """Return a table for the terminal; a language with several parts has its name only in the first of its rows."""
    shown = table(*sheet.head, title=plain(sheet.title), right=sheet.head[sheet.named :])
    for column in shown.columns:
        column.no_wrap = True
    before = ""
    for first, *rest in sheet.rows:
        same = first == before and sheet.keys > 1
        shown.add_row("" if same else f"[cyan]{plain(first)}[/]", *map(plain, rest))
        before = first
    return shown
