"""Made-up rows in the named sets' own files, and the lexicons between their languages: for `--tiny`.

A language is a list of made-up words, with each concept at the same place in all lists; a sentence is a few words in a
row.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from crossflare.disk.files import commit_dir, write_atomic
from crossflare.disk.storage import cache_folder
from crossflare.errors import UserError
from crossflare.tasks.named_sets import NUSAX, TYDIQA, XNLI, XNLI_HEADER

VERSION = 1
"""Raised when the same call would write other files."""
ROWS = 32
"""Rows of each part, and of the dev part that is cut from a train part."""
CONCEPTS = 20
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]

Files = Iterator[tuple[str, str]]
"""(path in the folder, text)."""


def place(name: str) -> Path:
    """Return the place of something that `--tiny` makes, in the user's cache folder."""
    return cache_folder() / "tiny" / f"{name}-{VERSION}"


def vocabulary(language: str) -> list[str]:
    """Return the words of a language; all languages have the same concepts in the same order."""
    chance = Random(f"words of {language}")
    pairs = chance.sample(range(len(_SYLLABLES) ** 2), CONCEPTS)
    return [_SYLLABLES[pair // len(_SYLLABLES)] + _SYLLABLES[pair % len(_SYLLABLES)] for pair in pairs]


def tiny_set(name: str) -> Path:
    """Return the folder of a named set with made-up rows; written on the first call.

    Raises:
        UserError: There are no made-up rows for this set.
    """
    if name not in _SETS:
        raise UserError(f"--tiny makes up rows for {', '.join(_SETS)}, not for {name}; run the recipe without it")
    return _written(place(name), _SETS[name])


def lexicons(source: str) -> Path:
    """Return the folder with `SOURCE-TARGET.tsv` for every language of the sets, both ways."""

    def files() -> Files:
        for language in tiny_languages():
            for one, other in ((source, language), (language, source)) if language != source else ():
                pairs = zip(vocabulary(one), vocabulary(other), strict=True)
                yield f"{one}-{other}.tsv", "".join(f"{word}\t{there}\n" for word, there in pairs)

    return _written(place(f"words-{source}"), files)


def tiny_languages() -> list[str]:
    """Return the tags of all languages of the sets."""
    return sorted({*NUSAX.languages, *XNLI.languages, *TYDIQA.languages})


def _written(folder: Path, files: Callable[[], Files]) -> Path:
    def fill(target: Path) -> None:
        for path, text in files():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target / path, text)

    if not folder.is_dir():
        commit_dir(folder, fill)
    return folder


def _sentence(language: str, number: int, of: str, count: int) -> str:
    """Return a sentence of `count` different words: the same concepts in each language."""
    chosen = Random(f"{of} {number}").sample(range(CONCEPTS), count)
    return " ".join(vocabulary(language)[concept] for concept in chosen)


def _nusax() -> Files:
    for language, folder in NUSAX.languages.items():
        for part, file in NUSAX.files.items():
            texts = (_sentence(language, n, f"nusax {part}", 6) for n in range(ROWS))
            lines = [["id", "text", "label"]]
            lines += [[f"{n}", text, NUSAX.task.labels[n % 3]] for n, text in enumerate(texts)]
            yield str(file).format(language=folder), _table(lines, ",")


def _xnli() -> Files:
    for language in XNLI.languages:
        for part in ("train", "dev", "test") if language == "en" else ("dev", "test"):
            lines: list[list[str]] = [[*XNLI_HEADER]] if part == "train" else []
            for n in range(ROWS):
                premise, hypothesis = (_sentence(language, n, f"{which} {part}", 4) for which in XNLI_HEADER[:2])
                lines.append([premise, hypothesis, XNLI.task.labels[n % 3]])
            yield f"{language}/{part}.tsv", _table(lines, "\t")


def _tydiqa() -> Files:
    for language in TYDIQA.languages:
        for part, file in TYDIQA.files.items():
            asked = [_question(language, part, n) for n in range(2 * ROWS if part == "train" else ROWS)]
            yield str(file).format(language=language), json.dumps({"data": [{"paragraphs": asked}]})


def _question(language: str, part: str, number: int) -> Mapping[str, Any]:
    """Return a paragraph with one question; its answer is two of its words."""
    context = _sentence(language, number, f"context {part}", 12)
    answer = " ".join(context.split()[number % 11 :][:2])
    answers = [{"text": answer, "answer_start": context.index(answer)}]
    question = _sentence(language, number, f"question {part}", 3)
    return {"context": context, "qas": [{"id": f"{part}-{number}", "question": question, "answers": answers}]}


def _table(lines: Sequence[Sequence[str]], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(lines)
    return text.getvalue()


_SETS: dict[str, Callable[[], Files]] = {"nusax": _nusax, "xnli": _xnli, "tydiqa": _tydiqa}
