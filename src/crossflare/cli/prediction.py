"""The verbs that use a trained adapter: predict, export."""

from pathlib import Path
from typing import Annotated

import typer

from crossflare.cli.terminal import bars, examples, out, plain, print_json, say, say_untested, table
from crossflare.errors import UserError

PANEL = "Models"


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
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
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare export A sentiment-sw --to onnx", "for onnxruntime, with inputs for text and source"),
            (
                "crossflare export A sentiment-sw --to onnx --int8 --rows in.csv --source english",
                "smaller, and measured",
            ),
            ("crossflare export A sentiment-sw --to lora", "for peft, on the base itself"),
            ("crossflare export A sentiment-sw --to model", "for transformers, all merged in"),
        ),
    )(export)


def predict(
    adapter: Annotated[
        Path, typer.Option(metavar="DIR", help="A trained adapter: runs/NAME/models/ID.", show_default=False)
    ],
    input: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="CSV, TSV, JSONL, Parquet, or .txt with one text per line.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="Written whole at the end: .jsonl or .csv.", show_default=False)
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
        str | None, typer.Option(metavar="COLUMN", help="The column of the row's name; by default id, else its number.")
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
) -> None:
    """Label the rows of a file with a trained adapter, one prediction per row, in the rows' order."""
    if sum((bool(source), translate is not None, no_source)) > 1:
        raise UserError("expected one of --source, --translate and --no-source, got several; pick one")
    if option and translate is None:
        raise UserError("--option belongs to --translate; say which engine")
    say_untested()
    with bars():
        from crossflare.recipe.translation import engine_from_flags
        from crossflare.serving.file import Column, predict_file

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
        "empty texts": counts.empty,
        "rows without a source": counts.no_source,
        "texts cut": counts.truncated,
        "texts read in windows": counts.in_windows,
    }
    said = "".join(f"; {number} {name}" for name, number in notes.items() if number)
    say(f"{counts.rows} rows -> {plain(output)}{said}")


def export(
    adapter: Annotated[
        Path, typer.Argument(metavar="ADAPTER", help="A trained adapter: runs/NAME/models/ID.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make: new, or empty.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            metavar="FORM",
            help="onnx: a graph for onnxruntime. lora: one plain LoRA for peft, stage 1 inside. base: the base with "
            "stage 1 merged in, for transformers. model: the base with all merged in.",
            show_default=False,
        ),
    ],
    int8: Annotated[bool, typer.Option("--int8", help="Weights of 8 bits in the graph, and what they change.")] = False,
    rows: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measure --int8 on these rows; by default on texts of random tokens."),
    ] = None,
    text: Annotated[
        list[str], typer.Option(metavar="COLUMN", help="The column of the text in --rows; twice for pairs.")
    ] = [],  # noqa: B006
    source: Annotated[
        list[str], typer.Option(metavar="COLUMN", help="The column with the translation in --rows; twice for pairs.")
    ] = [],  # noqa: B006
    language: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="Language whose temperature is written, for an adapter of several."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Folder or hub name of the base model, as for predict.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what export.json says, for scripts.")] = False,
) -> None:
    """Write a trained adapter in a form that needs no crossflare, and compare it with the adapter."""
    if rows is None and (text or source):
        raise UserError("--text and --source name columns of --rows; say which file")
    say_untested()
    with bars():
        from crossflare.export.adapter import export_adapter, rows_in

        texts, sources = (None, None) if rows is None else rows_in(rows, adapter, text, source)
        made = export_adapter(
            adapter, out, to=to, int8=int8, texts=texts, sources=sources, language=language, base=base
        )
    if as_json:
        print_json(dict(made.card))
        return
    loss = made.card.get("int8")
    if loss is not None:
        say(
            f"8 bits: on {loss['rows']} {loss['texts']} texts {loss['same_label']:.1%} of the labels stay, and no "
            f"probability differs by more than {loss['probabilities_differ_by']:.2g}"
        )
        if loss["texts"] == "made":
            say("made texts say little about yours: measure on real ones with --rows FILE")
    reads = "text and source" if made.card["reads_source"] else "the text alone"
    say(f"{made.card['kind']} -> {plain(out)}: {to}, reads {reads}; its README.md says how to use it")
    say(f"its logits differ from the adapter's by {made.card['logits_differ_by']:.0e} at most")
