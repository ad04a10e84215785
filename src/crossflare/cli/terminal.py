"""The printing of all verbs: results on standard output, errors and progress on standard error."""

import json
import os
import re
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SILENT = os.environ.get("RANK", "0") != "0"
"""Whether this process stays silent: torchrun starts several, and only the first speaks."""
OK, ABSENT, BAD = "[green]✓[/]", "[dim]·[/]", "[red]✗[/]"


def out() -> "Console":
    """Return the console of standard output."""
    from rich.console import Console  # not at the top: the front page of the command line does not need rich

    return Console(highlight=False, quiet=SILENT)


def err() -> "Console":
    """Return the console of standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, quiet=SILENT)


@contextmanager
def bars() -> Generator[None]:
    """Show progress on standard error while inside: bars on a terminal, plain lines in a file or a pipe.

    Notes of the package meanwhile (a licence with conditions, a damaged row) are printed above the bars.
    """
    from crossflare import progress

    console = err()
    _drawing.append(console)
    try:
        with progress.display(console):
            yield
    finally:
        _drawing.remove(console)


_drawing: "list[Console]" = []
"""Consoles that draw bars: notes go through the last one, so that neither writes over the other."""


def print_note(line: str) -> None:
    """Print a note for the user to standard error."""
    (_drawing[-1] if _drawing else err()).print(f"[yellow]note:[/] {plain(line)}", soft_wrap=True)


def say(text: str = "") -> None:
    """Print one line of rich markup to standard output; the terminal wraps it, not crossflare."""
    out().print(text, soft_wrap=True)


def complain(lines: Iterable[str]) -> None:
    """Print one line per mistake to standard error."""
    for line in lines:
        err().print(f"[bold red]error:[/] {plain(line)}", soft_wrap=True)


def say_untested() -> None:
    """Print one line to standard error where a library's version is not a tested one, but only once."""
    from crossflare.libraries.guard import news

    line = news()
    if line is not None:
        err().print(f"[yellow]note:[/] {plain(line)}", soft_wrap=True)


def plain(value: object) -> str:
    """Return a value as text without markup, and without the control characters that could drive a terminal."""
    return _escaped("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(value)))


_MARKUP = re.compile(r"\[[a-z#/@]|\\$")
"""What may be markup; most texts have none, and need no rich."""


def _escaped(text: str) -> str:
    """Return a text as rich's markup shows it."""
    if not _MARKUP.search(text):
        return text
    from rich.markup import escape

    return escape(text)


def table(*columns: str, title: str | None = None, right: Iterable[str] = ()) -> "Table":
    """Return an empty table in the style of all tables; columns named in `right` hold numbers."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False
    )
    for column in columns:
        made.add_column(column, justify="right" if column in set(right) else "left", overflow="fold")
    return made


def print_json(value: Any) -> None:
    """Print a value as JSON and nothing else, for scripts."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def examples(*lines: tuple[str, str]) -> str:
    """Return the end of a help page: (command line, what it does) pairs."""
    width = max(len(command) for command, _ in lines)
    shown = [f"  {_escaped(command.ljust(width) + '  ')}[dim]{_escaped(about)}[/dim]" for command, about in lines]
    return "[bold]Examples[/bold]\n" + "\n".join(shown)
