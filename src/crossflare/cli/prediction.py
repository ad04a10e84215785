"""The verb that uses a trained adapter: predict."""

from pathlib import Path
from typing import Annotated

import typer

from crossflare.cli.terminal import bars, examples, out, plain, say, say_untested, table
from crossflare.errors import UserError

PANEL = "Models"
REJECTED = 3
"""The exit code when all is done, but some rows were rejected."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            (
                "crossflare predict --adapter A --input in.csv --output out.jsonl --source english",
                "translations in a column",
            ),
            ("crossflare predict --adapter A --input in.csv --output out.csv --no-source", "the texts alone"),
            ("crossflare predict --adapter A --input in.csv --output out.csv \\", ""),
            ("    --translate transformers --option model=facebook/nllb-200-distilled-600M", "translate them first"),
        ),
    )(predict)


def predict(
    adapter: Annotated[
        str,
        typer.Option(
            metavar="ADAPTER",
            help="A trained adapter: runs/NAME/models/ID, or on the hub OWNER/NAME or OWNER/NAME@REVISION.",
            show_default=False,
        ),
    ],
    input: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="CSV, TSV, JSONL, Parquet, or .txt with one text per line; of any size, packed or not.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Written whole at the end: .csv, .tsv, .jsonl (also .gz, .bz2, .xz, .zst) or .parquet.",
            show_default=False,
        ),
    ],
    source: Annotated[
        list[str], typer.Option(metavar="COLUMN", help="The column with the translation; twice for pairs of texts.")
    ] = [],  # noqa: B006
    translate: Annotated[
        str | None, typer.Option(metavar="ENGINE", help="Translate the texts: dictionary, apertium, transformers.")
    ] = None,
    option: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="An option of the engine, as in a recipe; repeatable.")
    ] = [],  # noqa: B006
    no_source: Annotated[bool, typer.Option("--no-source", help="Read the texts alone.")] = False,
    text: Annotated[
        list[str],
        typer.Option(
            metavar="COLUMN",
            help="The column of the text; twice for pairs. By default text, or premise and hypothesis.",
        ),
    ] = [],  # noqa: B006
    id: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="The column of the row's name; by default id. Without one, a number is added."
        ),
    ] = None,
    quotes: Annotated[
        bool | None,
        typer.Option("--quotes/--no-quotes", help="Cells of a TSV file are quoted. By default as it shows."),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Answer this share of the rows, such as 0.8, were they like the dev rows; the rest, of which the "
            "adapter is least sure, gets no label.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="TAG",
            help="Language of the texts, for an adapter of several: it says which temperature is theirs.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows read at once.")] = 64,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Folder or hub name of the base model, fetched where it is not here. By default the one that the "
            "adapter names, if it is here: a file fetches nothing.",
        ),
    ] = None,
    prefix: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Put before the names of the columns that are added.", show_default=False),
    ] = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the file for the first row that cannot be read, before any work.")
    ] = False,
) -> None:
    """Label the rows of a file with a trained adapter: all its columns stay, predictions come after them.

    Stopped or killed, the same command goes on where it was. Rows that cannot be read are named in
    OUTPUT.rejected.jsonl; the exit code is then 3.
    """
    if sum((bool(source), translate is not None, no_source)) > 1:
        raise UserError("expected one of --source, --translate and --no-source, got several; pick one")
    if option and translate is None:
        raise UserError("--option belongs to --translate; say which engine")
    say_untested()
    with bars():
        from crossflare.recipe.translation import engine_from_flags
        from crossflare.serving.file import Column, predict_file, rejected_file

        chosen = Column(tuple(source)) if source else engine_from_flags(translate, option) if translate else None
        counts = predict_file(
            adapter=adapter,
            input=input,
            output=output,
            source=chosen,
            no_source=no_source,
            texts=tuple(text),
            id_column=id,
            quotes=quotes,
            batch_size=batch_size,
            base=base,
            coverage=coverage,
            language=language,
            prefix=prefix,
            strict=strict,
        )
    shown = table("label", "rows", right=["rows"])
    for label, number in counts.labels.items():
        shown.add_row(plain(label), str(number))
    out().print(shown)
    if counts.calibration is not None:
        known = counts.calibration
        say(f"probabilities calibrated: temperature {known.temperature:.2f}, fitted on {known.rows} dev rows")
    elif counts.calibrated:
        known = ", ".join(counts.calibrated)
        say(f"probabilities as the model says them: temperatures are known of {plain(known)}, --language names one")
    notes = {
        "without a label (not sure enough)": counts.abstained,
        "rows without a source": counts.no_source,
        "texts cut": counts.truncated,
        "texts read in windows": counts.in_windows,
    }
    said = "".join(f"; {number} {name}" for name, number in notes.items() if number)
    say(f"{counts.rows} rows -> {plain(output)}{said}")
    if counts.rejected:
        say(f"{counts.rejected} rows could not be read -> {plain(rejected_file(output))}")
        raise typer.Exit(REJECTED)
