"""How a prompted model answers the rows of a recipe: prompts from a template, and outputs from what it said."""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from crossflare import devices
from crossflare.evaluation.metrics import NO_LABEL
from crossflare.experiment.prompting.asking import Ask, Pairs, answered, ask_endpoint
from crossflare.experiment.prompting.likelihood import after_prompt, check_words, word_scores
from crossflare.experiment.prompting.parsing import parse_label
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.outside import (
    endpoint_of,
    label_words,
    prompt_template,
    prompted_model,
    prompted_spec,
    shown_rows,
)
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.recipe.engines import model_place
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.templates import fields_of, filled
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask
from crossflare.training.bases.load import load_base, place_of
from crossflare.training.forms.answering import TextForm
from crossflare.training.forms.protocol import Answers, Choices, Outputs, average
from crossflare.training.loop.memory import Number, resolve
from crossflare.training.text.prompts import PromptRows, begin_of, fit_texts
from crossflare.training.train import check_length

CHUNK = 128
"""How many prompts a model on this machine answers before the answers are kept."""
UNLIMITED = 1 << 20
_NAN = float("nan")


@dataclass
class Prompted:
    """A model that answers the rows of one step."""

    step: PredictionStep
    unparsed: int = 0
    """How many of the last answers name no label, or are empty."""
    cut: int = 0
    """How many of the last rows were cut."""
    said: tuple[str, ...] = ()
    """The names by which a server called the model."""

    @property
    def method(self) -> MethodSpec:
        """The method."""
        return self.step.method

    @property
    def context(self) -> Context:
        """The recipe."""
        return self.step.context

    @cached_property
    def local(self) -> "HereModel | None":
        """The model on this machine; None: an endpoint is asked."""
        return None if self.method.endpoint is not None else HereModel(self.context, self.method)

    def read(self, rows: Sequence[Example]) -> Outputs:
        """Ask for the answers to rows; those that were asked before are read from the disk.

        Raises:
            UserError: Nobody answers, or a prompt is too long for the model.
        """
        said = [json.loads(each) for each in answered(self._folder, self._about, self._prompts(rows), self._ask)]
        if self.context.spec.task.asks:
            texts = [str(each if self.local else each["text"]).strip() for each in said]
            outputs: Outputs = Answers(tuple(text.partition("\n")[0].strip() for text in texts), (_NAN,) * len(texts))
            self.unparsed = sum(not text for text in outputs.texts)
        elif self.local is not None:
            outputs = Choices(average(np.array(said, dtype=np.float64)), None)
        else:
            words = label_words(self.context, self.method)
            labels = np.array([parse_label(each["text"], words) for each in said], dtype=np.int64)
            self.unparsed = int((labels == NO_LABEL).sum())
            outputs = Choices(np.zeros((len(labels), 0)), None, labels=labels)
        if self.local is None:
            self.said = tuple(sorted({each["model"] for each in said} - {""}))
        return outputs

    @property
    def _folder(self) -> Any:
        return self.context.shared / "answers"

    @property
    def _about(self) -> dict[str, Any]:
        training = self.context.spec.stage2
        about = {**prompted_model(self.context, self.method), "tokens": training.answer_tokens}
        if self.local is None:
            return about
        words = [] if self.context.spec.task.asks else label_words(self.context, self.method)
        return {**about, "words": words, "precision": self.local.precision}

    @cached_property
    def _ask(self) -> Ask:
        if self.local is not None:
            return self.local.ask
        return ask_endpoint(endpoint_of(self.method), self.context.spec.stage2.answer_tokens, self.method.at_once)

    def _prompts(self, rows: Sequence[Example]) -> list[str]:
        """Return the prompt of each row, after the labelled rows that are shown."""
        context, method = self.context, self.method
        asks = context.spec.task.asks
        fields, words = fields_of(asks, context.data.task.text_count), label_words(context, method)
        template = prompt_template(context, method)
        reads = self.step.test_source != "none"
        self.cut = 0

        def prompt(texts: Sequence[str]) -> str:
            return filled(template, fields, texts, words)

        def fitting(texts: tuple[str, ...]) -> tuple[str, ...]:
            return texts if self.local is None else self.local.fitted(texts)

        shown = [
            after_prompt(prompt(fitting(e.texts)), e.answers[0].text if asks else words[e.label or 0])
            for e in shown_rows(context, method, self.step.seed)
        ]
        made: list[str] = []
        for example in rows:
            texts = example.source if reads and example.source else example.texts
            kept = fitting(texts)
            self.cut += kept != texts
            made.append("\n\n".join([*shown, prompt(kept)]))
        return made


