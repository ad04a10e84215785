"""Tiny models that write and their tokenizers, with tasks that they can learn, for the tests of the written forms."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from crossflare.tasks.example import Answer, Example, Split
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.training.forms.protocol import Choices, Outputs
from fusion_models import VOCABULARY
from writing_models import ENCODER_DECODERS

SPECIALS = ["<unk>", "<pad>", "<s>", "</s>"]
"""In the order of the ids that the tiny models have."""
PROMPT = ["Label", ":", "Context", "Question", "Answer", "Sentiment", "Premise", "Hypothesis", "yes", "no"]
WORDS = [f"w{number}" for number in range(VOCABULARY - len(SPECIALS) - len(PROMPT))]
TASK = TextTask("tiny", 1, ("yes", "no"))
PAIRS = TextTask("pairs", 1, ("yes", "no"), text_count=2)
QUESTIONS = QuestionTask("asked", 1)


def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words: a decoder's begins with <s>, an encoder-decoder's ends with </s>."""
    rules = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate([*SPECIALS, *PROMPT, *WORDS])}, unk_token="<unk>")
    )
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    writes_on = family not in ENCODER_DECODERS
    rules.post_processor = processors.TemplateProcessing(
        single="<s> $A" if writes_on else "$A </s>",
        pair="<s> $A $B" if writes_on else "$A </s> $B </s>",
        special_tokens=[("<s>", 2), ("</s>", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=rules, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        padding_side="left" if writes_on else "right", model_max_length=64,
    )  # fmt: skip


def text(length: int, seed: int = 0, low: int = 0, high: int = len(WORDS)) -> str:
    """Return random words."""
    chance = torch.Generator().manual_seed(seed)
    return " ".join(WORDS[int(n)] for n in torch.randint(low, high, (length,), generator=chance))


def labelled(count: int, part: str = "train", *, seed: int = 0, sources: bool = True) -> Split:
    """Return rows whose label says which half of the words they have; every third has no source."""
    half = len(WORDS) // 2
    rows = [
        Example(
            f"{part} {n}",
            (text(2 + n % 5, seed + n, half * (n % 2), half * (n % 2) + half),),
            n % 2,
            (text(1 + n % 4, 999 + seed + n),) if sources and n % 3 else None,
        )
        for n in range(count)
    ]
    return Split(part, "sw", tuple(rows))


def asked(count: int, part: str = "train", *, seed: int = 0, sources: bool = True) -> Split:
    """Return questions that name the word of the context that answers them."""
    rows: list[Example] = []
    for n in range(count):
        words = text(3 + n % 4, seed + n).split()
        place = n % len(words)
        begin = len(" ".join(words[:place])) + (1 if place else 0)
        source = (words[place], text(3, 999 + seed + n)) if sources and n % 3 else None
        answers = (Answer(words[place], begin),)
        rows.append(Example(f"{part} {n}", (words[place], " ".join(words)), None, source, answers=answers))
    return Split(part, "sw", tuple(rows))


def accuracy(said: Outputs, split: Split) -> float:
    """Return the share of right labels or answers."""
    if isinstance(said, Choices):
        right = [guess == example.label for guess, example in zip(said.predicted, split, strict=True)]
    else:
        right = [told == example.answers[0].text for told, example in zip(said.texts, split, strict=True)]
    return sum(right) / len(right)


def randomised(model: Any) -> Any:
    """Return the model with larger weights in its adapter, so that effects are visible."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return model
