"""Texts that a dictionary learns from: what csv and `split` find in files such as people publish is what is read."""

import csv
from pathlib import Path

import pytest

from crossflare.translation.engines.precomputed import read_pairs

PAIRS = [
    ("Bei imepanda.", 'He said "the price" rose.'),
    ("mstari mmoja\nna wa pili", "one line\nand a second"),
    ("\ufeffna alama", "with a\u2028separator"),
    ("  nafasi  ", "tab\there, comma"),
    ('nukuu " moja', "#ERROR!"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("how", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_columns_of_a_table(tmp_path: Path, how: int, end: str) -> None:
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=how, lineterminator=end)  # type: ignore[arg-type]
        writer.writerows([["row", "english", "swahili"], *([n, en, sw] for n, (sw, en) in enumerate(PAIRS))])
    with path.open(encoding="utf-8", newline="") as file:
        independent = [(row["swahili"], row["english"]) for row in csv.DictReader(file)]
    assert read_pairs(pairs_file=str(path), source_column="swahili", target_column="english") == independent == PAIRS


@pytest.mark.parametrize("last", ["\n", ""])
def test_lines_of_two_files(tmp_path: Path, last: str) -> None:
    """Only a line feed ends a line: no separator, form feed or mark inside does, and a blank line is a text."""
    pairs = [*((sw.replace("\n", "\x0c"), en.replace("\n", "\x85")) for sw, en in PAIRS), ("", "nothing"), ("a", "b")]
    for name, texts in zip(("sw", "en"), zip(*pairs, strict=True), strict=True):
        (tmp_path / name).write_bytes(("\n".join(texts) + last).encode())
    independent = [(tmp_path / name).read_bytes().decode().removesuffix("\n").split("\n") for name in ("sw", "en")]
    found = read_pairs(source_file=str(tmp_path / "sw"), target_file=str(tmp_path / "en"))
    assert found == list(zip(*independent, strict=True)) == pairs
