"""Laws of the Apertium engine; those about real translations need the program and its English-Spanish pair."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.translation.engines import apertium
from crossflare.translation.engines.apertium import MODES, Apertium, from_stream, to_stream
from crossflare.translation.engines.protocol import engine_id

installed = shutil.which("apertium-wblank-mode") is not None and Path(MODES, "eng-spa.mode").is_file()
real = pytest.mark.skipif(not installed, reason="apertium and apertium-eng-spa are not installed")
BREAKS = "\0\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
SIGNS = [*'*@#^$/[]{}<>\\~+_&=|;:,!?()"%`', "\t", "  ", "\u00a0", "[1]", "^a<n>$", "\\n", "@x", "*x", "#x", "~x"]


@given(
    st.text(st.one_of(st.characters(codec="utf-8", exclude_characters=BREAKS), st.sampled_from("*@#^$/[]{}<>\\~ \t")))
)
def test_what_is_escaped_reads_back(line: str) -> None:
    assume(line.strip())
    assert from_stream(to_stream(line), line) == line


def test_marks_are_taken_out_and_signs_left() -> None:
    assert from_stream(rb"You have darse# cuenta.", "Haberte dado cuenta") == "You have darse cuenta"
    assert from_stream(b"C# code darse# cuenta.", "C# x") == "C# code darse cuenta"
    assert from_stream(b"house# one.", "casa# uno") == "house# one"
    assert from_stream(b" It  is[  ]red .", "Es  rojo") == "It is  red"


def test_line_breaks_never_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _offline(monkeypatch, ["cat"])
    texts = ["a\n\nb\r\n", "\u2028c d", " e\0f\x85", "\n"]
    assert engine.translate(texts, source="en", target="es") == texts


def _offline(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> Apertium:
    """An engine whose mode is another command."""
    monkeypatch.setattr(apertium, "_mode", lambda folder, source, target: Path(f"{source}-{target}.mode"))
    monkeypatch.setattr(apertium, "_programs", lambda mode: [])
    monkeypatch.setattr(apertium, "_command", lambda mode: (command, None))
    monkeypatch.setattr(apertium, "_digest", lambda mode: mode.stem)
    monkeypatch.setattr(apertium.shutil, "which", lambda name: name)
    return Apertium("en", "es")


DIES = """
import os, sys
data = b""
while block := sys.stdin.buffer.read1(65536):
    *whole, data = (data + block).split(b"\\0")
    for message in whole:
        if {condition}:
            os._exit(1)
        sys.stdout.buffer.write(message + b"\\0")
        sys.stdout.buffer.flush()
