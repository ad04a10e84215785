"""The entry point: the verbs, and the one place where an error becomes a line and an exit code."""

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Annotated, Any

import typer

from crossflare.cli import (
    analysis,
    checking,
    experiments,
    facts,
    fetching,
    inspecting,
    laboratory,
    prediction,
    service,
    sharing,
    translation,
)
from crossflare.cli.front import Front
from crossflare.cli.terminal import complain, err, examples, print_json, print_note, say
from crossflare.errors import Kind, UserError
from crossflare.libraries.heard import listening

USER, OURS, INTERRUPTED, TERMINATED = 2, 1, 130, 143
"""Exit codes: the user's mistake, a fault of the program, Ctrl-C, SIGTERM."""
THEIRS = frozenset({"ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "ENAMETOOLONG", "EISDIR", "ENOTDIR"})
"""Disk errors that no program can fix."""

app = typer.Typer(
    name="crossflare",
    cls=Front,
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
for module in (
    experiments,
    analysis,
    translation,
    prediction,
    service,
    sharing,
    inspecting,
    fetching,
    checking,
    facts,
    laboratory,
):
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"crossflare {version('crossflare')}")
        raise typer.Exit


@app.callback()
def _crossflare(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after a verb, too.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an error as JSON, too, with its kind; works after any verb.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    The code is 0; 2 (a fault of the user's: usage, recipe, data, artefact, disk, or numbers that are not finite); 1 (a
    fault of crossflare's); 3 (`predict` is done, but some rows were rejected); 130 (Ctrl-C) or 143 (SIGTERM).

    Args:
        arguments: The words after the program's name; None: those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if sys.platform == "win32":  # there a pipe's encoding lacks most of the world's letters
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="replace")
    debug, as_json = "--debug" in given, "--json" in given
    words = [word for word in given if word != "--debug" and (word != "--json" or _prints_json(given))]
    try:
        with terminable(), nullcontext() if debug else listening(print_note):
            result = app(words, prog_name="crossflare", standalone_mode=False)
            sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except SystemExit as error:  # from SIGTERM, at once or after a checkpoint
        result = error.code
    except BrokenPipeError:  # the reader of a pipe closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            err().print_exception()
        return _tell(error, debug, as_json)
    if result in (INTERRUPTED, TERMINATED):
        said = "what is finished is kept; the same command goes on from there"
        err().print(f"[yellow]interrupted:[/] {said}")
        if as_json:
            print_json({"error": {"kind": "interrupted", "lines": [said], "exit": result}})
    return result if isinstance(result, int) else 0


def _tell(error: Exception, debug: bool, as_json: bool) -> int:
    """Print what went wrong and return the exit code."""
    kind, lines, code = explain(error)
    complain(lines)
    if len(lines) > 1:
        err().print(f"[dim]{len(lines)} mistakes; nothing was run[/]")
    if kind == "internal" and not debug and not isinstance(error, UserError):
        said = "this is a fault of crossflare, not yours: add --debug to see where, and please report it"
        err().print(f"[dim]{said}[/]", soft_wrap=True)
    if as_json and lines:
        print_json({"error": {"kind": kind, "lines": lines, "exit": code}})
    return code


def explain(error: Exception) -> tuple[Kind, list[str], int]:
    """Return the kind of an error, its lines for the user, and the exit code."""
    if isinstance(error, UserError):
        ours = error.kind == "internal"
        return error.kind, list(getattr(error, "lines", (str(error),))), OURS if ours else USER
    usage = getattr(error, "format_message", None)
    if usage is not None:  # an error of typer's: a wrong option or argument
        message = str(usage()).rstrip(".")
        context = getattr(error, "ctx", None)
        said = f"{message}; see {context.command_path if context else 'crossflare'} -h"
        return "usage", [said] if message else [], USER  # empty when help was shown because there was no verb
    said = " ".join(str(error).split())
    if isinstance(error, OSError):
        from crossflare.disk.storage import file_in_the_way  # `--help` does not wait for it

        advice = file_in_the_way(error)
        if advice or errno.errorcode.get(error.errno or 0) in THEIRS:
            other = "free space, or choose another place that may be read and written"
            return "disk", [f"{said}; {advice or other}"], USER
    name = type(error).__name__
    return "internal", [f"internal error: {name}: {said}" if said else f"internal error: {name}"], OURS


def _prints_json(words: Sequence[str]) -> bool:
    """Whether the verb has an option --json of its own; else --json is for errors alone."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return command.name != "crossflare" and any("--json" in option.opts for option in command.params)


@contextmanager
def terminable() -> Generator[None]:
    """Let the first SIGTERM end the work in order, as Ctrl-C does; a second one ends the process at once."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # Python lets only the main thread set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
