"""How a task is put to a model, and its answer read: the one thing in which tasks and families differ in training.

labels   a classification head                       any family
words    the label's word follows the prompt         models that write
span     start and end of a span of the context      any family, by a question-answering head
text     the answer follows the prompt               models that write
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossflare.errors import UserError
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.questions import QuestionTask
from crossflare.training.encoded import Latents
from crossflare.training.precision import Number
from crossflare.training.trainer import Batch, Rows

if TYPE_CHECKING:
    from crossflare.training.annealing import Annealing

FormName = Literal["labels", "words", "span", "text"]
Answering = Literal["head", "text"]
"""What a recipe says: by a new head, or in the model's own words."""
Mixes = Literal["none", "published", "plain", "filter"]
"""How a model that is no FLARE model reads a source: not at all; by X-Mixup's block, with its authors' losses and
prediction or without; by FILTER's joint blocks."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a model says of N examples with K labels each, in float32 on the CPU."""

    fused: Tensor
    """[N,K] logits."""
    source: Tensor
    """[N,K] the base model's own for the source; NaN in rows that have none."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says to N questions."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    """How sure it is, higher is surer; comparable between the answers of one model only."""
    positions: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    """Predicted and labelled token positions [N,2] in each first window, for the released code's measure; None for
    written answers and unlabelled questions."""
    spans: tuple[tuple[int, int], ...] | None = None
    """Code points of the context before each answer's begin and before its end; None for written answers."""


Said = Choices | Answers


class Form(Protocol):
    """One way of putting a task to a model."""

    labels: int
    """K labels to choose from; 0 for questions."""
    longest: int
    """Most tokens that a model meets in one row."""

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> Rows:
        """Tokenise examples, their answers too where they are known.

        Args:
            examples: N examples of the task.
            latents: For FLARE MT, the states of a translation encoder.
        """
        ...

    def collate(self, rows: Sequence[Any], /) -> Batch:
        """Return rows as a batch, labelled where all are."""
        ...

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean loss over the rows of a batch, computed in float32 whatever the model computes in.

        Args:
            model: The model.
            batch: What `collate` made; it is used up.
            step: Optimizer steps made so far.
        """
        ...

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Said:
        """Let the model answer; `rows` are the examples encoded."""
        ...

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Return how many targets and sources are longer than the model is given."""
        ...


def form_name(task: Task, answering: Answering) -> FormName:
    """Return the form of a task."""
    if isinstance(task, QuestionTask):
        return "span" if answering == "head" else "text"
    return "labels" if answering == "head" else "words"


def make_form(
    task: Task,
    answering: Answering,
    model: Any,
    tokenizer: Any,
    max_length: int,
    *,
    with_source: bool,
    joined: bool = False,
    mixes: Mixes = "none",
    annealing: "Annealing | None" = None,
    padded: bool = False,
    stride: int = 128,
    answer_tokens: int = 30,
    words: dict[str, str] | None = None,
) -> Form:
    """Return the form in which a model does a task.

    Args:
        task: The task.
        answering: By a head, or in words.
        model: A transformers or peft model of that kind.
        tokenizer: Its tokenizer.
        max_length: Tokens of a side: a text or pair, a window of a long context, a prompt.
        with_source: Give the model `Example.source` too: a FLARE model, or one prepared for what it `mixes`.
        joined: Put source and target in one sequence, of twice `max_length` (input fusion); any model reads that.
        mixes: What the base was prepared for by `xmixup.mixing.prepare` or `filter.prepare`; by a head alone.
        annealing: In training, choose between `Example.clean_source` and `Example.source`; by a head with labels alone.
        padded: Every batch is as wide as the longest text may be, on both sides, as in the authors' released code; not
            for spans.
        stride: Tokens that a window of a long context repeats of the one before.
        answer_tokens: Most tokens of an answer.
        words: Label -> the word that stands for it, where that is not the label itself.

    Raises:
        UserError: The tokenizer or the model cannot do it.
    """
    form = form_name(task, answering)
    if annealing is not None and (joined or form != "labels"):
        got = "joined texts" if joined else {"words": "labels in words", "span": "spans", "text": "text"}[form]
        raise UserError(
            f"an annealed source is for labels by a head with a source of its own, got {got}; train on the original "
            "or the machine's source"
        )
    if padded and form == "span":
        raise UserError("batches of one width are for labels and written answers, got spans; set form: text")
    if mixes != "none":
        _check_prepared(model, mixes, form, joined=joined)
    from crossflare.training.answering import SpanForm, TextForm
    from crossflare.training.choosing import HeadForm, WordForm
    from crossflare.training.joining import JoinedForm, as_pair, by_field
    from crossflare.training.xmixup.form import XMixupForm, XMixupSpanForm

    if joined:
        inner = make_form(
            task,
            answering,
            model,
            tokenizer,
            2 * max_length,
            with_source=False,
            stride=2 * stride,
            answer_tokens=answer_tokens,
            words=words,
        )
        join = as_pair(_separator(tokenizer)) if form == "labels" else by_field
        return JoinedForm(inner, join) if with_source else inner
    if isinstance(task, QuestionTask):
        if answering == "head":
            spans = XMixupSpanForm if mixes == "published" else SpanForm
            return spans(tokenizer, max_length, stride, answer_tokens, with_source=with_source)
        return TextForm(task, model, tokenizer, max_length, answer_tokens, with_source=with_source, padded=padded)
    if answering == "head":
        labels = XMixupForm if mixes == "published" else HeadForm
        return labels(task, tokenizer, max_length, with_source=with_source, annealing=annealing, padded=padded)
    return WordForm(task, model, tokenizer, max_length, words or {}, with_source=with_source, padded=padded)


def _check_prepared(model: Any, mixes: Mixes, form: FormName, *, joined: bool) -> None:
    """Refuse what cannot mix, and a model that would take the source for an unknown argument."""
    from crossflare.training.filter import is_prepared
    from crossflare.training.xmixup.mixing import GATE

    name, ready = ("FILTER", is_prepared(model)) if mixes == "filter" else ("X-Mixup", hasattr(model, GATE))
    if joined or form not in ("labels", "span"):
        raise UserError(f"{name} is for a head over a text beside its source; set form: head, and join no texts")
    if not ready:
        raise UserError(f"{name}: the model has no part that mixes; call prepare on the base before its adapters")


def _separator(tokenizer: Any) -> str:
    separator = tokenizer.sep_token or tokenizer.eos_token
    if separator is None:
        raise UserError("the tokenizer has neither a separator nor an end token to put between joined texts; set one")
    return separator
