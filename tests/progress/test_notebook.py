"""In a notebook progress is a bar in a widget, or plain lines where there are no widgets."""

import io
from importlib.machinery import ModuleSpec

import pytest
from rich.console import Console

from crossflare import progress
from crossflare.progress.bars import Bars
from crossflare.progress.lines import Lines


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_gets_bars_where_it_has_widgets(widgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def find(name: str) -> ModuleSpec | None:
        asked.append(name)
        return ModuleSpec(name, None) if widgets else None

    monkeypatch.setattr(progress, "find_spec", find)
    monkeypatch.setattr(Bars, "__enter__", lambda self: self)  # rich would look for the notebook itself
    written = io.StringIO()
    with progress.display(Console(file=written, force_jupyter=True)):
        assert type(progress._display) is (Bars if widgets else Lines)
        if not widgets:
            progress.keep_line("stage 1 is finished")
    assert asked == ["ipywidgets"]
    assert written.getvalue() == ("" if widgets else "stage 1 is finished\n")


def test_a_file_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: pytest.fail("nobody asks for widgets"))
    with progress.display(Console(file=io.StringIO(), force_jupyter=False)):
        assert type(progress._display) is Lines
