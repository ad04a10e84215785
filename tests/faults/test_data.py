"""Data and translation: damaged rows by the hundred, words that look like nothing, and a translator that is shot."""

import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.languages import find_language
from crossflare.recipe.strict_yaml import parse
from crossflare.tasks.files import read_rows
from crossflare.translation.store import Store
from crossflare.translation.translate import translate_all
from digests import digests
from faulty import Reverse, texts
from injecting import shoot
from lanes import only
from mutating import fuzz_questions, fuzz_rows

WORDS = (
    "NA",
    "N/A",
    "null",
    "None",
    "nan",
    "no",
    "on",
    "yes",
    "off",
    "na",
    "1e-3",
    "0x1f",
    "~",
    "true",
    "1_000",
    "12:30",
)


@pytest.mark.parametrize("start", only(range(0, 20_000, 1000), [0]))
def test_damaged_rows_are_read_or_refused_by_file_and_line(tmp_path: Path, start: int) -> None:
    counts = sum((fuzz_rows(tmp_path, seed) for seed in range(start, start + 500)), start=Counter[str]())
    assert counts["taken"] > 50
    assert counts["refused"] > 300


@pytest.mark.parametrize("start", only(range(0, 20_000, 1000), [0]))
def test_every_question_that_is_kept_has_its_answer_where_it_says(tmp_path: Path, start: int) -> None:
    counts = sum((fuzz_questions(tmp_path, seed) for seed in range(start, start + 300)), start=Counter[str]())
    assert counts["taken"] > 30
    assert counts["refused"] > 50


@pytest.mark.parametrize("word", WORDS)
def test_words_that_look_like_nothing_stay_words_in_every_format(tmp_path: Path, word: str) -> None:
    (tmp_path / "a.csv").write_text(f"text,language\n{word},{word}\n", encoding="utf-8")
    (tmp_path / "a.tsv").write_text(f"text\tlanguage\n{word}\t{word}\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(f'{{"text": "{word}", "language": "{word}"}}\n', encoding="utf-8")
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        assert [dict(row.cells) for row in read_rows(tmp_path / name)] == [{"text": word, "language": word}]


def test_words_that_other_readers_of_yaml_change_stay_text() -> None:
    words = [word for word in WORDS if word in ("nan", "no", "on", "yes", "off", "na", "NA", "N/A", "None", "12:30")]
    document = parse(f"languages: [{', '.join(words)}]\n", "recipe.yaml")
    assert document.value == {"languages": words}


@pytest.mark.parametrize("code", ["nan", "no", "na"])
def test_codes_that_look_like_nothing_are_languages(code: str) -> None:
    assert find_language(code).tag.startswith(code) or find_language(code).tag in ("nb", "nan")


def test_a_translator_that_is_killed_at_random_gives_the_bytes_of_the_undisturbed(tmp_path: Path) -> None:
    whole, killed, draw = tmp_path / "whole", tmp_path / "killed", random.Random(0)
    rows = texts(120)
    expected = translate_all(Store(whole), Reverse(), rows, "sw", "en", batch=5)
    kills = 0
    for _ in range(12):
        action = lambda: translate_all(Store(killed), Reverse(0.002), rows, "sw", "en", batch=5) and None  # noqa: E731
        end = shoot(action, draw.uniform(0, 0.25))
        kills += end.code == -signal.SIGKILL
        if end.code == 0:
            break
    done = sum(path.read_bytes().count(b"\n") for path in killed.glob("*/sw-en/*.jsonl"))
    engine = Reverse()
    assert translate_all(Store(killed), engine, rows, "sw", "en", batch=5) == expected
    assert len(engine.seen) == len(rows) - done
    whole_files = [path for path in killed.rglob("*") if path.suffix != ".tmp"]  # a kill may leave one
    assert digests(killed, whole_files) == digests(whole)
    assert kills >= 1


@pytest.mark.parametrize(
    "change", [{"model": "b"}, {"revision": "2"}, {"dtype": "float16"}, {"beams": 5}, {"ct2": "9"}]
)
def test_whatever_changes_in_an_engine_is_another_shelf(tmp_path: Path, change: dict[str, object]) -> None:
    first, second = Reverse(), Reverse()
    second.identity = {**Reverse.identity, **change}  # type: ignore[dict-item]
    for engine in (first, second, first):
        translate_all(Store(tmp_path), engine, ["ab"], "sw", "en")
    assert (first.seen, second.seen) == (["ab"], ["ab"])


@pytest.mark.parametrize(("code", "near"), [("swahilli", "Swahili"), ("xx_Latn", ""), ("quz_Latm", "")])
def test_an_unknown_language_names_the_nearest(code: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown language '{code}'") as caught:
        find_language(code)
    assert near in str(caught.value)
