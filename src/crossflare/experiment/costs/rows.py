"""How many rows a recipe's parts have, and how long they are: known for the paper's sets, counted for any other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crossflare.experiment.steps.context import Context
from crossflare.tasks.example import Split

CHARACTERS = 3.5
"""The characters of a token, where rows are counted instead of known. Assumed."""
SAMPLE = 400
"""The most rows of a part whose length is counted."""


@dataclass(frozen=True, slots=True)
class KnownRows:
    """The rows of a named set, and their mean length in tokens of XLM-R's tokenizer."""

    train: int
    dev: int
    test: Mapping[str, int] | int
    """Rows of each language, or of every language."""
    source_tokens: float
    """Of a row in English, all its texts."""
    target_tokens: float
    """Of a row in the other languages, on average."""
    texts: int
    """Texts of a row that are translated."""


KNOWN_ROWS = {
    "nusax": KnownRows(500, 100, 400, 42, 46, 1),
    "xnli": KnownRows(392_702, 2490, 5010, 45, 47, 2),
    "tydiqa": KnownRows(
        3696, 0, {"ar": 921, "bn": 113, "fi": 782, "id": 565, "ko": 276, "ru": 812, "sw": 499, "te": 669}, 159, 150, 2
    ),
}
"""Set -> its rows as released. Lengths: means over the training rows, and over the languages that were at hand."""


class RowCounts:
    """The rows of one recipe."""

    def __init__(self, context: Context) -> None:
        self._context, self._task = context, context.spec.task
        self.known = KNOWN_ROWS.get(self._task.set or "")
        self._means: dict[tuple[str, str], tuple[int, float]] = {}

    def rows(self, language: str, part: str) -> int:
        """Return how many rows a part has, as many as the recipe takes.

        Raises:
            UserError: The set is not known here, and its rows are not at hand.
        """
        known, cut = self.known, self._task.dev_from_train or 0
        if known is None:
            return self._counted(language, part)[0]
        test = known.test if isinstance(known.test, int) else known.test.get(language, 0)
        found = {"train": known.train - cut, "dev": cut or known.dev, "test": test}[part]
        limit = getattr(self._task.limit, part)
        return found if limit is None else min(found, limit)

    def tokens(self, language: str) -> float:
        """Return the mean length of a row in a language, in tokens."""
        source = self._context.spec.source
        if self.known is None:
            part = "train" if language == source else "test"
            return self._counted(language, part)[1]
        return self.known.source_tokens if language == source else self.known.target_tokens

    @property
    def texts(self) -> int:
        """The texts of a row."""
        return self.known.texts if self.known else self._context.data.task.text_count

    def _counted(self, language: str, part: str) -> tuple[int, float]:
        key = (language, part)
        if key not in self._means:
            self._means[key] = _mean(self._context.data.rows, language, part)
        return self._means[key]


def _mean(rows: Callable[[str, str], Split], language: str, part: str) -> tuple[int, float]:
    split = rows(language, part)
    some = split.examples[:SAMPLE]
    letters = sum(len(text) for example in some for text in example.texts)
    return len(split), letters / CHARACTERS / max(1, len(some))
