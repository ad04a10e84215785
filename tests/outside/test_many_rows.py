"""validate reads files of any size: of a row it keeps 11 bytes, whatever the row holds."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from crossflare.errors import UserError
from crossflare.experiment.data.checks import check_rows
from crossflare.experiment.data.opening import open_set
from crossflare.recipe.read import spec_from
from crossflare.tasks.example import Example, Outline, check_ids, check_partners, outline_of

RECIPE = """
name: many
task:
  files: {{en: {{train: {0}/en.csv, dev: {0}/en.csv}}, sw: {{train: {0}/sw.csv, dev: {0}/sw.csv, test: {0}/sw.csv}}}}
  {{texts: [text], label: label, labels: [bad, good], id: id}}
source: en
targets: [sw]
model: {{name: minilm}}
seeds: [0]
methods: {{lora: }}
""".replace("  {{texts: [text], label: label, labels: [bad, good], id: id}}",
            "  texts: [text]\n  label: label\n  labels: [bad, good]\n  id: id")  # fmt: skip
LIMIT = 500e6
"""Bytes for ten million rows."""
ITSELF = 100e6
"""Bytes of a process that has read nothing yet."""


def peak(folder: Path, rows: int) -> float:
    """Return the most bytes that were held while files of so many rows were checked."""
    for language in ("en", "sw"):
        with (folder / f"{language}.csv").open("w") as file:
            file.write("id,text,label\n")
            file.writelines(f"review number {n},{'word ' * 20},{'good' if n % 2 else 'bad'}\n" for n in range(rows))
    spec = spec_from(RECIPE.format(folder).strip(), folder)
    data = open_set(spec)
    tracemalloc.start()
    try:
        parts = check_rows(spec, data)
        return float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
        assert parts["sw", "test"].rows == rows


@pytest.mark.slow
def test_ten_million_rows_fit(tmp_path: Path) -> None:
    few, many = peak(tmp_path, 20_000), peak(tmp_path, 300_000)
    by_row = (many - few) / 280_000
    # Ten million rows in all: of a part in the source language and one in the target, which are held together.
    assert many + by_row * (5_000_000 - 300_000) < LIMIT - ITSELF


def test_a_row_costs_eleven_bytes() -> None:
    def rows() -> Iterator[Example]:
        return (Example(f"a rather long name {n}", ("word " * 20,), n % 2) for n in range(3000))

    made = Outline.of(rows)
    assert (made.keys.nbytes + made.labels.nbytes + made.flags.nbytes) / len(made) == 11


def examples(*ids: str, label: int | None = 0) -> list[Example]:
    return [Example(name, ("text",), label, origin=f"f:{n}") for n, name in enumerate(ids, 1)]


def test_outlines_refuse_as_rows_in_memory_do() -> None:
    with pytest.raises(UserError, match="f:3: the id 'a' is taken by f:1"):
        check_ids(outline_of(examples("a", "b", "a")))
    check_ids(outline_of(examples("a", "b")))
    with pytest.raises(UserError, match="f:2: the id 'x' and 1 more have no partner in f"):
        check_partners(outline_of(examples("a", "x", "y")), outline_of(examples("c", "b", "a")), "id")
    with pytest.raises(UserError, match=r"f:1 \(label number 0\) and f:2 \(label number 1\)"):
        check_partners(
            outline_of(examples("a")), outline_of([*examples("b"), Example("a", ("t",), 1, origin="f:2")]), "id"
        )
    with pytest.raises(UserError, match="2 rows against 1"):
        check_partners(outline_of(examples("a", "b")), outline_of(examples("a")), "row")
    check_partners(outline_of(examples("b", "a")), outline_of(examples("a", "b", "c")), "id")


def test_no_partner_at_all() -> None:
    with pytest.raises(UserError, match="f:1: the id 'a' and 0 more"):
        check_partners(outline_of(examples("a")), outline_of(examples("b")), "id")


def test_hashes_that_are_equal_by_chance_are_no_doubled_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.tasks.example.hash_of_id", lambda id: 7)
    made = outline_of(examples("a", "b"))
    assert np.array_equal(made.keys, [7, 7])
    check_ids(made)
