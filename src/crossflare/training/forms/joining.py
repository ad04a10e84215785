"""Two ways to give a model both texts: one sequence (input fusion), or a source drawn anew at each step.

One text by a head      the pair (source, target)
two texts by a head     the pair (source premise SEP source hypothesis, target premise SEP target hypothesis)
prompts and questions   in each field the source's text, a line break, the target's
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
    """The schedule of X-Mixup (Yang et al., ICLR 2022): probability p = k / (k + exp(step / k)) of the labelled text.

    Raises:
        UserError: k is not above 0.
    """

    k: float = 1000.0
    """Steps; the paper takes 1000 for classification and 2000 for questions."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k) and self.k > 0):
            raise UserError(f"annealed source: expected k above 0, got {self.k:g}")

    def probability(self, step: int) -> float:
        """Return p after so many optimizer steps."""
        return 1 / (1 + math.exp(min(step / self.k - math.log(self.k), 700.0)))

    def draws(self, step: int, rows: Tensor) -> Tensor:
        """Return which of some rows [B] read the labelled text in a step, [B] bool.

        It depends on seed, step and row alone: not on the batch's other rows, nor on what was drawn before.
        """
        chances = [np.random.default_rng([self.seed, step, row]).random() for row in rows.tolist()]
        return torch.tensor([chance < self.probability(step) for chance in chances], device=rows.device)

    def pick(self, batch: Batch, step: int) -> Batch:
        """Return a batch with one source for each row; one whose rows have no choice comes back as it is."""
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
    """Return what makes a pair of source and target, the texts of each with `separator` between them."""
    return lambda source, target: (separator.join(source), separator.join(target))


def by_field(source: Texts, target: Texts) -> Texts:
    """Return each text of the target under that of the source."""
    return tuple(map(LINE.join, zip(source, target, strict=True)))


def shift_of(example: Example) -> int:
    """Return how many code points `by_field` puts before a question's context."""
    return len(example.source[CONTEXT]) + len(LINE) if example.source else 0


def joined(example: Example, join: Join) -> Example:
    """Return an example that reads source and target in one, its spans where they now are; one without a source as is.

    Raises:
        UserError: The source has not as many texts as the target.
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
    """Another form, given source and target in one sequence.

    What does not fit is cut and counted as the form does it: of a pair the longer side, of a prompt's field the end,
    which is the target's; of a context nothing, there are windows.

    Args:
        inner: The form; it reads no sources, and has room for twice as much.
        join: How the texts are put together.
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
        """Let the model answer; of a span that begins in the source and ends in the target, the target's part."""
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
