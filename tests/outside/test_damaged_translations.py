"""A translation that is not the one that was written is never used: it is seen, said in one line, and made again."""

import json
import random
from pathlib import Path

import pytest

from crossflare.translation.store import Store, read_row, text_key
from crossflare.translation.translate import translate_all
from faulty import Reverse, texts

EXPECTED = [text[::-1] for text in texts(20)]


def made(root: Path) -> tuple[list[str], list[str]]:
    """Return the translations, and what had to be made for them."""
    engine = Reverse()
    return translate_all(Store(root), engine, texts(20), "sw", "en"), engine.seen


def part(root: Path) -> Path:
    return next(root.glob("*/sw-en/0000.jsonl"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made(tmp_path)
    return tmp_path


def test_another_translation_under_the_same_text_is_made_again(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = part(store).read_text(encoding="utf-8")
    part(store).write_text(content.replace(EXPECTED[3][:6], "\u00e9 zzz ", 1), encoding="utf-8")
    assert content.count(EXPECTED[3][:6]) >= 1
    found, again = made(store)
    assert found == EXPECTED
    assert len(again) == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("0000.jsonl: a damaged row is ignored, and made again (not as it was written)")


def test_many_damaged_rows_are_one_line_with_their_number(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = part(store).read_text(encoding="utf-8")
    part(store).write_text(content.replace('"translation": "', '"translation": "x'), encoding="utf-8")
    with Store(store).shelf(Reverse.identity, "sw", "en") as shelf:
        assert shelf.find(texts(20)) == {}
        assert shelf.damaged == 20
    (line,) = [record.getMessage() for record in caplog.records]
    assert ": 20 damaged rows are ignored, and made again" in line
    assert made(store) == (EXPECTED, texts(20))
    assert made(store) == (EXPECTED, [])


@pytest.mark.parametrize("seed", range(25))
def test_no_damage_to_a_part_changes_a_translation(store: Path, seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(part(store).read_bytes())
    for _ in range(chance.randint(1, 40)):
        place = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[place] = chance.choice(b'aeio {}":,\\u0\n')
        elif kind == 1:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del data[place : place + chance.randint(1, 30)]
        else:
            data[place:place] = data[chance.randrange(len(data)) :][: chance.randint(1, 60)]
    part(store).write_bytes(bytes(data))
    assert made(store)[0] == EXPECTED


def test_no_cut_makes_a_row_that_is_believed(tmp_path: Path) -> None:
    """Whatever bytes between two rows are cut out, what is left is no other translation of a text."""
    pairs = {("ab", "12"), ("cd", "34")}
    with Store(tmp_path).shelf(Reverse.identity, "sw", "en") as shelf:
        shelf.append(sorted(pairs))
    data = part(tmp_path).read_bytes()
    for start in range(len(data)):
        for end in range(start + 1, len(data)):
            rows = {read_row(line) for line in (data[:start] + data[end:]).splitlines()}
            assert {row for row in rows if isinstance(row, tuple)} <= pairs


def test_rows_of_older_versions_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Store(tmp_path).shelf(Reverse.identity, "sw", "en"):
        rows = [{"key": text_key(text), "text": text, "translation": f"old {text}"} for text in texts(20)]
    folder = next(tmp_path.glob("*/")) / "sw-en"
    folder.mkdir()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "0000.jsonl").write_text(lines, encoding="utf-8")
    assert made(tmp_path) == ([f"old {text}" for text in texts(20)], [])
    assert not caplog.records


def test_a_row_with_another_field_is_damaged(store: Path) -> None:
    content = part(store).read_text(encoding="utf-8")
    part(store).write_text(content.replace('"check"', '"chekc"', 1), encoding="utf-8")
    assert made(store) == (EXPECTED, texts(1))


@pytest.mark.parametrize(
    "row", [{"text": 3, "translation": "x"}, {"text": "x", "translation": None}, {"text": [], "translation": {}}]
)
def test_a_row_whose_texts_are_none_is_damaged(row: dict[str, object]) -> None:
    assert read_row(json.dumps({"key": text_key("x"), "check": "0" * 16, **row}).encode()) == "no texts"


def test_a_row_with_the_key_of_another_text_says_so(store: Path) -> None:
    row = json.loads(part(store).read_bytes().splitlines()[0]) | {"key": text_key("another text")}
    assert read_row(json.dumps(row).encode()) == "the text is not the one of the key"
