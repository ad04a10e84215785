"""Labels chosen by the first token of a word, against loops over single rows."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from crossflare.errors import UserError
from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.choosing import HeadForm, WordForm
from crossflare.training.forms.make import form_name, make_form
from crossflare.training.forms.protocol import Choices
from crossflare.training.loop.settings import Settings
from crossflare.training.train import train
from fusion_models import flare
from training.writing_tools import QUESTIONS, TASK, WORDS, accuracy, labelled, randomised, tokenizer_of
from writing_models import adapted, build

FAMILIES = ("llama", "mt5")


def words_form(family: str, model: Any, *, with_source: bool = False, **options: Any) -> WordForm:
    form = make_form(TASK, "text", model, tokenizer_of(family), 32, with_source=with_source, **options)
    assert isinstance(form, WordForm)
    return form


def bert() -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, num_labels=2,
        max_position_embeddings=64, initializer_range=0.3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def read(form: Any, model: Any, examples: Any, size: int = 3) -> Choices:
    return form.read(model, examples, form.encode(examples), size, "fp32", "")


def after(family: str, model: Any, prompt: Any, form: WordForm) -> torch.Tensor:
    """Return the logits of the words' first tokens after one prompt, unpadded."""
    ids = torch.tensor(prompt).long()[None]
    start = {} if family == "llama" else {"decoder_input_ids": torch.tensor([[1]])}
    with torch.no_grad():
        logits = model(input_ids=ids, **start).logits[0, -1]
    return torch.stack([logits[form.prompter.answer(word)[0]] for word in form.words])


def test_every_task_has_its_form() -> None:
    assert [form_name(TASK, "head"), form_name(TASK, "text")] == ["labels", "words"]
    assert [form_name(QUESTIONS, "head"), form_name(QUESTIONS, "text")] == ["span", "text"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_words_are_compared_after_each_prompt(family: str) -> None:
    model = build(family, dtype=torch.float32)
    form = words_form(family, model)
    examples = labelled(7, sources=False).examples
    rows = form.encode(examples)
    said = read(form, model, examples)
    assert said.log_probabilities.shape == (7, 2)
    assert said.source is None
    for number in range(7):
        expected = after(family, model, rows[number].prompt, form).log_softmax(-1)
        np.testing.assert_allclose(said.log_probabilities[number], expected.numpy(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_padding_nor_company_changes_anything(family: str) -> None:
    model = randomised(adapted(family, base=build(family, dtype=torch.float32))).float()
    form = words_form(family, model, with_source=True)
    examples = labelled(8).examples
    one, two = read(form, model, examples, 1), read(form, model, examples, 8)
    np.testing.assert_allclose(one.log_probabilities, two.log_probabilities, atol=2e-5, rtol=0)
    np.testing.assert_allclose(one.source, two.source, atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", [*FAMILIES, "bert"])
def test_the_base_models_own_choice_is_that_for_the_source(family: str) -> None:
    examples = labelled(7).examples
    if family == "bert":
        model: Any = randomised(flare(bert(), scale=0.3)).float()
        tokens = tokenizer_of("bert")
        tokens.padding_side = "right"
        form: Any = HeadForm(TASK, tokens, 32, with_source=True)
        sources = [None if e.source is None else tokens(e.source[0]).input_ids for e in examples]
    else:
        model = randomised(adapted(family, base=build(family, dtype=torch.float32))).float()
        form = words_form(family, model, with_source=True)
        rows = form.encode(examples)
        sources = [rows[n].source for n in range(7)]
    said = read(form, model, examples)
    bare = read(form, model, [example.with_source(None) for example in examples])
    assert bare.source is None
    assert said.source is not None
    for number, source in enumerate(sources):
        if source is None:
            assert np.isnan(said.source[number]).all()
            np.testing.assert_allclose(
                said.log_probabilities[number], bare.log_probabilities[number], atol=2e-5, rtol=0
            )
            continue
        assert not np.allclose(said.log_probabilities[number], bare.log_probabilities[number], atol=1e-4)
        with model.disable_adapter():
            if family == "bert":
                with torch.no_grad():
                    own = model(input_ids=torch.tensor([source])).logits[0]
            else:
                own = after(family, model, source, form)
        np.testing.assert_allclose(said.source[number], own.log_softmax(-1).numpy(), atol=2e-5, rtol=0)


def test_labels_that_begin_alike_are_refused() -> None:
    task = TextTask("tiny", 1, ("w1 w2", "yes", "w1 w3"))
    with pytest.raises(UserError) as caught:
        make_form(task, "text", build("llama"), tokenizer_of("llama"), 32, with_source=False)
    assert str(caught.value) == (
        "the labels 'w1 w2' and 'w1 w3' begin with the same token 'w1', so the first one tells nothing; give them "
        "other words (task.words), or use form: head"
    )
    form = make_form(task, "text", build("llama"), tokenizer_of("llama"), 32, with_source=False, words={"w1 w3": "w3"})
    assert isinstance(form, WordForm)
    assert form.words == ["w1 w2", "yes", "w3"]


def test_words_for_labels_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown label in task\.words 'yess': did you mean 'yes'"):
        words_form("llama", build("llama"), words={"yess": "w1"})


def test_the_label_is_no_part_of_the_prompt() -> None:
    form = words_form("llama", build("llama"))
    split = labelled(4)
    rows = form.encode(split.examples)
    unlabelled = form.encode([type(e)(e.id, e.texts) for e in split])
    for number in range(4):
        answer = rows[number].answer
        assert answer is not None
        assert answer.tolist() == [form.first[number % 2].item(), 3]
        assert unlabelled[number].answer is None
        assert rows[number].prompt.tolist() == unlabelled[number].prompt.tolist()


def test_prompts_that_are_cut_are_counted() -> None:
    form = make_form(TASK, "text", build("llama"), tokenizer_of("llama"), 10, with_source=True)
    split = labelled(3)
    room = form.prompter.room  # type: ignore[attr-defined]
    long = [
        type(e)(e.id, (" ".join(WORDS[: room + n]),), e.label, (" ".join(WORDS[: room + 1]),))
        for n, e in enumerate(split)
    ]
    assert form.truncated(long) == {"target": 2, "source": 3}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_task_that_can_be_learnt_is_learnt(family: str, folder: Any) -> None:
    """The tiny model's own words, trained whole."""
    model = build(family, dtype=torch.float32)
    form = words_form(family, model)
    settings = Settings(lr=1e-2, epochs=10, batch_size=12, max_length=32, precision="fp32", evaluations=3)
    rows = dev = labelled(24, sources=False)
    outcome = train(
        model, rows, dev, form.prompter.tokenizer, form, settings, folder, measure=accuracy, identity={"form": "words"}
    )
    assert outcome.best_score is not None
    assert outcome.best_score > 0.9
    assert accuracy(read(form, model, dev.examples, 7), dev) == outcome.best_score
