"""Bases that write, as they come: what is missing or wrong is put right and said, or refused."""

import warnings
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedTokenizerFast

from crossflare.errors import UserError
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base

TASK = TextTask("mood", 1, ("bad", "good"))
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9}


def tokenizer(**options: str) -> PreTrainedTokenizerFast:
    words = ["<s>", "</s>", "<pad>", "<unk>", "bad", "good", "a", "Label", ":"]
    rules = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>", bos_token="<s>", **options)


def folder(place: Path, model: object, **options: str) -> str:
    model.save_pretrained(place)  # type: ignore[attr-defined]
    tokenizer(**options).save_pretrained(place)
    return str(place)


def test_a_decoder_without_padding_and_on_the_wrong_side(tmp_path: Path) -> None:
    place = folder(tmp_path / "llama", LlamaForCausalLM(LlamaConfig(**SIZES)), eos_token="</s>", padding_side="right")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        base = load_base(place, TASK, "text", seed=0)
    texts = [str(warning.message) for warning in said]
    assert any("has no padding token: its end token stands in for it" in text for text in texts)
    assert any("pads on the right, but a decoder answers after the last token: padded on the left" in t for t in texts)
    assert base.tokenizer.padding_side == "left"
    assert base.tokenizer.pad_token == "</s>"
    assert base.model.config.pad_token_id == base.tokenizer.pad_token_id


def test_neither_padding_nor_end(tmp_path: Path) -> None:
    place = folder(tmp_path / "llama", LlamaForCausalLM(LlamaConfig(**SIZES)))
    with pytest.raises(UserError, match="has neither a padding nor an end token; set pad_token"):
        load_base(place, TASK, "text", seed=0)


def test_an_encoder_cannot_write(tmp_path: Path) -> None:
    place = folder(tmp_path / "bert", BertModel(BertConfig(**SIZES)), eos_token="</s>", pad_token="<pad>")
    with pytest.raises(UserError, match=r"\(bert\) reads only and cannot answer in words; set form: head"):
        load_base(place, TASK, "text", seed=0)


def test_a_decoder_without_its_output(tmp_path: Path) -> None:
    place = folder(tmp_path / "llama", LlamaModel(LlamaConfig(**SIZES)), eos_token="</s>", pad_token="<pad>")
    with pytest.raises(UserError, match="so it has not learnt to write; set form: head, or take a language model"):
        load_base(place, TASK, "text", seed=0)
