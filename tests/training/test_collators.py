import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.training.text.collators import PairCollator
from crossflare.training.text.encoded import count_truncated, encode

WIDTH = 24

texts = st.lists(st.sampled_from(["w0", "w17", "w59", "unheard"]), min_size=1, max_size=40).map(" ".join)


@st.composite
def batches(draw: st.DrawFn) -> list[Example]:
    count = draw(st.sampled_from([1, 2]))
    sides = st.tuples(*[texts] * count)
    rows = draw(st.lists(st.tuples(sides, st.none() | sides, st.integers(0, 1)), min_size=1, max_size=6))
    return [Example(str(i), target, label, source) for i, (target, source, label) in enumerate(rows)]


@pytest.mark.parametrize("side", ["left", "right"])
@given(rows=batches())
def test_a_batch_is_the_tokenizers_own_padded_result(tokenizers, side: str, rows: list[Example]) -> None:
    tokenizer = tokenizers[side]
    batch = PairCollator(tokenizer, WIDTH, with_source=True)(rows)
    for prefix, column in (("", [e.texts for e in rows]), ("source_", [e.source for e in rows])):
        present = [i for i, text in enumerate(column) if text is not None]
        if not present:
            assert not any(name.startswith("source_") for name in batch)
            continue
        columns = [list(part) for part in zip(*(column[i] for i in present), strict=True)]
        expected = tokenizer(
            *columns, truncation="longest_first", max_length=WIDTH, padding=True, pad_to_multiple_of=8,
            return_tensors="pt",
        )  # fmt: skip
        which = batch.get("source_rows", torch.arange(len(rows))) if prefix else torch.arange(len(rows))
        for name, value in expected.items():
            assert torch.equal(batch[prefix + name][which[present]], value), (prefix + name, side)
        absent = which[[i for i in range(len(rows)) if i not in present]]
        assert batch[prefix + "attention_mask"][absent].sum() == 0
        assert (batch[prefix + "input_ids"][absent] == tokenizer.pad_token_id).all()
    assert batch["labels"].tolist() == [e.label for e in rows]


@given(rows=batches())
def test_rows_tokenised_before_make_the_same_batch(tokenizers, rows: list[Example]) -> None:
    collate = PairCollator(tokenizers["right"], WIDTH, with_source=True)
    encoded = encode(tokenizers["right"], rows, WIDTH, with_source=True)
    once, again = collate(rows), collate([encoded[i] for i in range(len(encoded))])
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)
    lengths = once["attention_mask"].sum(-1)
    if "source_attention_mask" in once:
        lengths += once["source_attention_mask"].sum(-1)[once.get("source_rows", torch.arange(len(rows)))]
    assert encoded.lengths.tolist() == lengths.tolist()


@given(rows=batches(), other=batches())
def test_the_rest_of_a_batch_never_changes_a_rows_logits(tokenizers, new_model, rows, other) -> None:
    model = new_model(adapter=False).eval()
    collate = PairCollator(tokenizers["right"], WIDTH, with_source=False)
    other = [e for e in other if len(e.texts) == len(rows[0].texts)]
    with torch.no_grad():
        alone = torch.cat([model(**{k: v for k, v in collate([e]).items() if k != "labels"}).logits for e in rows])
        together = model(**{k: v for k, v in collate([*rows, *other]).items() if k != "labels"}).logits[: len(rows)]
    assert torch.allclose(alone, together, atol=1e-5)


@given(rows=batches())
def test_each_source_comes_once_where_that_saves_rows(tokenizers, rows: list[Example]) -> None:
    encoded = encode(tokenizers["right"], rows, WIDTH, with_source=True)
    batch = PairCollator(tokenizers["right"], WIDTH, with_source=True)([encoded[i] for i in range(len(encoded))])
    sources = [encoded[i].source for i in range(len(encoded))]
    kinds = {(s.ids.tolist().__repr__(), s.types.tolist().__repr__()) for s in sources if s is not None}
    if not kinds:
        return
    assert len(batch["source_input_ids"]) == len(kinds) + sources.count(None)
    assert ("source_rows" in batch) == (len(batch["source_input_ids"]) < len(rows))
    if "source_rows" in batch:
        which = batch["source_rows"].tolist()
        assert all(which.count(which[i]) == 1 for i, s in enumerate(sources) if s is None)  # no source, nothing shared


def test_the_same_words_as_one_text_and_as_two_are_two_sources(tokenizer) -> None:
    one, two = Example("a", ("w1", "w1"), 0, ("w2 w2", "w3")), Example("b", ("w1", "w1"), 0, ("w2", "w2 w3"))
    batch = PairCollator(tokenizer, 48, with_source=True)([one, two])
    assert "source_rows" not in batch
    assert PairCollator(tokenizer, 48, with_source=True)([one, two, one])["source_rows"].tolist() == [0, 1, 0]


