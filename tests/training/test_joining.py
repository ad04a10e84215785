"""Source and target in one sequence: both are whole in it, spans stay what they were, plain rows stay plain."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForQuestionAnswering

from crossflare.errors import UserError
from crossflare.tasks.example import Answer, Example
from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.answering import SpanForm
from crossflare.training.forms.choosing import HeadForm
from crossflare.training.forms.joining import JoinedForm, by_field, joined
from crossflare.training.forms.make import make_form
from crossflare.training.forms.protocol import Answers
from crossflare.training.text.windows import layout_of
from training.question_tools import TOKENIZERS, questions, sentencepiece, signs
from training.writing_tools import PAIRS, QUESTIONS, TASK, tokenizer_of
from writing_models import build

ONE = TextTask("one", 1, ("low", "high"))
TWO = replace(ONE, name="two", text_count=2)
texts = st.text("abc é北", min_size=1, max_size=12).filter(str.strip)


def form(task: Any, tokenizer: Any, answering: Any = "head", model: Any = None, **more: Any) -> Any:
    return make_form(task, answering, model, tokenizer, 40, with_source=True, joined=True, stride=4, **more)


@given(source=texts, target=texts)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_one_text_becomes_a_pair_of_source_and_target(name: str, source: str, target: str) -> None:
    tokenizer = TOKENIZERS[name]
    row = form(ONE, tokenizer).encode([Example("a", (target,), 1, (source,))])[0]
    assert row.target.ids.tolist() == tokenizer(source, target)["input_ids"]
    assert row.source is None
    assert row.label == 1


@pytest.mark.parametrize("name", TOKENIZERS)
def test_two_texts_become_a_pair_of_pairs(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = form(TWO, tokenizer).encode([Example("a", ("the tower", "a"), 0, ("oui ñandú", "Zoë"))])[0].target.ids

    def pair(first: str, second: str) -> Any:
        pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (first, second)]
        return np.array([*pieces[0], tokenizer.sep_token_id, *pieces[1]], dtype=np.int32)

    sides = pair("oui ñandú", "Zoë"), pair("the tower", "a")
    assert ids.tolist() == layout_of(tokenizer, "a", "a").join(*sides).ids.tolist()


@pytest.mark.parametrize("task", [ONE, TWO])
def test_a_row_without_a_source_is_the_plain_row(task: TextTask, tokenizer: Any) -> None:
    two = task.text_count == 2
    rows = [
        Example(str(n), ("w1 w2", "w3")[: 1 + two], n % 2, ("w5 w6", "w7 w8")[: 1 + two] if n % 3 else None)
        for n in range(8)
    ]
    made, plain = form(task, tokenizer), HeadForm(task, tokenizer, 40, with_source=False)
    encoded, expected = made.encode(rows), plain.encode(rows)
    for n, example in enumerate(rows):
        same = encoded[n].target.ids.tolist() == expected[n].target.ids.tolist()
        assert same == (example.source is None)
        assert encoded[n].target.types is not None
        assert len(encoded[n].target.types) == len(encoded[n].target.ids)
    batch = made.collate(list(encoded))
    assert batch["token_type_ids"].shape == batch["input_ids"].shape == batch["attention_mask"].shape
    assert not any(name.startswith("source_") for name in batch)


@given(example=questions(source=True))
def test_a_span_is_the_same_text_after_the_shift(example: Example) -> None:
    made = joined(example, by_field)
    for before, after in zip(example.answers, made.answers, strict=True):
        assert after.start is not None
        assert made.texts[1][after.start : after.start + len(after.text)] == before.text == after.text
    assert example.source is not None
    for whole, source, target in zip(made.texts, example.source, example.texts, strict=True):
        assert whole == f"{source}\n{target}"
    assert made.source is None


def test_a_labelled_span_points_at_the_answers_tokens_in_the_target() -> None:
    tokenizer = signs()
    example = Example("q", ("a b", "b tower b"), None, ("oui", "b tower b tower"), answers=())
    answered = replace(example, answers=(Answer("tower", 2),))
    rows = form(QUESTIONS, tokenizer, answer_tokens=6).encode([answered])
    found = [row for row in rows if row.span is not None and row.span[0] > 0]
    assert found
    for row in found:
        first, last = row.span  # type: ignore[misc]
        ids = row.target.ids[first : last + 1].tolist()
        assert ids == tokenizer("tower", add_special_tokens=False)["input_ids"]
    shift = len("b tower b tower\n")
    assert joined(answered, by_field).answers[0].start == 2 + shift


class Said(SpanForm):
    """Says what it is told to, at the places it is told."""

    def __init__(self, said: list[tuple[str, int, int]]) -> None:
        self.said, self.labels, self.longest = said, 0, 40

    def read(self, *_: Any) -> Answers:
        return Answers(
            tuple(text for text, _, _ in self.said),
            tuple(0.0 for _ in self.said),
            None,
            tuple((begin, end) for _, begin, end in self.said),
        )


def test_a_predicted_span_is_cut_back_to_the_target() -> None:
    example = Example("q", ("q", "cd ef"), None, ("q", "ab xy"))  # ab xy | cd ef
    said = [("ab", 0, 2), ("cd", 6, 8), ("xy\ncd", 3, 8), ("ab xy\ncd ef", 0, 11)]
    bare = Example("r", ("q", "cd ef"))
    read = JoinedForm(Said([*said, ("cd", 0, 2)]), by_field).read(None, [example] * 4 + [bare], None, 1, "fp32", "")
    assert isinstance(read, Answers)
    assert read.texts == ("ab", "cd", "cd", "cd ef", "cd")
    assert read.spans is None


def test_answers_come_from_the_joined_context() -> None:
    torch.manual_seed(0)
    tokenizer = sentencepiece()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=96, initializer_range=0.3,
    )  # fmt: skip
    model: Any = BertForQuestionAnswering(config).eval()
    made = form(QUESTIONS, tokenizer, model=model, answer_tokens=6)
    examples = [
        Example(
            str(n), ("the tower", "Москва 1952 北京 " * (n + 1)), None, ("oui", "é a ñandú " * 3) if n % 3 else None
        )
        for n in range(6)
    ]
    said = made.read(model, examples, made.encode(examples), 4, "fp32", "")
    for text, example in zip(said.texts, examples, strict=True):
        assert text in example.texts[1] or (example.source and text in example.source[1])
    plain = make_form(QUESTIONS, "head", model, tokenizer, 80, with_source=False, stride=8, answer_tokens=6)
    alone = [example for example in examples if not example.source]
    assert [said.texts[n] for n in (0, 3)] == list(plain.read(model, alone, plain.encode(alone), 4, "fp32", "").texts)  # type: ignore[union-attr]


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_a_prompts_field_is_the_source_a_line_break_and_the_target(family: str) -> None:
    model, tokenizer = build(family), tokenizer_of(family)
    made = form(PAIRS, tokenizer, "text", model)
    given = [Example("a", ("w1 w2", "w3"), 0, ("w4", "w5 w6")), Example("b", ("w1 w2", "w3"), 1)]
    rows = made.encode(given)
    said = [tokenizer.decode(rows[n].prompt, skip_special_tokens=True) for n in range(2)]
    assert said[0] == "Premise : w4 w1 w2 Hypothesis : w5 w6 w3 Label :"
    assert said[1] == "Premise : w1 w2 Hypothesis : w3 Label :"
    plain = make_form(PAIRS, "text", model, tokenizer, 40, with_source=False)
    assert rows[1].prompt.tolist() == plain.encode(given)[1].prompt.tolist()


def test_twice_the_length_is_read_and_what_is_cut_is_counted(tokenizer: Any) -> None:
    made = form(ONE, tokenizer)
    assert made.longest == 80
    long = " ".join(["w1"] * 38)
    rows = [Example("a", (long,), 0, (long,)), Example("b", (f"{long} w2 w3",), 0, (long,))]
    assert made.truncated(rows) == {"target": 1, "source": 0}
    assert len(made.encode(rows)[0].target.ids) == 38 * 2 + 3
    spans = form(QUESTIONS, sentencepiece(), model=None)
    assert (spans.inner.window, spans.inner.stride) == (80, 8)
    words = form(TASK, tokenizer_of("mt5"), "text", build("mt5"))
    assert words.longest == 80


def test_a_source_of_another_size_is_refused(tokenizer: Any) -> None:
    with pytest.raises(
        UserError, match=r"rows\.csv:3: expected as many source texts as texts, 2, got 1; correct the row"
    ):
        form(TWO, tokenizer).encode([Example("a", ("w1", "w2"), 0, ("w3",), "rows.csv:3")])


def test_a_tokenizer_without_a_separator_is_refused(tokenizer: Any) -> None:
    tokenizer.sep_token = None
    with pytest.raises(UserError, match="neither a separator nor an end token"):
        form(TWO, tokenizer)