class HereModel:
    """A decoder-only model on this machine; its weights are loaded when it is first asked."""

    def __init__(self, context: Context, method: MethodSpec) -> None:
        self.context, self.spec = context, prompted_spec(context, method)
        self.words = [] if context.spec.task.asks else label_words(context, method)
        self.place = model_place(self.spec.name)
        self.precision: Number = resolve(context.spec.stage2.precision, devices.best_device())

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return AutoTokenizer.from_pretrained(
            place_of(self.place, self.spec.revision), revision=self.spec.revision, trust_remote_code=False
        )

    @cached_property
    def base(self) -> Any:
        """The model with its tokenizer, on the device that it runs on."""
        loaded = load_base(
            self.place,
            self.context.data.task,
            "text",
            revision=self.spec.revision,
            seed=0,
            called=self.spec.name,
            quantise=self.spec.quantise,
        )
        devices.to_device(loaded.model)
        return loaded

    def fitted(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Return a row's texts, cut to the recipe's `max_length` tokens, the longest first and at its end."""
        found = [self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids for text in texts]
        kept = fit_texts([len(ids) for ids in found], self.context.spec.stage2.max_length)
        return tuple(
            text if length == len(ids) else self.tokenizer.decode(ids[:length])
            for text, ids, length in zip(texts, found, kept, strict=True)
        )

    def ask(self, prompts: Sequence[str]) -> Iterator[Pairs]:
        """Answer prompts: with the likelihood of each label's word, or with a text."""
        if self.words:
            sizes = check_words(self.base.tokenizer, self.words, self.context.data.task.labels)
            long = [f"'{word}' ({size})" for word, size in zip(self.words, sizes, strict=True) if size > 1]
            if long:
                warnings.warn(
                    f"label words of more than one token: {', '.join(long)}; each counts by the sum of the "
                    "log-probabilities of all of its tokens",
                    stacklevel=2,
                )
        make: Callable[[Sequence[str]], list[Any]] = self._scores if self.words else self._texts
        for begin in range(0, len(prompts), CHUNK):
            chunk = prompts[begin : begin + CHUNK]
            self._check_lengths(chunk)
            yield [(prompt, json.dumps(answer)) for prompt, answer in zip(chunk, make(chunk), strict=True)]

    def _scores(self, prompts: Sequence[str]) -> list[Any]:
        size, base = self.context.spec.stage2.batch_size, self.base
        return word_scores(base.model, base.tokenizer, prompts, self.words, size, self.precision).tolist()

    def _texts(self, prompts: Sequence[str]) -> list[Any]:
        training, base, task = self.context.spec.stage2, self.base, self.context.data.task
        assert isinstance(task, QuestionTask), "labels have words"
        form = TextForm(task, base.model, base.tokenizer, UNLIMITED, training.answer_tokens, with_source=False)
        ids = [np.array(each, dtype=np.int32) for each in self._tokens(prompts)]
        none: list[Any] = [None] * len(ids)
        rows = PromptRows([str(number) for number in range(len(ids))], ids, none, none, none, None)
        return list(form.read(base.model, [], rows, training.batch_size, self.precision, "writing").texts)

    def _tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        begin = begin_of(self.tokenizer)
        found = self.tokenizer(list(prompts), add_special_tokens=False, verbose=False).input_ids
        return [[*begin, *ids] for ids in found]

    def _check_lengths(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that the model has no positions for: nothing of an example may be lost."""
        longest = max(map(len, self._tokens(prompts)))
        if self.words:
            more = max(check_words(self.tokenizer, self.words, self.context.data.task.labels))
        else:
            more = self.context.spec.stage2.answer_tokens
        check_length(self.base.model, self.base.tokenizer, longest + more)


def check_prompt(context: Context, method: MethodSpec, model: Any, tokenizer: Any) -> None:
    """Refuse a model, given without its weights, that a method cannot ask; the longest prompts count.

    Raises:
        UserError: Words cannot be told apart, or the longest prompt has more tokens than the model reads.
    """
    task, training = context.data.task, context.spec.stage2
    words = label_words(context, method)
    more = max(check_words(tokenizer, words, task.labels)) if words else training.answer_tokens
    fields = fields_of(context.spec.task.asks, task.text_count)
    frame = filled(prompt_template(context, method), fields, [""] * len(fields), words)
    one = len(tokenizer(frame + "\n\n", add_special_tokens=False).input_ids) + training.max_length + more
    check_length(model, tokenizer, one * (method.shots + 1))
