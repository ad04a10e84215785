"""How well answers are projected, on XQuAD: `python -m bench.projection` writes docs/results/projection.md.

It needs the folder of data named by CROSSFLARE_DATA and Apertium's English-Spanish pair.
"""

import json
import math
import os
import re
import sys
import time
import unicodedata
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossflare.disk.files import write_atomic
from crossflare.translation.engines.apertium import Apertium
from crossflare.translation.engines.lexicon import MAX_WORDS, NULL, Table, fold, ibm1, words
from crossflare.translation.projection.project import project
from crossflare.translation.projection.search import MARKERS, markers_for
from crossflare.translation.projection.spans import Labelled, Projected, Span
from crossflare.translation.store import Store
from crossflare.translation.translate import translate_all

RESULT = Path(__file__).parents[1] / "docs" / "results" / "projection.md"


@dataclass(frozen=True)
class LexiconAligner:
    """An `Aligner` whose scores are those of IBM model 1 in both directions."""

    there: dict[tuple[str, str], float]
    """(source word, target word) -> t(target | source)."""
    back: dict[tuple[str, str], float]
    """(target word, source word) -> t(source | target)."""

    @classmethod
    def learn(cls, pairs: Sequence[tuple[str, str]], iterations: int = 10) -> "LexiconAligner":
        """Learn both directions from (source text, target text) pairs."""
        split = [(words(source), words(target)) for source, target in pairs]
        kept = [pair for pair in split if all(0 < len(side) <= MAX_WORDS for side in pair)]
        turned = [(target, source) for source, target in kept]
        return cls(_entries(ibm1(kept, iterations)), _entries(ibm1(turned, iterations)))

    def scores(self, source: str, target: str) -> NDArray[np.float64]:
        """Return sqrt(t(target|source) t(source|target)); 1 for words that are the same in both texts."""
        ours, theirs = words(source), words(target)
        return np.array(
            [
                [1.0 if a == b else math.sqrt(self.there.get((a, b), 0.0) * self.back.get((b, a), 0.0)) for b in theirs]
                for a in ours
            ],
            dtype=np.float64,
        ).reshape(len(ours), len(theirs))


def _entries(table: Table) -> dict[tuple[str, str], float]:
    return {
        (fold(table.source_words[e]), table.target_words[f]): float(p)
        for e, f, p in zip(table.source, table.target, table.probability, strict=True)
        if p > 1e-3 and table.source_words[e] != NULL
    }


def questions(path: Path) -> dict[str, tuple[str, str, int]]:
    """Return id -> (context, answer, start) of a file in the layout of SQuAD."""
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    return {
        qa["id"]: (p["context"], qa["answers"][0]["text"], qa["answers"][0]["answer_start"])
        for article in data
        for p in article["paragraphs"]
        for qa in p["qas"]
    }


def parallel(root: Path) -> list[tuple[str, str]]:
    """Return the English and Spanish texts of XNLI's training (machine-translated) and dev (human) rows."""

    def texts(path: Path, header: bool) -> list[str]:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")[header:]
        return [text for line in lines for text in line.split("\t")[:2]]

    train = zip(texts(root / "en/train.tsv", True), texts(root / "es/train_mt.tsv", True), strict=True)
    dev = zip(texts(root / "en/dev.tsv", False), texts(root / "es/dev.tsv", False), strict=True)
    return list(dict.fromkeys([*train, *dev]))


def normal(text: str) -> list[str]:
    """Return the words of an answer without case, punctuation and Spanish articles, as MLQA's scorer has them."""
    kept = "".join(sign for sign in text.lower() if not unicodedata.category(sign).startswith("P"))
    return re.sub(r"\b(un|una|unos|unas|el|la|los|las)\b", " ", kept).split()


def f1(found: str, gold: str) -> float:
    ours, theirs = normal(found), normal(gold)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else float(ours == theirs)


def row(name: str, projected: Sequence[Projected], gold: Sequence[tuple[str, int]], exact: bool) -> list[str]:
    """Return a row of the table; rows without a projection count as wrong but for the last column."""
    scores: list[tuple[float, float, float]] = []
    ways: Counter[str] = Counter()
    for each, (text, start) in zip(projected, gold, strict=True):
        span = each.spans[0]
        ways[str(each.ways[0])] += 1
        if span is None:
            continue
        found = each.text[span.start : span.end]
        scores.append(((span.start, found) == (start, text), normal(found) == normal(text), f1(found, text)))
    total, kept = len(gold), len(scores)
    sums = [sum(column) for column in zip(*scores, strict=True)] if scores else [0.0] * 3
    shown = [f"{100 * value / total:.1f}" for value in (sums if exact else sums[1:])]
    used = ", ".join(f"{way} {count}" for way, count in ways.most_common() if way != "None")
    return [name, used, f"{kept}", f"{100 * (total - kept) / total:.1f}", *shown, f"{100 * sums[2] / max(kept, 1):.1f}"]


