"""The form in which a model does a task: the task, the recipe and the model decide it."""

from collections.abc import Mapping
from typing import Any

from crossflare.errors import UserError
from crossflare.fusion.identity import GATE
from crossflare.recipe.kinds import Mixes
from crossflare.recipe.spec import Training
from crossflare.recipe.task import Answering, Long
from crossflare.tasks.dataset import Task
from crossflare.tasks.kinds import QuestionTask
from crossflare.training.forms.answering import SpanForm, TextForm
from crossflare.training.forms.choosing import HeadForm, WordForm
from crossflare.training.forms.filter import is_prepared, prepare_filter
from crossflare.training.forms.joining import Annealing, JoinedForm, as_pair, by_field
from crossflare.training.forms.mixable import POST_NORM
from crossflare.training.forms.mixing import prepare_mixing
from crossflare.training.forms.protocol import Form, FormName
from crossflare.training.forms.xmixup import XMixupForm, XMixupSpanForm
from crossflare.training.forms.xmixup_writing import XMixupTextForm, XMixupWordForm


def form_name(task: Task, answering: Answering) -> FormName:
    """Return the name of a task's form."""
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
    annealing: Annealing | None = None,
    padded: bool = False,
    long: Long = "cut",
    stride: int = Training.stride,
    answer_tokens: int = Training.answer_tokens,
    words: dict[str, str] | None = None,
) -> Form:
    """Return the form in which a model does a task.

    Args:
        task: The task.
        answering: By a head, or in words.
        model: A transformers or peft model with such a head, or one that writes.
        tokenizer: Its tokenizer.
        max_length: The most tokens of a side: a text or pair, a window of a long context, or a prompt.
        with_source: Also give the model `Example.source`: a FLARE model, or one that is prepared for `mixes`.
        joined: Put source and target in one sequence of twice `max_length` (input fusion); any model can read it.
        mixes: The way of mixing that `prepare_mixing` or `prepare_filter` prepared the base for.
        annealing: In training, choose between `Example.clean_source` and `Example.source`; only with a head for labels.
        padded: Make every batch as wide as the longest possible text, on both sides, as the authors' released code
            does; not for spans.
        long: How a text longer than `max_length` is read; `windows` only with a head for labels, and not `joined`.
        stride: The number of tokens that a window of a long context or text repeats from the one before.
        answer_tokens: The most tokens of an answer.
        words: Label -> the word that stands for it, if it is not the label itself.

    Raises:
        UserError: The tokenizer or the model does not suit this form, or the options contradict each other.
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
    if long == "windows" and (joined or form != "labels" or task.text_count != 1):
        raise UserError("long: windows is for single texts and a head with labels, got another task; set long: cut")
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
        texts = XMixupTextForm if mixes == "published" else TextForm
        return texts(task, model, tokenizer, max_length, answer_tokens, with_source=with_source, padded=padded)
    if answering == "head":
        labels = XMixupForm if mixes == "published" else HeadForm
        repeated = stride if long == "windows" else None
        return labels(
            task, tokenizer, max_length, with_source=with_source, annealing=annealing, padded=padded, stride=repeated
        )
    chosen = XMixupWordForm if mixes == "published" else WordForm
    return chosen(task, model, tokenizer, max_length, words or {}, with_source=with_source, padded=padded)


def _check_prepared(model: Any, mixes: Mixes, form: FormName, *, joined: bool) -> None:
    """Refuse forms that cannot mix, and a model that is not prepared: the source would be an unknown argument."""
    name, ready = ("FILTER", is_prepared(model)) if mixes == "filter" else ("X-Mixup", hasattr(model, GATE))
    head = form in ("labels", "span")
    if joined or (mixes == "filter" and not head):
        raise UserError(f"{name} is for a head over a text beside its source; set form: head, and join no texts")
    if not ready:
        raise UserError(f"{name}: the model has no part that mixes; call prepare on the base before its adapters")
    if mixes == "published" and head and model.config.model_type not in POST_NORM:
        raise UserError(
            f"X-Mixup as published compares the first token's states of an encoder, and {model.config.model_type} is "
            "none; set form: text, or take kind xmixup-lora, the block alone"
        )


def _separator(tokenizer: Any) -> str:
    separator = tokenizer.sep_token or tokenizer.eos_token
    if separator is None:
        raise UserError("the tokenizer has neither a separator nor an end token to put between joined texts; set one")
    return separator


MIXUP_OF_24 = 15
"""The block in which X-Mixup's authors mix for questions, out of XLM-R Large's 24."""


def prepare(model: Any, mixes: Mixes, mixing: Mapping[str, int | None], *, asks: bool) -> Any:
    """Return a base model that mixes source and target as a kind of method needs; call it before adapters are added.

    Args:
        model: The base, with or without stage 1 merged.
        mixes: See `kinds.Kind`.
        mixing: The method's `mix_block` and `mix_blocks`; a missing one is as released.
        asks: Whether the task is to answer questions.
    """
    block, blocks = mixing.get("mix_block"), mixing.get("mix_blocks")
    if mixes == "filter":
        return prepare_filter(model, block, blocks)
    if mixes == "none":
        return model
    if block is None:
        block = round(MIXUP_OF_24 / 24 * model.config.num_hidden_layers) if asks else 0
    return prepare_mixing(model, block)
