"""Two ways to give a model both texts: in one sequence (input fusion), or with a source drawn again at each step.

One text by a head      the pair (source, target)
two texts by a head     the pair (source premise SEP source hypothesis, target premise SEP target hypothesis)
prompts and questions   in each field, the source's text, a line break, the target's text
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import CONTEXT
from crossflare.training.forms.protocol import Answers, Form, Outputs
from crossflare.training.loop.memory import Number
from crossflare.training.loop.state import Batch, Rows
from crossflare.training.text.collators import CLEAN, CLEAN_ROWS
from crossflare.training.text.encoded import Latents


@dataclass(frozen=True, slots=True)
class Annealing:
    """X-Mixup's schedule (Yang et al., ICLR 2022): the labelled text has the probability p = k / (k + exp(step / k)).

    Raises:
        UserError: `k` is not above 0.
    """

    k: float = 1000.0
    """k in steps; the paper takes 1000 for classification and 2000 for questions."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k) and self.k > 0):
            raise UserError(f"annealed source: expected k above 0, got {self.k:g}")

    def probability(self, step: int) -> float:
        """Return p after `step` optimizer steps."""
        return 1 / (1 + math.exp(min(step / self.k - math.log(self.k), 700.0)))

    def draws(self, step: int, rows: Tensor) -> Tensor:
        """Return which rows of `rows` [B] read the labelled text in a step, [B] bool.

        The draw depends only on seed, step and row, not on the batch's other rows or earlier draws.
        """
        chances = [np.random.default_rng([self.seed, step, row]).random() for row in rows.tolist()]
        return torch.tensor([chance < self.probability(step) for chance in chances], device=rows.device)

    def pick(self, batch: Batch, step: int) -> Batch:
        """Return a batch with one source for each row; a batch whose rows have no choice is returned unchanged."""
        if CLEAN_ROWS not in batch:
            return batch
        clean = self.draws(step, batch[CLEAN_ROWS])[:, None]
        rest = machine_made(batch)
        return {n: torch.where(clean, batch[CLEAN + n], t) if CLEAN + n in batch else t for n, t in rest.items()}


def machine_made(batch: Batch) -> Batch:
    """Return a batch whose rows read `source`, as they do at test time."""
    return {name: tensor for name, tensor in batch.items() if not name.startswith(CLEAN)}


Texts = tuple[str, ...]
Join = Callable[[Texts, Texts], Texts]
"""(source, target) -> the texts of one sequence."""
LINE = "\n"


def as_pair(separator: str) -> Join:
    """Return a function that makes the pair (source, target), the texts of each joined by `separator`."""
    return lambda source, target: (separator.join(source), separator.join(target))


def by_field(source: Texts, target: Texts) -> Texts:
    """Return each text of the target on the line after the source's text."""
    return tuple(map(LINE.join, zip(source, target, strict=True)))


def shift_of(example: Example) -> int:
    """Return how many code points `by_field` puts before a question's context."""
    return len(example.source[CONTEXT]) + len(LINE) if example.source else 0


def joined(example: Example, join: Join) -> Example:
    """Return an example with source and target joined and its spans shifted; without a source, only its own texts.

    Raises:
        UserError: Source and target have different numbers of texts.
    """
    if not example.source:
        return replace(example, source=None)
    if len(example.source) != len(example.texts):
        raise UserError(
            f"{example.origin or example.id}: expected as many source texts as texts, {len(example.texts)}, got "
            f"{len(example.source)}; correct the row"
        )
    shift = shift_of(example) if example.answers else 0
    answers = tuple(a if a.start is None else replace(a, start=a.start + shift) for a in example.answers)
    return replace(example, texts=join(example.source, example.texts), source=None, answers=answers)


class JoinedForm:
    """Another form with source and target in one sequence.

    The inner form cuts and counts what does not fit: in a pair the longer side, in a prompt's field the end, which
    belongs to the target. A context is not cut: it is read in windows.

    Args:
        inner: The form; it reads no sources, and has room for twice as many tokens.
        join: The function that joins the texts.
    """

    def __init__(self, inner: Form, join: Join) -> None:
        self.inner, self.join = inner, join
        self.labels, self.longest = inner.labels, inner.longest

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> Rows:
        """Tokenise the joined examples; see `Form`."""
        return self.inner.encode(self._joined(examples), latents)

    def collate(self, rows: Sequence[Any], /) -> Batch:
        """See `Form`."""
        return self.inner.collate(rows)

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Any:
        """See `Form`."""
        return self.inner.loss(model, batch, step)

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Outputs:
        """Return the model's answers; a span from the source into the target is cut to the target's part."""
        said = self.inner.read(model, self._joined(examples), rows, batch_size, precision, description)
        if not isinstance(said, Answers) or said.spans is None:
            return said
        texts = map(_of_target, examples, said.texts, said.spans)
        return replace(said, texts=tuple(texts), spans=None)

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Count the joined texts that are cut."""
        return self.inner.truncated(self._joined(examples))

    def _joined(self, examples: Sequence[Example]) -> list[Example]:
        return [joined(example, self.join) for example in examples]


def _of_target(example: Example, text: str, span: tuple[int, int]) -> str:
    begin, end = (place - shift_of(example) for place in span)
    return example.texts[CONTEXT][:end].strip() if begin < 0 < end else text
