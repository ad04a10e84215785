"""The likelihood of a word after a prompt, token by token: one whole call of the model for each."""

from typing import Any

import torch


def slow_score(model: Any, tokenizer: Any, prompt: str, word: str) -> float:
    """Return the sum of the log-probabilities of a word's tokens after a prompt and a blank.

    For tokenizers that keep words apart, so that the word's tokens follow those of the prompt.
    """
    before = tokenizer(prompt).input_ids
    whole = tokenizer(f"{prompt} {word}").input_ids
    assert whole[: len(before)] == before
    total = 0.0
    with torch.no_grad():
        for place in range(len(before), len(whole)):
            logits = model(input_ids=torch.tensor([whole[:place]])).logits[0, -1].double()
            total += float(logits[whole[place]] - torch.logsumexp(logits, 0))
    return total
