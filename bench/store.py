"""What the store of translations costs: rows per second around an engine that answers at once, and memory.

Beside `figures`, `python -m bench.store memory ROWS` prints the peak memory in MB of translating a file of ROWS rows
twice: once new, once from the store.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.harness import Figure, own_peak_megabytes, peak_megabytes
from crossflare.disk.files import replacing, write_atomic
from crossflare.translation.documents import translate_file
from crossflare.translation.store import Store
from crossflare.translation.translate import translate_all

ROWS = 50_000
LONG, SHORT = 1_000_000, 100_000
"""Rows of the two files whose peak memory is compared."""


class Instant:
    """An engine that answers at once."""

    identity = {"engine": "instant", "licence": "none"}  # noqa: RUF012

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        return [text.upper() for text in texts]


def sentence(number: int) -> str:
    """Return a text as long as a sentence of XNLI, about 100 letters."""
    return f"the people of village number {number} said that the rains came late this year and the harvest was poor"


def figures(turns: int) -> Iterator[Figure]:
    """Yield rows per second, new and from the store, and the growth of memory with the rows."""
    texts = [sentence(number) for number in range(ROWS)]
    rates: list[tuple[float, float]] = []
    for _ in range(max(turns // 4, 3)):
        with TemporaryDirectory() as folder:
            rates.append((_rate(folder, texts), _rate(folder, texts)))
    for name, column, target in zip(("new", "from the store"), np.array(rates).T, (20_000, 100_000), strict=True):
        low, middle, high = np.quantile(column, [0.25, 0.5, 0.75])
        yield Figure(
            f"store: rows per second, {name}", float(middle), float(low), float(high), target, "at least",
            note=f"{ROWS} texts of about 100 letters, an engine that answers at once",
        )  # fmt: skip
    short, long = (peak_megabytes("bench.store", "memory", str(rows)) for rows in (SHORT, LONG))
    yield Figure(
        f"store: peak memory of {LONG:,} rows / of {SHORT:,}", long / short, long / short, long / short, 1.1,
        note=f"{long:.0f} MB against {short:.0f} MB, file to file, new and again from the store",
    )  # fmt: skip


def _rate(folder: str, texts: Sequence[str]) -> float:
    begin = time.process_time()
    translate_all(Store(folder), Instant(), texts, "en", "sw")
    return len(texts) / (time.process_time() - begin)


def memory(rows: int) -> float:
    """Translate a file of `rows` rows into another, twice, and return the peak memory of this process in MB."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_atomic(folder / "lexicon.tsv", "people\twatu\n")
        with replacing(folder / "in.jsonl") as file:
            for number in range(rows):
                file.write(f'{{"text": "{sentence(number)}"}}\n'.encode())
        for _ in range(2):
            translate_file(
                folder / "in.jsonl",
                folder / "out.jsonl",
                source="en",
                targets=["sw"],
                engine={"engine": "dictionary", "lexicon": str(folder / "lexicon.tsv")},
                store=folder / "store",
                split=False,
            )
        return own_peak_megabytes()


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(memory(int(sys.argv[2])))
    else:
        for figure in figures(20):
            spread = f"{figure.low:,.2f} to {figure.high:,.2f}"
            print(f"{figure.name}: {figure.value:,.2f} ({spread}), target {figure.target_text}; {figure.note}")
