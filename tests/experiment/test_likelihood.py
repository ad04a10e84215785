"""The likelihood of words: equal to a loop over tokens, whatever the batch, and refused where it can tell nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from crossflare.errors import UserError
from crossflare.experiment.prompting.likelihood import after_prompt, check_words, with_words, word_scores
from reference.slow_likelihood import slow_score
from tiny_questions import make_writer

WORDS = ["bad", "good", "good film story", "the story : good"]
PROMPTS = [
    "Label:",
    "the film Label:",
    "Context: malo bueno Question: fino Answer:",
    "the story the story the story the story great Answer:",
]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = make_writer(tmp_path_factory.mktemp("writer") / "llama", "llama")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # else all words are about equally likely
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def test_it_is_that_of_a_loop_over_tokens(writer: tuple[Any, Any]) -> None:
    slow = np.array([[slow_score(*writer, prompt, word) for word in WORDS] for prompt in PROMPTS])
    for size in (1, 3, 16):
        found = word_scores(*writer, PROMPTS, WORDS, size, "fp32")
        # a token that all words begin with counts for all alike: it is left out
        assert found == pytest.approx(slow, abs=1e-4)
    assert slow.std(axis=1).min() > 0.5


def test_what_all_words_share_counts_for_none(writer: tuple[Any, Any]) -> None:
    words = ["the film", "the story"]
    found = word_scores(*writer, PROMPTS, words, 4, "fp32")
    slow = np.array([[slow_score(*writer, prompt, word) for word in words] for prompt in PROMPTS])
    assert found[:, 0] - found[:, 1] == pytest.approx(slow[:, 0] - slow[:, 1], abs=1e-4)


def test_single_tokens_cost_one_reading_of_the_prompt(writer: tuple[Any, Any]) -> None:
    model, tokenizer = writer
    seen: list[tuple[int, ...]] = []
    handle = model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    try:
        word_scores(model, tokenizer, PROMPTS, ["bad", "good"], 4, "fp32")
        assert seen == [(len(PROMPTS), max(len(tokenizer(prompt).input_ids) for prompt in PROMPTS))]
    finally:
        handle.remove()


def test_words_that_begin_alike_are_refused(writer: tuple[Any, Any]) -> None:
    tokenizer = writer[1]
    assert check_words(tokenizer, ["bad", "good film"], ["no", "yes"]) == [1, 2]
    with pytest.raises(UserError, match=r"the words 'good' \(yes\) and 'good film' \(no\) have the same first tokens"):
        check_words(tokenizer, ["good film", "good"], ["no", "yes"])


def test_a_token_across_the_border_is_counted_for_every_word() -> None:
    class Joining:
        """Letters are tokens, but `:a` is one."""

        def __call__(self, texts: Any, **options: Any) -> Any:
            def ids(text: str) -> list[int]:
                return [ord(each) for each in text.replace(": a", "@")]

            made = ids(texts) if isinstance(texts, str) else [ids(text) for text in texts]
            return type("Encoding", (dict,), {"input_ids": made})(input_ids=made)

    start, whole = with_words(Joining(), "x:", ["ab", "b"])
    assert start == 1  # the after_prompt token stands where the other text has the colon
    assert [tokens[start:] for tokens in whole] == [(ord("@"), ord("b")), (ord(":"), ord(" "), ord("b"))]
    assert after_prompt("x:\n", "y") == "x:\ny"