def test_widths_are_multiples_of_eight_up_to_the_limit(tokenizer) -> None:
    for words, limit, width in ((3, 48, 8), (7, 48, 16), (30, 48, 32), (30, 20, 20), (17, 20, 20)):
        row = Example("a", (" ".join(["w1"] * words),))
        assert PairCollator(tokenizer, limit, with_source=False)([row])["input_ids"].shape == (1, width)


def test_target_and_source_have_their_own_width(tokenizer) -> None:
    row = Example("a", ("w1",), 0, (" ".join(["w2"] * 20),))
    batch = PairCollator(tokenizer, 48, with_source=True)([row])
    assert batch["input_ids"].shape == (1, 8)
    assert batch["source_input_ids"].shape == batch["source_token_type_ids"].shape == (1, 24)


def test_no_source_keys_without_sources_and_no_labels_unless_all_have_one(tokenizer) -> None:
    with_source, without = PairCollator(tokenizer, 48, with_source=True), PairCollator(tokenizer, 48, with_source=False)
    rows = [Example("a", ("w1",), 0, ("w2",)), Example("b", ("w1",))]
    assert "source_input_ids" in with_source(rows)
    assert with_source(rows)["source_attention_mask"][1].sum() == 0
    assert not any(name.startswith("source_") for name in without(rows))
    assert not any(name.startswith("source_") for name in with_source(rows[1:]))
    assert "labels" not in with_source(rows)
    assert with_source(rows[:1])["labels"].tolist() == [0]


def test_many_examples_are_tokenised_in_chunks(tokenizer, split, monkeypatch) -> None:
    rows = [e.with_source(None) if i % 3 else e for i, e in enumerate(split(25).examples)]
    whole = encode(tokenizer, rows, 48, with_source=True)
    monkeypatch.setattr("crossflare.training.text.encoded.CHUNK", 4)
    parts = encode(tokenizer, rows, 48, with_source=True)
    for i in range(25):
        for one, two in zip(whole[i], parts[i], strict=True):
            assert np.array_equal(np.asarray(one, dtype=object), np.asarray(two, dtype=object)) or str(one) == str(two)
        assert (parts[i].source is None) == bool(i % 3)


def test_count_truncated_counts_each_side(tokenizer) -> None:
    long, short = " ".join(["w1"] * 9), "w1"
    rows = [Example("a", (long,), None, (short,)), Example("b", (short,), None, (long,)), Example("c", (long,))]
    assert count_truncated(tokenizer, rows, 10) == {"target": 2, "source": 1}
    assert count_truncated(tokenizer, rows, 11) == {"target": 0, "source": 0}
    pair = [Example("a", (long, long), None, None)]
    assert count_truncated(tokenizer, pair, 20) == {"target": 1, "source": 0}
    assert count_truncated(tokenizer, [], 20) == {"target": 0, "source": 0}


def test_mistakes_name_the_row(tokenizer) -> None:
    three = Example("seven", ("a", "b", "c"), 0, None, "rows.csv:8")
    with pytest.raises(UserError, match=r"rows\.csv:8: example 'seven': expected one or two texts.*got 3"):
        encode(tokenizer, [three], 48, with_source=False)
    uneven = [Example("a", ("x",)), Example("b", ("x", "y"), 0, ("z",))]
    with pytest.raises(UserError, match="example 'b': expected as many source texts as texts, 2, got 1"):
        encode(tokenizer, uneven, 48, with_source=True)
    tokenizer.backend_tokenizer.post_processor = None  # no special tokens: an empty text has no tokens at all
    with pytest.raises(UserError, match="example 'b': no tokens in"):
        encode(tokenizer, [Example("a", ("w1",)), Example("b", (" ",))], 48, with_source=False)


def test_an_empty_source_counts_as_none(tokenizer) -> None:
    tokenizer.backend_tokenizer.post_processor = None
    rows = [Example("a", ("w1",), 0, ("",)), Example("b", ("w1",), 0, ("w2",))]
    assert PairCollator(tokenizer, 8, with_source=True)(rows)["source_attention_mask"].sum(-1).tolist() == [0, 1]


def test_a_tokenizer_without_padding_is_refused(tokenizer) -> None:
    tokenizer.pad_token = None
    with pytest.raises(UserError, match=r"no padding token; set tokenizer\.pad_token"):
        PairCollator(tokenizer, 8, with_source=False)