def first(*ways: Sequence[Projected]) -> list[Projected]:
    """Return for each row the first way that found it, as `project` does when given all of them in this order."""
    return [next((each for each in row if each.whole), row[-1]) for row in zip(*ways, strict=True)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def main() -> int:
    options = ArgumentParser(prog="python -m bench.projection", description="Measure projection on XQuAD.")
    options.add_argument("--store", default="translations", help="folder of finished translations")
    options.add_argument("--limit", type=int, default=None, help="questions; by default all")
    given = options.parse_args()
    root = Path(os.environ["CROSSFLARE_DATA"])
    english, spanish = (questions(root / "xquad" / f"xquad.{tag}.json") for tag in ("en", "es"))
    ids = list(english)[: given.limit]
    rows = [Labelled(english[i][0], (Span(english[i][2], english[i][2] + len(english[i][1])),)) for i in ids]
    gold = [spanish[i][1:] for i in ids]
    human = [spanish[i][0] for i in ids]
    begin = time.monotonic()
    pairs = parallel(root / "xnli")
    aligner = LexiconAligner.learn(pairs)
    print(f"lexicon of {len(pairs)} pairs: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    engine = Apertium("en", "es")
    translate = partial(translate_all, Store(given.store), engine, source="en", target="es")

    def run(**options: Any) -> list[Projected]:
        begin = time.monotonic()
        made = project(rows, translate, **options)
        print(options.get("ways"), options.get("markers"), f"{time.monotonic() - begin:.0f} s", file=sys.stderr)
        return made

    links, fuzzy = (run(ways=[way], translations=human, aligner=aligner) for way in ("alignment", "fuzzy"))
    onto = [
        row("alignment", links, gold, True),
        row("fuzzy", fuzzy, gold, True),
        row("alignment, then fuzzy", first(links, fuzzy), gold, True),
        row("fuzzy, then alignment", first(fuzzy, links), gold, True),
    ]
    marked = {name: run(markers=[marker], ways=["markers"]) for name, marker in MARKERS.items()}
    both = run(markers=markers_for(engine.identity), ways=["markers"])
    links, fuzzy = (run(ways=[way], aligner=aligner) for way in ("alignment", "fuzzy"))
    machine = [row(f"markers: {name}", made, gold, False) for name, made in marked.items()]
    machine += [
        row("markers: brackets, then quotes", both, gold, False),
        row("alignment", links, gold, False),
        row("fuzzy", fuzzy, gold, False),
        row("markers (both), alignment, fuzzy", first(both, links, fuzzy), gold, False),
    ]
    alone = translate([text for each in rows for text in each.texts()])
    single = [
        sum(normal(a) == normal(g[0]) for a, g in zip(alone, gold, strict=True)),
        sum(f1(a, g[0]) for a, g in zip(alone, gold, strict=True)),
    ]
    n = len(ids)
    head = ["method", "spans found by", "found", "dropped %"]
    write_atomic(
        RESULT,
        f"""# Projection of answers, English to Spanish

XQuAD, {n} questions with one gold answer each; made by `python -m bench.projection` (`CROSSFLARE_DATA` names the folder
of data). EM and F1 compare words without case, punctuation and Spanish articles. A question whose answer was not found
counts as wrong in every column but the last. The lexicon of the alignment is IBM model 1 in both directions on
{len(pairs):,} English-Spanish pairs of XNLI (training rows, machine-translated, and dev rows); XQuAD taught nothing.

## Into the human translations

The English answer is looked for in the given Spanish paragraph. *Exact span* is the share of answers with the first and
last character of the gold Spanish answer.

{table([*head, "exact span %", "EM %", "F1 %", "F1 of those found %"], onto)}

## Into Spanish by Apertium

The paragraph is translated by Apertium eng-spa. There is no gold span in its output: EM and F1
compare the projected words with the *human* Spanish answer, so that they
also count what Apertium translates in another way than the translator did. The answer translated by itself, with no
paragraph, has EM {100 * single[0] / n:.1f} and F1 {100 * single[1] / n:.1f}; with its
paragraph it may do better.

{table([*head, "EM %", "F1 %", "F1 of those found %"], machine)}
""",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
