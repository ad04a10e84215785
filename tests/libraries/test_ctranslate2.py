"""The contract with CTranslate2: its converter asks models and tokenizers for no more than it is given.

That converted models give the same translations is a law of the engines: `tests/translation/test_ct2.py`.
"""

import inspect
from pathlib import Path

import pytest

from crossflare.libraries import guard
from crossflare.libraries import translators as seams

converters = pytest.importorskip("ctranslate2.converters")


def test_every_guarded_name_is_there(contract) -> None:
    assert len(contract.places("ctranslate2")) >= 2
    for place in contract.places("ctranslate2"):
        assert guard.name(place) is not None


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("load_model", ["self", "model_class", "model_name_or_path", "kwargs"]),
        ("load_tokenizer", ["self", "tokenizer_class", "model_name_or_path", "kwargs"]),
    ],
)
def test_the_methods_that_are_overridden(contract, monkeypatch, tmp_path: Path, name, given) -> None:
    kind = converters.TransformersConverter
    assert list(inspect.signature(getattr(kind, name)).parameters) == given
    monkeypatch.delattr(kind, name)
    says = rf"ctranslate2\.converters\.TransformersConverter\.{name}"
    with pytest.raises(guard.LibraryError, match=contract.one_line("ctranslate2", says)):
        seams.convert("model", None, "int8", tmp_path, lambda tokenizer, size: [])


def test_a_converter_that_asks_for_more_is_one_line(contract, monkeypatch, tmp_path: Path) -> None:
    def convert(self, *_, **__):
        seams._Numbers(type("Tokenizer", (), dict.fromkeys(TOKENS, "</s>")), ["</s>"]).unheard_of  # noqa: B018

    monkeypatch.setattr(converters.TransformersConverter, "convert", convert)
    says = r"way to convert model \('_Numbers' object has no attribute 'unheard_of'\)"
    with pytest.raises(guard.LibraryError, match=contract.one_line("ctranslate2", says)):
        seams.convert("model", None, "int8", tmp_path, lambda tokenizer, size: [])


def test_a_converter_with_its_own_tokenizer_is_one_line(contract, monkeypatch, tmp_path: Path) -> None:
    """It would name the tokens otherwise, and translations would be read by the wrong names."""
    monkeypatch.setattr(converters.TransformersConverter, "convert", lambda self, *_, **__: None)
    says = "converter that calls load_tokenizer"
    with pytest.raises(guard.LibraryError, match=contract.one_line("ctranslate2", says)):
        seams.convert("model", None, "int8", tmp_path, lambda tokenizer, size: [])


TOKENS = ("unk_token", "unk_token_id", "eos_token", "pad_token", "bos_token", "cls_token")
