"""Batches of prompts and answers, and their loss, against plain loops over single rows."""

from typing import Any

import pytest
import torch

from crossflare.errors import UserError
from crossflare.training.forms.make import make_form
from crossflare.training.text import writing
from crossflare.training.text.writing import IGNORED, PromptCollator, first_logits, written_loss
from training.writing_tools import QUESTIONS, TASK, asked, labelled, randomised, tokenizer_of
from writing_models import ENCODER_DECODERS, adapted, build

FAMILIES = ("llama", "gpt2", "mt5", "bart")


def form_of(family: str, model: Any, *, with_source: bool = False, task: Any = TASK) -> Any:
    return make_form(task, "text", model, tokenizer_of(family), 24, with_source=with_source, answer_tokens=4)


def one_by_one(family: str, model: Any, rows: Any) -> torch.Tensor:
    """Return the mean over rows of the mean cross-entropy of the answer's tokens, each row alone and unpadded."""
    losses: list[torch.Tensor] = []
    for row in rows:
        prompt, answer = torch.tensor(row.prompt).long(), torch.tensor(row.answer).long()
        if family in ENCODER_DECODERS:
            start = torch.tensor([model.config.decoder_start_token_id])
            given = torch.cat([start, answer[:-1]])
            logits = model(input_ids=prompt[None], decoder_input_ids=given[None]).logits[0]
        else:
            whole = torch.cat([prompt, answer])
            logits = model(input_ids=whole[None]).logits[0, len(prompt) - 1 : -1]
        losses.append(-sum(logits[i].log_softmax(-1)[token] for i, token in enumerate(answer)) / len(answer))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("task", ["words", "text"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_each_answer_alone(family: str, task: str) -> None:
    model = build(family, dtype=torch.float32)
    split = labelled(7, sources=False) if task == "words" else asked(7, sources=False)
    form = form_of(family, model, task=TASK if task == "words" else QUESTIONS)
    rows = list(form.encode(split.examples))
    expected = one_by_one(family, model, rows)
    assert form.loss(model, form.collate(rows)).item() == pytest.approx(expected.item(), abs=2e-5)
    assert form.loss(model, form.collate(rows[:1])).item() != pytest.approx(expected.item(), abs=1e-2)


def test_logits_that_are_not_made_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama", dtype=torch.float32)
    form = form_of("llama", model)
    rows = list(form.encode(labelled(5, sources=False).examples))
    kept: list[Any] = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, **k: (kept.append(k.get("logits_to_keep")), forward(*a, **k))[1])
    monkeypatch.setattr(writing, "_keep", lambda model, count: {"logits_to_keep": count})
    few = form.loss(model, form.collate(rows))
    monkeypatch.setattr(writing, "_keep", lambda model, count: {})
    all_of_them = form.loss(model, form.collate(rows))
    assert kept == [3, None]
    assert few.item() == pytest.approx(all_of_them.item(), abs=1e-6)


def test_models_without_the_argument_are_not_given_it() -> None:
    keep = writing._keep  # pyright: ignore[reportPrivateUsage]
    assert keep(build("llama"), 2) == {"logits_to_keep": 2}
    assert keep(adapted("llama"), 2) == {"logits_to_keep": 2}
    assert keep(build("mt5"), 2) == {}


def test_a_decoders_rows_end_together_and_only_prompts_fuse() -> None:
    model = adapted("llama")
    form = form_of("llama", model, with_source=True)
    rows = list(form.encode(labelled(6).examples))
    batch = form.collate(rows)
    for number, row in enumerate(rows):
        prompt, answer = row.prompt.tolist(), row.answer.tolist()
        width = batch["input_ids"].shape[1]
        before = width - len(prompt) - len(answer)
        assert batch["input_ids"][number].tolist() == [1] * before + prompt + answer
        assert batch["attention_mask"][number].tolist() == [0] * before + [1] * (len(prompt) + len(answer))
        assert batch["fusion_mask"][number].tolist() == [0] * before + [1] * len(prompt) + [0] * len(answer)
        assert batch["labels"][number].tolist() == [IGNORED] * (before + len(prompt)) + answer
        assert batch["position_ids"][number, before:].tolist() == list(range(len(prompt) + len(answer)))
        source = [] if row.source is None else row.source.tolist()
        mask = batch["source_attention_mask"][number]
        assert batch["source_input_ids"][number, mask.bool()].tolist() == source
        assert mask.tolist() == sorted(mask.tolist()), "sources are padded on the left"


def test_an_encoder_decoders_answer_is_shifted_by_its_start() -> None:
    model = build("mt5")
    form = form_of("mt5", model)
    rows = list(form.encode(labelled(4, sources=False).examples))
    batch = form.collate(rows)
    assert set(batch) == {"input_ids", "attention_mask", "labels", "decoder_input_ids"}
    for number, row in enumerate(rows):
        answer = row.answer.tolist()
        assert row.prompt[-1] == 3, "an encoder's input ends"
        assert batch["labels"][number].tolist()[: len(answer)] == answer
        assert batch["decoder_input_ids"][number].tolist()[: len(answer)] == [1, *answer[:-1]]


def test_rows_of_which_one_has_no_answer_are_prompts() -> None:
    model = build("llama")
    form = form_of("llama", model)
    rows = list(form.encode(labelled(3, sources=False).examples))
    batch = form.collate([*rows, rows[0]._replace(answer=None)])
    assert set(batch) == {"input_ids", "attention_mask", "position_ids"}


def test_a_tokenizer_without_padding_is_refused() -> None:
    tokens = tokenizer_of("llama")
    tokens.pad_token = None
    with pytest.raises(UserError, match=r"has no padding token; set tokenizer\.pad_token"):
        PromptCollator(build("llama"), tokens)


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_a_source_is_heard_in_the_loss_and_only_there_where_it_is(family: str) -> None:
    model = randomised(adapted(family, base=build(family, dtype=torch.float32))).float()
    form = form_of(family, model, with_source=True)
    rows = list(form.encode(labelled(6).examples))
    for row in rows:
        with_source = form.loss(model, form.collate([row])).item()
        without = form.loss(model, form.collate([row._replace(source=None)])).item()
        assert (abs(with_source - without) > 1e-6) == (row.source is not None)
    together = form.loss(model, form.collate(rows)).item()
    alone = sum(form.loss(model, form.collate([row])).item() for row in rows) / len(rows)
    assert together == pytest.approx(alone, abs=2e-5)


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_the_first_logits_are_those_after_the_prompt(family: str) -> None:
    model = build(family, dtype=torch.float32)
    form = form_of(family, model)
    rows = list(form.encode(labelled(5, sources=False).examples))
    with torch.no_grad():
        found, source = first_logits(model, form.collate.prompts(rows))
        assert source is None
        for number, row in enumerate(rows):
            ids = torch.tensor(row.prompt).long()[None]
            start = {} if family == "llama" else {"decoder_input_ids": torch.tensor([[1]])}
            torch.testing.assert_close(found[number], model(input_ids=ids, **start).logits[0, -1], atol=2e-5, rtol=0)


def test_the_loss_is_in_float32_whatever_the_model_computes_in() -> None:
    model = build("llama", dtype=torch.bfloat16)
    form = form_of("llama", model)
    batch = form.collate(list(form.encode(labelled(3, sources=False).examples)))
    assert written_loss(model, dict(batch)).dtype == torch.float32
