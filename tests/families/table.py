"""The table of docs/models.md: each cell is a word and the tests behind it. `python tests/families/table.py` writes it.

A cell that says "yes" names tests by file and function; a test checks that each exists, has this cell among its cases
where it has cases, and that the page is this table. To add a column or a "yes", change this file alone.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "models.md"
sys.path.insert(0, str(TESTS))

from family_models import CELLS, FAMILIES, Task  # noqa: E402

COLUMNS = ("fusion", "checkpointing", "nf4, int8", "torch.compile", "generate")
TASKS: dict[Task, str] = {
    "SEQ_CLS": "a label for the text",
    "TOKEN_CLS": "a label for each token",
    "QUESTION_ANS": "the span of an answer",
    "CAUSAL_LM": "text, decoder-only",
    "SEQ_2_SEQ_LM": "text, encoder-decoder",
}
NAMES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "gemma-2": "Gemma 2",
    "gemma-3": "Gemma 3",
    "qwen-2": "Qwen 2",
    "qwen-3": "Qwen 3",
    "gpt-neox": "GPT-NeoX",
    "xlm-r": "XLM-R",
    "bert": "BERT",
    "mdeberta": "DeBERTa-v3, mDeBERTa",
    "modernbert": "ModernBERT",
    "t5": "T5",
    "mt5": "mT5",
    "umt5": "umT5",
    "m2m100": "M2M100, NLLB",
    "bart": "BART",
    "mbart": "mBART",
}
COMPILED = (("llama", "CAUSAL_LM"), ("xlm-r", "SEQ_CLS"))
WRITERS = {
    "llama": "llama",
    "mistral": "mistral",
    "gemma2": "gemma-2",
    "gemma3": "gemma-3",
    "qwen2": "qwen-2",
    "qwen3": "qwen-3",
    "t5": "t5",
    "mt5": "mt5",
    "umt5": "umt5",
    "m2m100": "m2m100",
    "bart": "bart",
    "mbart": "mbart",
}
"""Names in the tests of writing -> the families that they are of; what other families write is untested."""
WRITTEN = ("CAUSAL_LM", "SEQ_2_SEQ_LM")
FUSION = "tests/families/test_fusion.py::test_a_batch_is_the_equation_for_each_row"
BEHIND = {
    "fusion": FUSION,
    "checkpointing": "tests/families/test_training.py::test_gradients_are_the_same_with_checkpointing",
    "nf4, int8": "tests/families/test_quantised.py::test_gradients_and_loss_with_and_without_checkpointing",
    "torch.compile": "tests/families/test_training.py::test_compiled_steps_are_the_same",
    "generate": "tests/laws/test_generation.py::test_with_the_cache_as_without_it",
}
"""The test behind a column's "yes"."""
YES, UNTESTED, NONE = "yes", "untested", "-"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    family: str
    task: Task
    cells: dict[str, str]


def table() -> list[Row]:
    """Return all rows."""
    return [Row(name, task, _cells(name, task)) for name, task in CELLS]


def _cells(name: str, task: Task) -> dict[str, str]:
    writes = task in WRITTEN
    cells = dict.fromkeys(COLUMNS, YES)
    cells["torch.compile"] = YES if (name, task) in COMPILED else UNTESTED
    cells["generate"] = NONE if not writes else YES if name in WRITERS.values() else UNTESTED
    return cells


def markdown() -> str:
    """Return the table as it stands in the page."""
    lines = ["| family | task | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in table():
        cells = " | ".join(row.cells[column] for column in COLUMNS)
        lines.append(f"| {NAMES[row.family]} | {TASKS[row.task]} | {cells} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page's text with this table between its marks."""
    start, end = "<!-- table: python tests/families/table.py -->\n", "\n<!-- end of table -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    assert rest, "docs/models.md has lost the marks around its table"
    assert after, "docs/models.md has lost the marks around its table"
    return before + start + markdown() + end + after


assert set(NAMES) == set(FAMILIES)

if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
