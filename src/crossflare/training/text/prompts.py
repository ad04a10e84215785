"""Tasks as text: a prompt that ends where the answer begins, and the tokens of answers.

The prompts are the paper's: `Premise: .. Hypothesis: .. Label:`, the text and `Sentiment:`, `Context: .. Question: ..
Answer:`, one line for each field, the same in every language. Texts that are too long are cut before the
prompt is built, the longest first and at its end: the words that ask are never cut, and the answer plays no part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossflare.errors import UserError
from crossflare.libraries.threads import call_tokenizer
from crossflare.progress import bar
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import TextTask
from crossflare.training.text.encoded import Latents, Numbers

CHUNK = 1000
"""The number of texts given to the tokenizer at once."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """The lines of a prompt."""

    fields: tuple[tuple[str, int], ...]
    """The word before each text (may be empty), and the text's index in `Example.texts`."""
    answer: str
    """The word before the answer."""


def template_of(task: Task) -> PromptTemplate:
    """Return the prompt of a task."""
    if not isinstance(task, TextTask):
        return PromptTemplate((("Context: ", 1), ("Question: ", 0)), "Answer:")
    if task.text_count == 2:
        return PromptTemplate((("Premise: ", 0), ("Hypothesis: ", 1)), "Label:")
    return PromptTemplate((("", 0),), "Sentiment:" if task.name == "nusax" else "Label:")


def begin_of(tokenizer: Any) -> list[int]:
    """Return the tokens that a tokenizer puts before a text, such as its start token."""
    plain = call_tokenizer(tokenizer, "a", add_special_tokens=False).input_ids
    whole = call_tokenizer(tokenizer, "a").input_ids
    start = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
    return whole[:start]


class PromptRow(NamedTuple):
    """One tokenised example."""

    position: int
    """Its index in `PromptRows`."""
    prompt: Numbers
    """The tokens of the prompt [T]."""
    source: Numbers | None
    """The tokens of the source prompt [S]."""
    answer: Numbers | None
    """The tokens of the answer [A], including the end token; None: the answer is not known."""
    label: int | None
    latents: Any
    mirror: "PromptRow | None" = None
    """The row whose prompt is this one's source, or this one's again; its answer is in the source's language."""


class PromptRows(Sequence[PromptRow]):
    """N tokenised examples, a data set for a `DataLoader`."""

    def __init__(
        self,
        names: Sequence[str],
        prompts: Sequence[Numbers],
        sources: Sequence[Numbers | None],
        answers: Sequence[Numbers | None],
        labels: Sequence[int | None],
        latents: Latents | None,
    ) -> None:
        self.names, self.labels = tuple(names), tuple(labels)
        self._columns = (prompts, sources, answers)
        self._latents = latents
        self.mirror: PromptRows | None = None
        """The rows that `PromptRow.mirror` is taken from; None: no row has one."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> PromptRow:  # type: ignore[override]  # one row at a time, never a slice
        prompts, sources, answers = self._columns
        latents = None if self._latents is None else self._latents[index]
        mirror = None if self.mirror is None else self.mirror[index]
        return PromptRow(index, prompts[index], sources[index], answers[index], self.labels[index], latents, mirror)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each row [N]: prompt, source and answer together."""
        parts = zip(*self._columns, strict=True)
        return np.array([sum(0 if part is None else len(part) for part in row) for row in parts], dtype=np.int64)


