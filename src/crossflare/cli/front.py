"""The front page of the command line, `crossflare --help`, drawn without typer's own page, in half its time.

The pages of single verbs come from typer.
"""

import os
import re
from collections.abc import Iterator, Sequence
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

import typer
from typer.core import TyperGroup

WIDEST = 100
"""The most columns of the page."""
_TAG = re.compile(r"\[/?(?:bold|dim)\]")
"""The marks that `terminal.examples` puts into its lines."""
Row = tuple[str, str]
"""A verb or an option, and what it does."""


class Front(TyperGroup):
    """The verbs, in their panels."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page."""
        lines = [
            "",
            f"{_bold('Usage:')} {ctx.command_path} [OPTIONS] COMMAND [ARGS]...",
            "",
            *_wrapped(self.help, 0),
            "",
        ]
        options = [each.get_help_record(ctx) for each in self.get_params(ctx)]
        lines += _panel("Options", [record for record in options if record is not None])
        panels: dict[str, list[Row]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            panels.setdefault(str(command.rich_help_panel), []).append((name, str(command.help).partition("\n\n")[0]))
        for panel, rows in panels.items():
            lines += _panel(panel, rows)
        title, _, examples = _TAG.sub("", self.epilog or "").partition("\n")
        typer.echo("\n".join([*lines, _bold(title), examples]), color=False if "NO_COLOR" in os.environ else None)


def _panel(title: str, rows: Sequence[Row]) -> Iterator[str]:
    left = max(len(name) for name, _ in rows)
    yield _bold(title)
    for name, about in rows:
        first, *more = _wrapped(about, left + 4)
        yield f"  {typer.style(f'{name:<{left}}', fg='cyan')}  {first}"
        yield from (" " * (left + 4) + line for line in more)
    yield ""


def _wrapped(text: str | None, indent: int) -> list[str]:
    return wrap(" ".join((text or "").split()), max(min(get_terminal_size().columns, WIDEST) - indent, 20)) or [""]


def _bold(text: str) -> str:
    return typer.style(text, bold=True)
