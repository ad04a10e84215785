"""The verb that translates a file: translate."""

from pathlib import Path
from typing import Annotated

import typer

from crossflare.cli.terminal import bars, examples, out, plain, print_json, say, table
from crossflare.errors import UserError

PANEL = "Data"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            (
                "crossflare translate in.csv --from en --to es --engine apertium",
                "in.es.jsonl: with text_es, text_es_flags",
            ),
            ("crossflare translate in.jsonl --from en --to sw,ace --engine transformers \\", ""),
            ("    --option model=facebook/nllb-200-distilled-600M --workers 2", "two languages, two processes"),
            ("crossflare translate lines.txt --from en --to sw --engine dictionary \\", ""),
            ("    --option lexicon=en-sw.tsv --output out.csv", "one text per line"),
        ),
    )(translate)


def translate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, TSV, JSONL, Parquet, or one text per line.", show_default=False)
    ],
    source: Annotated[str, typer.Option("--from", metavar="LANGUAGE", help="Of the texts.", show_default=False)],
    to: Annotated[
        str,
        typer.Option("--to", metavar="LANGUAGES", help="To translate into, with commas between.", show_default=False),
    ],
    engine: Annotated[str, typer.Option(metavar="ENGINE", help="See `crossflare languages`.", show_default=False)],
    option: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="An option of the engine, as in a recipe; repeatable.")
    ] = [],  # noqa: B006
    column: Annotated[
        list[str], typer.Option(metavar="COLUMN", help="The column with the texts; repeatable. By default text.")
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help=".jsonl or .csv; by default FILE.LANGUAGES.jsonl.")
    ] = None,
    store: Annotated[
        Path, typer.Option(metavar="DIR", help="Where finished translations are kept and looked up.")
    ] = Path("translations"),
    workers: Annotated[int, typer.Option(min=1, help="Processes that translate.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Spread the workers over this Ray cluster; auto: the running one."),
    ] = None,
    split: Annotated[
        bool, typer.Option("--split/--whole", help="Translate sentence by sentence, or each text as it is.")
    ] = True,
    quotes: Annotated[
        bool | None,
        typer.Option("--quotes/--no-quotes", help="Cells of a TSV file are quoted. By default as it shows."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Translate a file, row by row; after an interruption the same command goes on where it was."""
    from dataclasses import asdict

    from crossflare.jobs import Cluster, Processes
    from crossflare.languages import tag_of
    from crossflare.recipe.translation import engine_from_flags
    from crossflare.translation.documents import translate_file
    from crossflare.translation.quality import Flag

    targets = list(dict.fromkeys(tag_of(name) for name in to.split(",") if name.strip()))
    if not targets:
        raise UserError("--to: expected languages with commas between, found none; as --to sw,ace")
    chosen = engine_from_flags(engine, option)
    made = output or file.with_name(f"{file.stem}.{'-'.join(targets)}.jsonl")
    pool = Cluster(workers, ray) if ray is not None else Processes(workers) if workers > 1 else None
    with bars():
        done = translate_file(
            file,
            made,
            source=source,
            targets=targets,
            engine={"engine": chosen.engine, **chosen.options},
            store=store,
            columns=column or ["text"],
            split=split,
            quotes=quotes,
            pool=pool,
        )
    if json:
        print_json({"output": str(made), **asdict(done)})
        return
    numbers = ["translated", "in the store", "flagged"]
    flags = [flag for flag in Flag if any(direction.flags.get(flag) for direction in done.directions)]
    shown = table(
        "language", *numbers, *(plain(flag.value.replace("_", " ")) for flag in flags), "licence", right=numbers
    )
    for direction in done.directions:
        counts = [direction.translated, done.texts - direction.translated, direction.flags.get("flagged", 0)]
        cells = [*counts, *(direction.flags.get(flag, 0) for flag in flags)]
        shown.add_row(plain(direction.target), *(f"{count:,}" for count in cells), plain(direction.licence))
    out().print(shown)
    rate = sum(direction.characters for direction in done.directions) / max(done.seconds, 1e-3)
    say(f"{done.rows:,} rows -> {plain(made)} in {done.seconds:.1f} s ({rate:,.0f} characters/s translated)")