class Prompter:
    """A writer of prompts and answers as tokens.

    Args:
        tokenizer: The model's tokenizer.
        template: The prompt's template.
        max_length: The most tokens of a prompt.
        ends: Whether a prompt ends with the end token, as an encoder's input does; a decoder continues the prompt.

    Raises:
        UserError: The prompt's own words leave no room for text, or the tokenizer has no end token.
    """

    def __init__(self, tokenizer: Any, template: PromptTemplate, max_length: int, *, ends: bool) -> None:
        if tokenizer.eos_token_id is None:
            raise UserError("the tokenizer has no end token (eos_token), so a model could never end its answer; set it")
        self.tokenizer, self.template = tokenizer, template
        self.begin = begin_of(tokenizer)
        self.end = [tokenizer.eos_token_id] if ends else []
        self.words = [self._ids([word])[0] if word else [] for word, _ in template.fields]
        self.line = self._ids(["\n"])[0]
        self.stem = self._ids([template.answer])[0]
        fixed = [self.begin, *self.words, self.line * len(self.words), self.stem, self.end]
        self.room = max_length - sum(map(len, fixed))
        if self.room < len(self.words):
            raise UserError(f"max_length {max_length} leaves no room for text beside the prompt's own words; raise it")

    def prompts(self, texts: Sequence[tuple[str, ...] | None], description: str) -> tuple[list[Numbers | None], int]:
        """Return each example's prompt [T] (None without texts), and how many prompts were cut."""
        made: list[Numbers | None] = []
        cut = 0
        with bar(description, len(texts)) as done:
            for begin in range(0, len(texts), CHUNK):
                chunk = texts[begin : begin + CHUNK]
                flat = iter(self._ids([text for given in chunk if given is not None for text in given]))
                for given in chunk:
                    if given is None:
                        made.append(None)
                        continue
                    own = [next(flat) for _ in given]
                    kept = fit_texts([len(ids) for ids in own], self.room)
                    cut += sum(kept) < sum(map(len, own))
                    made.append(self._join([ids[:length] for ids, length in zip(own, kept, strict=True)]))
                done(len(chunk))
        return made, cut

    def count_cut(self, examples: Sequence[Example]) -> dict[str, int]:
        """Return how many targets and how many sources are cut."""
        _, target = self.prompts([e.texts for e in examples], "measuring target texts")
        _, source = self.prompts([e.source or None for e in examples], "measuring source texts")
        return {"target": target, "source": source}

    def _join(self, texts: Sequence[list[int]]) -> Numbers:
        ids = [*self.begin]
        for word, (_, place) in zip(self.words, self.template.fields, strict=True):
            ids += [*word, *texts[place], *self.line]
        return np.array([*ids, *self.stem, *self.end], dtype=np.int32)

    def answer(self, text: str) -> Numbers:
        """Return the tokens [A] of an answer that continues the prompt, and the end token."""
        whole = self._ids([f"{self.template.answer} {text}"])[0]
        goes_on = whole[: len(self.stem)] == self.stem and len(whole) > len(self.stem)
        ids = whole[len(self.stem) :] if goes_on else self._ids([text])[0]
        return np.array([*ids, self.tokenizer.eos_token_id], dtype=np.int32)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        out = call_tokenizer(
            self.tokenizer, texts, add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return out["input_ids"]


def fit_texts(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens of each text to keep so that all fit in `room`: the longest texts lose first, evenly."""
    kept = list(lengths)
    spare, open_texts = room, sorted(range(len(kept)), key=lambda i: kept[i])
    while open_texts:
        share = spare // len(open_texts)
        shortest = open_texts.pop(0)
        kept[shortest] = min(kept[shortest], share)
        spare -= kept[shortest]
    return kept


def encode_prompts(
    prompter: Prompter,
    examples: Sequence[Example],
    answers: Sequence[str | None],
    *,
    with_source: bool,
    latents: Latents | None = None,
) -> PromptRows:
    """Tokenise every example once; see `Prompter`.

    Raises:
        UserError: An example has no text.
    """
    check_filled(examples)
    prompts, _ = prompter.prompts([example.texts for example in examples], "tokenising")
    none: list[Numbers | None] = [None] * len(examples)
    sources = none
    if with_source and any(example.source for example in examples):
        sources, _ = prompter.prompts([example.source or None for example in examples], "tokenising sources")
    whole = [prompt for prompt in prompts if prompt is not None]  # each of them has texts
    known = [None if answer is None else prompter.answer(answer) for answer in answers]
    return PromptRows([e.id for e in examples], whole, sources, known, [e.label for e in examples], latents)


def check_filled(examples: Iterable[Example]) -> None:
    """Raise `UserError` for an example without any text: there is nothing to answer."""
    for example in examples:
        if not any(text.strip() for text in example.texts):
            where = f"{example.origin}: " if example.origin else ""
            raise UserError(f"{where}example '{example.id}' has no text; give it some or drop the row")