"""


def test_a_program_that_dies_is_started_again_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flag = tmp_path / "died"
    condition = f"b'bad' in message and not os.path.exists({str(flag)!r}) and open({str(flag)!r}, 'w')"
    engine = _offline(monkeypatch, [sys.executable, "-c", DIES.format(condition=condition)])
    assert engine.translate(["a", "bad", "c"], source="en", target="es") == ["a", "bad", "c"]
    engine.close()


def test_a_text_that_always_kills_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _offline(monkeypatch, [sys.executable, "-c", DIES.format(condition="b'bad' in message")])
    with pytest.raises(UserError, match=r"apertium en-es ended, twice, at the text 'very bad'; take it out"):
        engine.translate(["a", "very bad", "c"], source="en", target="es")
    assert engine.translate(["a"], source="en", target="es") == ["a"]
    engine.close()


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("en", "ca", "apt install apertium-eng-cat"),
        ("ca", "en", "apt install apertium-eng-cat"),
        ("br", "fr", "apt install apertium-br-fr"),
        ("hr", "en", "apt install apertium-hbs-eng"),
        ("es", "ast", "apt install apertium-spa-ast"),
        ("szl", "en", r"no Apertium package for szl to en: it has apertium-en-gl, .*apertium-pol-szl"),
        ("sw", "yo", "nor any with either language; choose another engine"),
    ],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, target: str, message: str
) -> None:
    monkeypatch.setattr(apertium.shutil, "which", lambda name: name)
    with pytest.raises(UserError, match=message):
        Apertium(source, target, str(tmp_path))


def test_a_missing_stage_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "eng-spa.mode").write_text("lt-proc -w 'x.bin' | cg-proc -w 'y.bin'\n")
    monkeypatch.setattr(apertium.shutil, "which", lambda name: None if name == "cg-proc" else name)
    with pytest.raises(UserError, match=r"eng-spa needs the program cg-proc; install the package: apt install cg3$"):
        Apertium("en", "es", str(tmp_path))


def test_pivots_are_named_and_the_installed_one_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from crossflare.translation.engines.debian import pivots

    monkeypatch.setattr(apertium.shutil, "which", lambda name: name)
    assert ("es", "apertium-eng-spa", "apertium-oc-es") in pivots("en", "oc")
    assert pivots("sw", "yo") == []
    assert pivots("en", "ca", str(tmp_path)) == []
    with pytest.raises(UserError, match=r"no Apertium package for en to oc: .*; or go through Catalan: via: ca"):
        Apertium("en", "oc", str(tmp_path))
    for name in ("eng-spa", "spa-cat"):
        (tmp_path / f"{name}.mode").write_text("cat 'x'\n")
    assert pivots("en", "ca", str(tmp_path)) == [("es", "apertium-eng-spa", "apertium-spa-cat")]
    with pytest.raises(UserError, match=r"or go through Spanish, which is installed: via: es"):
        Apertium("en", "ca", str(tmp_path))
    engine = Apertium("en", "ca", str(tmp_path), ["spa"])
    assert engine.identity["via"] == ["es"]
    with pytest.raises(UserError, match=r"this engine translates en to ca; Apertium's ca to en is not in"):
        engine.translate(["casa"], source="ca", target="en")
    with pytest.raises(UserError, match="source and target are both 'es'"):
        Apertium("en", "es", str(tmp_path), ["es"])


catalan = pytest.mark.skipif(
    not (installed and Path(MODES, "spa-cat.mode").is_file() and shutil.which("cg-proc")),
    reason="apertium-spa-cat and cg3 are not installed",
)


@catalan
def test_translates_through_a_language_between(engine: Apertium) -> None:
    through = Apertium("en", "ca", via=["es"])
    texts = ["The house is red.", " ", "My *dog @ eats #1 fish.\n\nxyzzy"]
    spanish = engine.translate(texts, source="en", target="es")
    second = Apertium("es", "ca")
    assert through.translate(texts, source="en", target="ca") == second.translate(spanish, source="es", target="ca")
    assert through.translate(["La casa és vermella."], source="ca", target="en") == ["The house is red."]
    assert engine_id(through.identity) != engine_id(Apertium("en", "es").identity)
    through.close()
    second.close()


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"apt install apertium$"):
        Apertium("en", "es")
    with pytest.raises(UserError, match="source and target are both 'en'"):
        Apertium("en", "eng_Latn")


@pytest.fixture(scope="module")
def engine() -> Apertium:
    return Apertium("en", "es")


@real
def test_translates_both_ways(engine: Apertium) -> None:
    assert engine.translate(["The house is red.", " "], source="en", target="es") == ["La casa es roja.", " "]
    assert engine.translate(["La casa es roja"], source="es", target="en") == ["The house is red"]


@real
def test_signs_line_breaks_and_unknown_words(engine: Apertium) -> None:
    text = "  The *house* @home #1 zzqx ^x$ [y] {z} <b> C# a/b ~ \\ \n\n\tthe  dog\u2028 "
    done = engine.translate([text], source="en", target="es")[0]
    assert done.startswith("  ")
    assert done.endswith("\u2028 ")
    assert "zzqx" in done
    assert "\n\n\tel  perro\u2028" in done.lower()
    assert [done.count(sign) for sign in "*@#^$[]{}<>/~\\"] == [text.count(sign) for sign in "*@#^$[]{}<>/~\\"]
    spanish = engine.translate(["Tendrías que haberte dado cuenta."], source="es", target="en")[0]
    assert not re.search(r"[*@#]", spanish)


@real
@given(
    st.lists(
        st.lists(
            st.sampled_from([*SIGNS, "the", "house", "zzqx", "dog's", "not", " ", " ", " ", "\n"]), max_size=14
        ).map("".join),
        max_size=8,
    )
)
def test_signs_survive_in_any_mix(engine: Apertium, texts: list[str]) -> None:
    done = engine.translate(texts, source="en", target="es")
    for text, result in zip(texts, done, strict=True):
        for sign in "*@#^$/[]{}<>\\~+_&=|\t\u00a0\n":
            assert result.count(sign) == text.count(sign), (text, result)


@real
def test_batches_do_not_matter(engine: Apertium) -> None:
    texts = ["The dog barks", "and", "the cats sleep.", "Mr", "etc."]
    together = engine.translate(texts, source="en", target="es")
    assert [engine.translate([text], source="en", target="es")[0] for text in texts] == together
    assert engine.translate(texts[::-1], source="en", target="es") == together[::-1]


@real
def test_killed_between_calls(engine: Apertium) -> None:
    engine.translate(["dog"], source="en", target="es")
    process = engine._pipelines["en", "es"]._process
    assert process is not None
    process.kill()
    process.wait()
    assert engine.translate(["the dog"], source="en", target="es") == ["El perro"]


@real
def test_identity(engine: Apertium) -> None:
    assert engine_id(engine.identity) == engine_id(Apertium("English", "spa").identity)
    with pytest.raises(UserError, match=r"this engine translates en to es and back; Apertium's en to ca is not in"):
        engine.translate(["x"], source="en", target="ca")


def test_on_windows_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.translation.engines.apertium.sys.platform", "win32")
    with pytest.raises(UserError, match="programs that Windows lacks; use WSL, or another engine"):
        Apertium("en", "es")
