"""Answers by a span of the context or in the model's own words, against loops over single questions."""

import math
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from crossflare.tasks.example import Example
from crossflare.training.forms.answering import SpanForm, TextForm
from crossflare.training.forms.make import make_form
from crossflare.training.forms.protocol import Answers
from crossflare.training.loop.settings import Settings
from crossflare.training.train import train
from fusion_models import flare
from training.question_tools import sentencepiece
from training.writing_tools import QUESTIONS, accuracy, asked, randomised, tokenizer_of
from writing_models import adapted, build

FAMILIES = ("llama", "mt5")
LONGEST = 5


def text_form(family: str, model: Any, *, with_source: bool = False) -> TextForm:
    form = make_form(QUESTIONS, "text", model, tokenizer_of(family), 40, with_source=with_source, answer_tokens=LONGEST)
    assert isinstance(form, TextForm)
    return form


def read(form: Any, model: Any, examples: Any, size: int = 3) -> Answers:
    return form.read(model, examples, form.encode(examples), size, "fp32", "")


def greedy(family: str, model: Any, row: Any) -> tuple[list[int], float]:
    """Write one answer token by token, the whole text read anew for each, and its mean log-probability."""
    written: list[int] = []
    total = 0.0
    prompt = torch.tensor(row.prompt).long()[None]
    source = {}
    if row.source is not None:
        ids = torch.tensor(row.source).long()[None]
        source = {"source_input_ids": ids, "source_attention_mask": torch.ones_like(ids)}
    while len(written) < LONGEST and 3 not in written:
        new = torch.tensor([written]).long()
        if family == "mt5":
            given = {"input_ids": prompt, "decoder_input_ids": torch.cat([torch.tensor([[1]]), new], 1)}
        else:
            given = {"input_ids": torch.cat([prompt, new], 1)}
            if source:  # as in training: only the prompt fuses
                given["fusion_mask"] = (torch.arange(given["input_ids"].shape[1]) < prompt.shape[1]).long()[None]
        with torch.no_grad():
            shares = model(**given, **source).logits[0, -1].log_softmax(-1)
        written.append(int(shares.argmax()))
        total += float(shares.max())
    return written, total / len(written)


