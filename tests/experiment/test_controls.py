"""What the controls take away: one's own source, or any source."""

import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from crossflare.experiment.data.controls import controlled
from crossflare.tasks.example import Example, Split

PROGRAM = """
import json
from crossflare.experiment.data.controls import controlled
from crossflare.tasks.example import Example, Split
rows = tuple(Example(str(n), ("text",), 0, (f"source {n}",)) for n in range(50))
print(json.dumps([row.source[0] for row in controlled(Split("test", "sw", rows), "shuffled")]))
"""


def rows(count: int) -> Split:
    return Split("test", "sw", tuple(Example(str(n), (f"text {n}",), n % 2, (f"source {n}",)) for n in range(count)))


@given(st.integers(0, 60))
def test_shuffled_sources_are_all_there_and_nobody_keeps_its_own(count: int) -> None:
    split = rows(count)
    made = controlled(split, "shuffled")
    assert sorted(str(row.source) for row in made) == sorted(str(row.source) for row in split)
    assert [(row.id, row.texts, row.label) for row in made] == [(row.id, row.texts, row.label) for row in split]
    if count > 1:
        assert all(new.source != old.source for new, old in zip(made, split, strict=True))
    assert controlled(split, "shuffled") == made


def test_without_sources_nothing_else_changes() -> None:
    made = controlled(rows(5), "none")
    assert all(row.source is None for row in made)
    assert [(row.id, row.texts, row.label) for row in made] == [(row.id, row.texts, row.label) for row in rows(5)]
    for kept in ("original", "machine"):
        assert controlled(rows(5), kept) == rows(5)


def test_every_process_shuffles_alike() -> None:
    here = [row.source for row in controlled(rows(50), "shuffled")]
    there = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert [list(source or ()) for source in here] == [[source] for source in json.loads(there)]
