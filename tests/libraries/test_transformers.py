"""The contract with transformers: the names crossflare relies on are there, and mean what it takes them to mean."""

import inspect

import pytest
import torch
import transformers
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    LlamaConfig,
    LlamaForCausalLM,
    MarianTokenizer,
    RobertaConfig,
    RobertaModel,
)
from transformers.utils import logging

from crossflare.libraries import attention, guard
from crossflare.libraries import transformers as seams

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 40}


@pytest.fixture(autouse=True)
def _forget() -> None:
    forget()


def forget() -> None:
    """Have names looked up again: what was found once is not asked for a second time."""
    for known in (guard.name, seams._check_field, seams._check_argument):
        known.cache_clear()


@pytest.fixture
def bert() -> BertForQuestionAnswering:
    torch.manual_seed(0)
    return BertForQuestionAnswering(BertConfig(**SMALL)).eval()


def test_every_guarded_name_is_there(contract) -> None:
    assert len(contract.places("transformers")) >= 3
    for place in contract.places("transformers"):
        assert guard.name(place) is not None


@pytest.mark.parametrize("field", seams.CONFIG)
def test_fields_of_configurations(contract, monkeypatch, field: str) -> None:
    name = seams.CONFIG[field]
    assert seams.config_value(getattr(transformers, name)(), field, "none") != "none"
    assert seams.config_value(object(), field, "none") == "none"
    forget()
    monkeypatch.setattr(f"transformers.{name}", object)
    with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", f"{name}.{field}")):
        seams.config_value(BertConfig(), field)


def test_the_attention_that_is_computed(contract, bert) -> None:
    for name in ("eager", "sdpa"):
        bert.set_attn_implementation(name)
        assert seams.attention_of(bert) == name
    bert.config = object()
    with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", "object._attn_implementation")):
        seams.attention_of(bert)


@pytest.mark.parametrize("argument", ["position_ids", "logits_to_keep"])
def test_arguments_that_some_models_have(contract, monkeypatch, bert, argument) -> None:
    assert seams.takes(LlamaForCausalLM(LlamaConfig(**SMALL)), argument)
    assert seams.takes(bert, argument) is (argument == "position_ids")
    forget()
    monkeypatch.setattr(LlamaForCausalLM, "forward", lambda self, places=None: None)
    says = rf"LlamaForCausalLM\.forward\({argument}=\.\.\.\)"
    with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", says)):
        seams.takes(bert, argument)


def test_activations_are_computed_twice_but_for_one_block(contract, monkeypatch, bert) -> None:
    calls = {0: 0, 1: 0}
    for number, block in enumerate(bert.bert.encoder.layer):
        block.intermediate.register_forward_hook(lambda *_, n=number: calls.update({n: calls[n] + 1}))
    seams.checkpoint_activations(bert)
    seams.keep_activations(bert.bert.encoder.layer[1])
    ids = torch.ones(1, 4, dtype=torch.long)
    bert.train()(input_ids=ids).start_logits.sum().backward()
    assert calls == {0: 2, 1: 1}
    with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", r"Linear\.gradient_checkpointing")):
        seams.keep_activations(torch.nn.Linear(1, 1))
    says = r"Linear\.gradient_checkpointing_enable"
    with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", says)):
        seams.checkpoint_activations(torch.nn.Linear(1, 1))


def test_the_parts_of_an_attention_make_its_states(contract, bert) -> None:
    block = bert.bert.encoder.layer[0]
    style, states = attention.STYLES["bert"], torch.randn(2, 5, 16)
    parts = style.parts(block)
    heads = [
        each(states).unflatten(-1, (parts.heads, -1)).transpose(1, 2) for each in (parts.query, parts.key, parts.value)
    ]
    context = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    expected = parts.norm(states + parts.output_dropout(parts.dense(context)))
    place = style.place(block)
    assert torch.allclose(attention.attention_states(place(states)), expected, atol=1e-6)
    with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", "states as the output .*")):
        attention.attention_states(())
    del place.output.LayerNorm
    says = r"BertAttention\.output\.LayerNorm"
    with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", says)):
        style.parts(block)


def test_a_blocks_second_argument_is_the_mask(contract, monkeypatch, bert) -> None:
    block = bert.bert.encoder.layer[0]
    seams.check_mask_argument(block)
    monkeypatch.setattr(type(block), "forward", lambda self, hidden_states, mask=None: hidden_states)
    says = r"BertLayer\.forward\(hidden_states, attention_mask\)"
    with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", says)):
        seams.check_mask_argument(block)


def test_where_positions_begin(bert) -> None:
    assert seams.positions_from(bert) is None
    assert seams.positions_from(RobertaModel(RobertaConfig(**SMALL, pad_token_id=1))) == 1


def test_marian_tokenizers_say_their_languages(contract) -> None:
    assert {"source_lang", "target_lang"} <= inspect.signature(MarianTokenizer.__init__).parameters.keys()
    assert "self.supported_language_codes" in inspect.getsource(MarianTokenizer)
    for ask in (seams.marian_targets, lambda tokenizer: seams.marian_language(tokenizer, "target_lang")):
        with pytest.raises(guard.LibraryError, match=contract.one_line("transformers", r"object\..*lang.*")):
            ask(object())


def test_quiet_hides_and_puts_back() -> None:
    logging.set_verbosity_info()
    try:
        with seams.quiet():
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