@pytest.mark.parametrize("with_source", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_is_what_a_loop_writes(family: str, with_source: bool) -> None:
    model: Any = build(family, dtype=torch.float32)
    if with_source:
        model = randomised(adapted(family, base=model)).float()
    form = text_form(family, model, with_source=with_source)
    examples = asked(8).examples
    rows = form.encode(examples)
    said = read(form, model, examples)
    assert said.positions is None
    for number in range(8):
        ids, score = greedy(family, model, rows[number])
        assert said.texts[number] == form.tokenizer.decode(ids, skip_special_tokens=True)
        assert said.scores[number] == pytest.approx(score, abs=2e-4)
    assert len(set(said.texts)) > 1
    alone = read(form, model, examples, 1)
    assert alone.texts == said.texts
    assert alone.scores == pytest.approx(said.scores, abs=2e-4)
    if with_source:
        bare = read(form, model, [example.with_source(None) for example in examples])
        changed = {n for n in range(8) if abs(bare.scores[n] - said.scores[n]) > 1e-4}
        assert changed == {n for n, example in enumerate(examples) if example.source}


def test_an_answer_ends_at_its_end_token() -> None:
    """What is counted is what was written up to the end; padding behind it is no part of the score."""
    form = text_form("llama", build("llama"))
    answers = torch.tensor([[7, 3, 1, 1], [7, 8, 9, 9], [3, 1, 1, 1]])
    logits = [torch.full((3, 40), 0.0) for _ in range(4)]
    for step, column in enumerate(answers.T):
        for row, token in enumerate(column):
            logits[step][row, token] = float(step + 1)
    shares = [step + 1 - math.log(39 + math.exp(step + 1)) for step in range(4)]
    found = form._scores(logits, answers)  # pyright: ignore[reportPrivateUsage]
    assert found == pytest.approx([sum(shares[:2]) / 2, sum(shares) / 4, shares[0]], abs=1e-5)


def test_the_first_gold_answer_is_taught() -> None:
    form = text_form("llama", build("llama"))
    split = asked(3)
    rows = form.encode([*split.examples, Example("x", split.examples[0].texts)])
    for number, example in enumerate(split):
        answer = rows[number].answer
        assert answer is not None
        assert form.tokenizer.decode(answer.tolist(), skip_special_tokens=True) == example.answers[0].text
    assert rows[3].answer is None


def test_a_task_that_can_be_learnt_is_learnt(folder: Any) -> None:
    model = build("mt5", dtype=torch.float32)
    form = text_form("mt5", model)
    settings = Settings(lr=2e-2, epochs=50, batch_size=8, max_length=40, precision="fp32", evaluations=2)
    rows = dev = asked(8, sources=False)
    outcome = train(model, rows, dev, form.tokenizer, form, settings, folder, measure=accuracy, identity={})
    assert outcome.best_score is not None
    assert outcome.best_score > 0.9
    assert accuracy(read(form, model, dev.examples, 7), dev) == outcome.best_score


# Spans ---------------------------------------------------------------------------------------------------------------


def span_model(*, fused: bool = False) -> tuple[Any, SpanForm]:
    torch.manual_seed(0)
    tokenizer = sentencepiece()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=64, initializer_range=0.3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model: Any = BertForQuestionAnswering(config).eval()
    if fused:
        model = randomised(flare(model, scale=0.3, task_type="QUESTION_ANS")).float()
    form = make_form(QUESTIONS, "head", model, tokenizer, 40, with_source=fused, stride=4, answer_tokens=6)
    assert isinstance(form, SpanForm)
    return model, form


def test_the_span_loss_is_that_of_each_window_alone() -> None:
    model, form = span_model()
    rows = list(form.encode(asked(6, sources=False).examples))
    losses: list[torch.Tensor] = []
    for row in rows:
        assert row.span is not None
        with torch.no_grad():
            out = model(input_ids=torch.tensor(row.target.ids).long()[None])
        for logits, place in ((out.start_logits, row.span[0]), (out.end_logits, row.span[1])):
            losses.append(-logits[0].log_softmax(-1)[place])
    found = form.loss(model, form.collate(rows))
    assert found.item() == pytest.approx(torch.stack(losses).mean().item(), abs=1e-4)


def test_a_span_model_learns_and_reads(folder: Any) -> None:
    model, form = span_model()
    rows = asked(12, sources=False)
    settings = Settings(lr=1e-2, epochs=25, batch_size=12, max_length=40, precision="fp32", evaluations=2)
    outcome = train(model, rows, rows, form.tokenizer, form, settings, folder, measure=accuracy, identity={})
    assert outcome.curve[-1].loss < outcome.curve[0].loss / 2
    said = read(form, model, rows.examples)
    assert accuracy(said, rows) == outcome.best_score
    assert said.positions is not None
    assert said.positions[0].shape == said.positions[1].shape == (12, 2)
    assert all(text in example.texts[1] for text, example in zip(said.texts, rows, strict=True))
    unlabelled = [Example(e.id, e.texts) for e in rows]
    assert read(form, model, unlabelled).positions is None
    assert read(form, model, unlabelled).texts == said.texts


def test_the_source_is_heard_by_a_span_model() -> None:
    model, form = span_model(fused=True)
    examples = asked(7).examples
    said = read(form, model, examples)
    alone = read(form, model, examples, 1)
    assert alone.texts == said.texts
    assert alone.scores == pytest.approx(said.scores, abs=2e-4)
    bare = read(form, model, [example.with_source(None) for example in examples])
    changed = {n for n in range(7) if abs(bare.scores[n] - said.scores[n]) > 1e-4}
    assert changed == {n for n, example in enumerate(examples) if example.source}
    assert form.truncated(examples) == {"target": 0, "source": 0}
