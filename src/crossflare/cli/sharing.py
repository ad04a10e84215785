"""The verbs that give a trained adapter to others: push, export."""

from pathlib import Path
from typing import Annotated

import typer

from crossflare.cli.terminal import OK, bars, examples, plain, print_json, say, say_untested
from crossflare.errors import UserError

PANEL = "Models"


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare push runs/demo/models/ID me/topics-sw --dry-run", "what would be uploaded, and its README"),
            ("crossflare push runs/demo/models/ID me/topics-sw --private --licence cc-by-4.0", "push it"),
        ),
    )(push)
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


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A trained adapter: runs/NAME/models/ID.", show_default=False)
    ],
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Its name on the model hub.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="A new repository is private.")] = False,
    branch: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="The branch, made if there is none; by default the main one.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="ID", help="The adapter's licence, as the hub writes it: cc-by-4.0, mit.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Upload nothing; print the files and the README.")] = False,
) -> None:
    """Upload a trained adapter to the model hub, with all that a load needs and its card, in one commit."""
    with bars():
        from crossflare.serving.push import parcel_of

        parcel = parcel_of(folder, name, licence)
    if dry_run:
        typer.echo(parcel.readme, nl=False)
    else:
        with bars():
            address = parcel.push(name, private=private or None, branch=branch)
        say(f"{OK} {plain(address)}")
    say(f"{len(parcel.files)} files{' would be pushed' if dry_run else ''}: {plain(', '.join(parcel.files))}")
    if not parcel.scores:
        say("[dim]no test scores in its README: it is in no run's models/, or the run has not read its test rows[/]")


def export(
    adapter: Annotated[
        str, typer.Argument(metavar="ADAPTER", help="A trained adapter: runs/NAME/models/ID.", show_default=False)
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
