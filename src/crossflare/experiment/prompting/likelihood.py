"""The likelihood of words after a prompt: the sum of the log-probabilities of all of a word's tokens.

The sum is not divided by the number of tokens, and no end token is part of it. Shapes: N prompts, K words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray
from crossflare.libraries.transformers import takes
from crossflare.training.loop.batching import batches
from crossflare.training.loop.memory import Number
from crossflare.training.loop.state import Batch
from crossflare.training.text.prompts import begin_of

Tokens = tuple[int, ...]


def after_prompt(prompt: str, answer: str) -> str:
    """Return a prompt with an answer after it, and a blank between them unless the prompt ends with one."""
    return f"{prompt}{'' if prompt[-1:].isspace() else ' '}{answer}"


def with_words(tokenizer: Any, prompt: str, words: Sequence[str]) -> tuple[int, list[Tokens]]:
    """Return the tokens of a prompt with each of K words, and how many of the first tokens all of them share.

    A tokenizer may join the end of the prompt with the word. So the tokens that are counted begin where the K texts
    and the prompt alone first differ: what they share is as likely for all words.
    """
    begin = begin_of(tokenizer)
    texts = [prompt, *(after_prompt(prompt, word) for word in words)]
    found = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    whole = [(*begin, *ids) for ids in found]
    shared = next(
        (place for place, tokens in enumerate(zip(*whole, strict=False)) if len(set(tokens)) > 1), min(map(len, whole))
    )
    return max(shared, 1), whole[1:]


def check_words(tokenizer: Any, words: Sequence[str], labels: Sequence[str]) -> list[int]:
    """Return how many tokens each label's word has after a prompt.

    Raises:
        UserError: A word's tokens begin another word's, which could then never be the more likely one.
    """
    start, whole = with_words(tokenizer, "Answer:", words)
    ends = [tokens[start:] for tokens in whole]
    for one, end in enumerate(ends):
        for other, longer in enumerate(ends):
            if one != other and longer[: len(end)] == end:
                raise UserError(
                    f"the words '{words[one]}' ({labels[one]}) and '{words[other]}' ({labels[other]}) have the same "
                    "first tokens, so that the longer one could never be more likely; give other words"
                )
    return [len(end) for end in ends]


@dataclass(frozen=True)
class _Sequences:
    """Token sequences that a model reads, a data set for `batches`."""

    tokens: Sequence[Tokens]

    @property
    def names(self) -> Sequence[str]:
        return [str(number) for number in range(len(self.tokens))]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> Tokens:
        return self.tokens[index]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.array([len(each) for each in self.tokens], dtype=np.int64)


def word_scores(
    model: Any, tokenizer: Any, prompts: Sequence[str], words: Sequence[str], batch_size: int, precision: Number
) -> FloatArray:
    """Return the log-likelihood [N,K] of each word after each prompt.

    A model reads each different beginning once: where all words are single tokens, that is the prompt alone.

    Args:
        model: A decoder-only model that writes.
        tokenizer: Its tokenizer.
        prompts: N prompts.
        words: K words.
        batch_size: Sequences per forward pass.
        precision: The number format of the computation.
    """
    scores = np.zeros((len(prompts), len(words)), dtype=np.float64)
    read: list[Tokens] = []
    asked: list[list[tuple[int, int, int, Tokens]]] = []
    for row, prompt in enumerate(prompts):
        start, whole = with_words(tokenizer, prompt, words)
        inputs = {tokens[:-1] for tokens in whole}  # the last token is only predicted
        longest = [each for each in inputs if not any(len(o) > len(each) and o[: len(each)] == each for o in inputs)]
        jobs: dict[Tokens, list[tuple[int, int, int, Tokens]]] = {each: [] for each in longest}
        for word, tokens in enumerate(whole):
            through = next(each for each in longest if each[: len(tokens) - 1] == tokens[:-1])
            jobs[through].append((row, word, start, tokens[start:]))
        read += jobs
        asked += jobs.values()
    pad, limits = int(tokenizer.pad_token_id), takes(model, "logits_to_keep")

    def collate(rows: Sequence[Tokens]) -> Batch:
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}

    for places, batch in batches(model, _Sequences(read), collate, batch_size, precision, "reading"):
        width = batch["input_ids"].shape[1]
        kept = width - min(start - 1 for place in places for _, _, start, _ in asked[place])  # on the right
        logits = model(**batch, use_cache=False, **({"logits_to_keep": kept} if limits else {})).logits[:, -kept:]
        for number, place in enumerate(places):
            for row, word, start, tokens in asked[place]:
                first = start - 1 - (width - kept)
                said = logits[number, first : first + len(tokens)].float().log_softmax(-1)
                target = torch.tensor(tokens, device=said.device)[:, None]
                scores[row, word] = float(said.gather(1, target).double().sum())
    if not np.isfinite(scores).all():
        raise UserError("the model's outputs are not finite; use precision: fp32", "numbers")
    return scores
