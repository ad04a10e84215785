"""The entry point: the verbs, and the one place where an error becomes a line and an exit code."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import metadata
from typing import Annotated

import typer

from crossflare.cli import analysis, checking, experiments, facts, laboratory, prediction, translation
from crossflare.cli.terminal import complain, err, examples, note, say
from crossflare.errors import UserError
from crossflare.heard import listening

USER, OURS, INTERRUPTED = 2, 1, 130
"""Exit codes: the user's mistake, a fault of the program, Ctrl-C."""

app = typer.Typer(
    name="crossflare",
    help="Carry a task model to languages with little data: LoRA adapters that fuse text and translation (FLARE).",
    epilog=examples(
        ("crossflare demo", "the whole way on small data, in a few minutes"),
        ("crossflare run recipe.yaml", "translate, train, predict and report what is missing"),
        ("crossflare run -h", "the options of one verb"),
    ),
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (experiments, analysis, translation, prediction, checking, facts, laboratory):
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        say(f"crossflare {metadata.version('crossflare')}")
        raise typer.Exit


@app.callback()
def _crossflare(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after a verb, too.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 (the user's mistake), 1 (ours) or 130 (Ctrl-C).

    Args:
        arguments: What stands after the program's name; None: the process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        with nullcontext() if debug else listening(note):
            result = app([word for word in given if word != "--debug"], prog_name="crossflare", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            err().print_exception()
        return _explain(error, debug)
    if result == INTERRUPTED:
        err().print("[yellow]interrupted:[/] what is finished is kept; the same command goes on from there")
    return result if isinstance(result, int) else 0


def _explain(error: Exception, debug: bool) -> int:
    """Print what went wrong and return the exit code."""
    if isinstance(error, UserError):
        lines = getattr(error, "lines", (str(error),))
        complain(lines)
        if len(lines) > 1:
            err().print(f"[dim]{len(lines)} mistakes; nothing was run[/]")
        return OURS if getattr(error, "ours", False) else USER
    usage = getattr(error, "format_message", None)
    if usage is not None:  # typer's own: a wrong option or argument
        message = str(usage()).rstrip(".")
        if message:  # empty when help was shown for want of a verb
            context = getattr(error, "ctx", None)
            complain([f"{message}; see {context.command_path if context else 'crossflare'} -h"])
        return USER
    said = " ".join(str(error).split())
    complain([f"internal error: {type(error).__name__}: {said}" if said else f"internal error: {type(error).__name__}"])
    if not debug:
        err().print(
            "[dim]this is a fault of crossflare, not yours: add --debug to see where, and please report it[/]",
            soft_wrap=True,
        )
    return OURS
