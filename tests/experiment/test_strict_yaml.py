"""The loader reads what stands there: no word becomes something else, and nothing is read twice or by alias."""

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.recipe import strict_yaml

WORDS = ["no", "on", "off", "yes", "y", "n", "nan", "NaN", "inf", ".inf", "NULL", "Null", "True", "TRUE", "2026-11-21"]
WORDS += ["0x10", "010", "0o7", "1_000", "12:30:00", "<<x", "1e", "e3", ".", "--1", "infinity", "1e3e3"]


@pytest.mark.parametrize("word", WORDS)
def test_words_stay_text(word: str) -> None:
    assert strict_yaml.parse(f"key: {word}", "f").value == {"key": word}


def test_control_the_usual_loader_changes_words() -> None:
    changed = [word for word in WORDS if yaml.safe_load(f"key: {word}") != {"key": word}]
    assert {"no", "on", "off", "True", "010", "2026-11-21", "12:30:00"} <= set(changed)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *{"1e-3": 0.001, "2E5": 2e5, "1.": 1.0, ".5": 0.5, "-3": -3, "+7": 7, "0": 0, "0.0": 0.0}.items(),
        *{"true": True, "false": False, "null": None, "~": None, "": None, '"1e-3"': "1e-3", "'no'": "no"}.items(),
    ],
)
def test_plain_values(text: str, value: object) -> None:
    got = strict_yaml.parse(f"key: {text}", "f").value["key"]
    assert got == value
    assert type(got) is type(value)


def test_keys_are_text() -> None:
    assert strict_yaml.parse("no: 1\n3: 2\ntrue: 3\nnull: 4", "f").value == {"no": 1, "3": 2, "true": 3, "null": 4}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), plain))
def test_what_is_dumped_is_read_back(value: dict[str, object]) -> None:
    text = strict_yaml.dump(value)
    document = strict_yaml.parse(text, "f")
    assert not document.problems
    assert document.value == value


@given(st.text())
def test_dumped_text_is_text_to_other_readers_too(text: str) -> None:
    assert yaml.safe_load(strict_yaml.dump({"key": text})) == {"key": text}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "f:3: a: the key stands here twice; keep one"),
        ("a: &x [1]\nb: *x", "f:2: b: aliases (*name) are not read here; write the value again"),
        (
            "a: !!python/object:os.system x",
            "f:1: a: tags (tag:yaml.org,2002:python/object:os.system) are not read here",
        ),
        ("a: !mine {b: 1}", "f:1: a: tags (!mine) are not read here; take it away"),
        ("[1, 2]: 3", "expected a word as key, got a list or mapping"),
        (f"a: {'9' * 5000}", "f:1: a: the number is too long or too large"),
        ("a: 1e999", "f:1: a: the number is too long or too large"),
    ],
)
def test_small_mistakes_are_noted(text: str, said: str) -> None:
    (problem,) = strict_yaml.parse(text, "f").problems
    assert said in problem


@pytest.mark.parametrize(
    "text", ["a: [1", "a: 'x", "a: b: c", "\x00", "a: 1\n---\nb: 2", "[" * 5000, "- " * 2000 + "x"]
)
def test_what_is_no_yaml_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^f(:\d+)?: not YAML: ") as caught:
        strict_yaml.parse(text, "f")
    assert "\n" not in str(caught.value)


@given(st.text() | st.text("{}[]:,-&*!?|>'\"%@`#\n a1"))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with suppress(UserError):
        strict_yaml.parse(text, "f")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing.yaml: expected a YAML file, but it cannot be read \(No such file"):
        strict_yaml.read(tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(UserError, match="not UTF-8 text"):
        strict_yaml.read(tmp_path / "latin.yaml")


def test_overrides() -> None:
    document = strict_yaml.parse("a: {b: 1, c: 2}\nm:\n  zero-shot:\nl: [1, 2]", "f")
    strict_yaml.override(document, ["a.b=1e-3", "m.zero-shot.r=4", "l=[no, on]", "new.deep.key=x=y", "a.c="])
    assert document.value == {
        "a": {"b": 0.001, "c": None},
        "m": {"zero-shot": {"r": 4}},
        "l": ["no", "on"],
        "new": {"deep": {"key": "x=y"}},
    }
    assert document.place(("a", "b")) == "--set a.b=1e-3"
    assert document.place(("l", 1)) == "--set l=[no, on]"
    assert document.place(("a", "c", "x")) == "--set a.c="


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("a", "--set a: expected KEY=VALUE"),
        ("=3", "--set =3: expected KEY=VALUE"),
        ("a..b=3", "--set a..b=3: expected KEY=VALUE"),
        ("a.b.c=3", "--set a.b.c=3: a.b has no keys of its own; set it as a whole"),
        ("l.0=3", "--set l.0=3: l has no keys of its own"),
        ("a=[1", "--set a=[1:1: not YAML"),
    ],
)
def test_wrong_overrides(assignment: str, said: str) -> None:
    document = strict_yaml.parse("a: {b: 1}\nl: [1]", "f")
    strict_yaml.override(document, [assignment])
    (problem,) = document.problems
    assert problem.startswith(said)


def test_report_follows_the_lines() -> None:
    document = strict_yaml.Document(None, "f", problems=["--set x: s", "f:10: b", "f:2: a", "f:2: a"])
    assert document.report() == ["f:2: a", "f:10: b", "--set x: s"]
