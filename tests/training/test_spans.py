"""Windows over long contexts and the answers read off them."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from peft import get_peft_model
from transformers import XLMRobertaConfig, XLMRobertaForQuestionAnswering

from crossflare import FlareConfig
from crossflare.errors import UserError
from crossflare.tasks.example import Answer, Example
from crossflare.training.text import windows as windows_module
from crossflare.training.text.extraction import best_answers, first_window_positions, span_logits
from crossflare.training.text.questions import encode_questions
from crossflare.training.text.spans import SpanCollator, SpanRows
from reference import slow_spans
from training.question_tools import CORPUS, TOKENIZERS, questions, sentencepiece, signs

QUICK = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
kinds = st.sampled_from(sorted(TOKENIZERS))


def encode(kind: str, examples: list[Example], window: int = 24, stride: int = 6, **options: Any) -> SpanRows:
    return encode_questions(TOKENIZERS[kind], examples, window=window, stride=stride, with_source=True, **options)


def oracle(rows: SpanRows) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that say exactly what the labels say."""
    start, end = (np.full((len(rows), int(rows.widths.max())), -30.0, dtype=np.float32) for _ in range(2))
    for row in rows:
        assert row.span is not None
        start[row.position, row.span[0]] = end[row.position, row.span[1]] = 0
    return start, end


def longest(kind: str, text: str) -> int:
    return len(TOKENIZERS[kind](text, add_special_tokens=False)["input_ids"])


@QUICK
@given(kind=kinds, example=questions(), window=st.integers(34, 90), stride=st.integers(0, 8))
def test_windows_are_the_tokenizers_own(kind: str, example: Example, window: int, stride: int) -> None:
    # Beyond these the two differ on purpose: the tokenizer refuses where the window is made to fit.
    room = window - 4 - longest(kind, example.texts[0])
    assume(room > window // 2 and stride <= 2 * room // 3)
    rows = encode(kind, [example], window, stride)
    expected = TOKENIZERS[kind](
        *example.texts, truncation="only_second", max_length=window, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    assert [row.target.ids.tolist() for row in rows] == expected["input_ids"]
    if "token_type_ids" in expected:
        assert [row.target.types.tolist() for row in rows if row.target.types is not None] == expected["token_type_ids"]
    assert rows.widths.tolist() == [len(ids) for ids in expected["input_ids"]]
    for number, row in enumerate(rows):
        owners = expected.sequence_ids(number)
        assert owners.index(1) == rows.first[number]
        begins, ends = rows.offsets(row.position)
        own = [pair for pair, owner in zip(expected["offset_mapping"][number], owners, strict=True) if owner == 1]
        assert len(begins) == len(own)
        for begin, end, (first, last) in zip(begins, ends, own, strict=True):
            assert example.texts[1][begin:end] == example.texts[1][first:last].strip() or begin == end
            assert begin == end or first <= begin < end <= last


@QUICK
@given(st.integers(0, 60), st.integers(1, 12), st.integers(0, 15))
def test_windows_by_the_slow_loop(length: int, room: int, stride: int) -> None:
    context = "x" * length or "\u200b"
    # Three special tokens and a question of as many tokens as the context has room for.
    example = Example("q", ("?" * room, context))
    rows = encode("signs", [example], 2 * room + 3, stride)
    expected = slow_spans.windows(len(context), room, stride)
    assert list(zip(rows.begin.tolist(), rows.end.tolist(), strict=True)) == expected
    covered = {place for begin, end in expected for place in range(begin, end)}
    assert covered == set(range(len(context)))


@QUICK
@given(kind=kinds, examples=st.lists(questions(), min_size=1, max_size=4), window=st.integers(34, 60))
def test_labels_lead_back_to_the_answers(kind: str, examples: list[Example], window: int) -> None:
    rows = encode(kind, examples, window, 12)
    answers = best_answers(rows, *oracle(rows), examples, max_answer_tokens=60)
    for number, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        own = [row for row in rows if row.example == number]
        gold = example.answers[0]
        held = [row for row in own if row.span != (rows.null[row.position],) * 2]
        if held:
            assert (answer.text, answer.start) == (gold.text, gold.start)
            assert answer.score == pytest.approx(0, abs=1e-6)
        assert answer.text == example.texts[1][answer.start : answer.end] == answer.text.strip() != ""
        assert [row.position for row in own] == list(range(own[0].position, own[-1].position + 1))
    lost = {row.example for row in rows} - {r.example for r in rows if r.span != (rows.null[r.position],) * 2}
    assert rows.counts.answers_lost == len(lost)


@QUICK
@given(
    kind=kinds,
    examples=st.lists(questions(12), min_size=1, max_size=3),
    limit=st.integers(1, 6),
    seed=st.integers(0, 999),
    whole=st.booleans(),
)
def test_best_answers_by_brute_force(kind: str, examples: list[Example], limit: int, seed: int, whole: bool) -> None:
    rows = encode(kind, examples)
    random = np.random.default_rng(seed)
    shape = (2, len(rows), int(rows.widths.max()) + 3)
    # Whole numbers have ties: the earlier window, the earlier start, the shorter span.
    logits = random.integers(-2, 3, shape).astype(float) if whole else random.normal(0, 3, shape)
    answers = best_answers(rows, *logits, examples, limit)
    for number, answer in enumerate(answers):
        own = [row.position for row in rows if row.example == number]
        views = []
        for index in own:
            begins, ends = rows.offsets(index)
            places = list(range(rows.first[index], rows.first[index] + len(begins)))
            start, end = (side[index].tolist() for side in logits)
            views.append((start, end, places, int(rows.null[index]), (ends > begins).tolist()))
        found = slow_spans.best(views, limit)
        assert found is not None
        score, window, first, last = found
        begins, ends = rows.offsets(own[window])
        shift = rows.first[own[window]]
        assert answer.score == pytest.approx(score)
        if not whole or len(own) == 1:
            assert (answer.start, answer.end) == (begins[first - shift], ends[last - shift])
        assert answer.text == examples[number].texts[1][answer.start : answer.end]
    shifted = logits + random.normal(0, 50, (2, len(rows), 1))
    again = best_answers(rows, *shifted, examples, limit)
    assert [a.score for a in again] == pytest.approx([a.score for a in answers])


def test_a_window_that_says_not_here_yields_to_the_other() -> None:
    example = Example("q", ("?", "abcdefghij" * 2))
    rows = encode("signs", [example], 16, 2)
    assert len(rows) > 1
    start, end = np.zeros((2, len(rows), 16))
    start[0, rows.null[0]] = end[0, rows.null[0]] = 20
    start[0, rows.first[0]] = end[0, rows.first[0]] = 15  # the highest span by sum, in a window that points elsewhere
    start[1, rows.first[1] + 1] = end[1, rows.first[1] + 2] = 6
    (answer,) = best_answers(rows, start, end, [example])
    assert answer.start == rows.begin[1] + 1
    assert answer.text == example.texts[1][answer.start : answer.start + 2]


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_logits_that_are_no_numbers_still_give_an_answer(value: float) -> None:
    examples = [Example("q", ("?", "  ab cd")), Example("e", ("?", "\u2003 "))]
    rows = encode("signs", examples)
    logits = np.full((len(rows), int(rows.widths.max())), value)
    first, second = best_answers(rows, logits, logits, examples)
    assert first.text == "a"
    assert second == ("", 0, 0, -np.inf)
    assert best_answers(encode("signs", []), np.zeros((0, 1)), np.zeros((0, 1)), []) == []
    with pytest.raises(UserError, match="answers of at least 1 token, got a limit of 0"):
        best_answers(rows, logits, logits, examples, 0)


def test_windows_without_the_answer_point_at_the_first_special_token() -> None:
    context = "abcdefghij" * 3
    example = Example("q", ("?", context), answers=(Answer("cde", 22),))
    for kind, null in (("signs", 0), ("t5", None)):
        rows = encode(kind, [example], 16, 2)
        for row in rows:
            begins, ends = rows.offsets(row.position)
            if begins[0] <= 22 and ends[-1] >= 25:
                continue
            assert row.span == ((rows.null[row.position],) * 2)
            assert rows.null[row.position] == (null if null is not None else rows.first[row.position] - 1)
            assert row.target.ids[rows.null[row.position]] in (0, 2)
    assert not isinstance(encode("signs", [Example("q", ("?", context))])[0].span, tuple)
    no_span = Example("q", ("?", context), answers=(Answer("elsewhere", None),))
    assert encode("signs", [no_span])[0].span is None


def test_the_authors_positions_are_those_of_the_first_window() -> None:
    context = "abcdefghij" * 3
    examples = [Example(str(at), ("?", context), answers=(Answer(context[at : at + 2], at),)) for at in (1, 22)]
    rows = encode("signs", examples, 16, 2)
    start, end = np.zeros((2, len(rows), 16))
    first, second = rows.first_windows()
    start[first, 5] = end[first, 6] = 1
    start[second, 9] = end[second, 4] = 1
    predicted, labelled = first_window_positions(rows, start, end)
    assert predicted.tolist() == [[5, 6], [9, 4]]
    assert labelled.tolist() == [[rows.first[0] + 1, rows.first[0] + 2], [0, 0]]


@QUICK
@given(kind=kinds, examples=st.lists(questions(source=True), min_size=1, max_size=4), window=st.integers(30, 60))
def test_the_source_shows_the_same_passage(kind: str, examples: list[Example], window: int) -> None:
    examples = [example if n % 3 < 2 else example.with_source(None) for n, example in enumerate(examples)]
    rows = encode(kind, examples, window, 6)
    alone = encode(kind, [Example("s", e.source or ("a", "a")) for e in examples], 400)
    fitted = encode(kind, [Example("s", e.source or ("a", "a")) for e in examples], window)
    sources_cut = 0
    for number, example in enumerate(examples):
        own = [row for row in rows if row.example == number]
        assert all((row.source is None) == (example.source is None) for row in own)
        if example.source is None:
            continue
        full, begin = alone[number].target.ids, int(alone.first[number])
        body, total = full[begin : begin + int(alone.end[number])].tolist(), max(int(rows.end[own[-1].position]), 1)
        tail = len(full) - begin - len(body)
        start = next(row for row in fitted if row.example == number)  # its question may be cut
        head = int(fitted.first[start.position])
        reached = 0
        for row in own:
            assert row.source is not None
            assert row.source.ids[:head].tolist() == start.target.ids[:head].tolist()
            begin, end = int(rows.begin[row.position]), int(rows.end[row.position])
            first, last = begin * len(body) // total, -(-end * len(body) // total)
            shown = body[first : min(last, first + window - head - tail)]
            assert row.source.ids[head : len(row.source.ids) - tail].tolist() == shown
            sources_cut += len(shown) < last - first
            assert first <= reached
            reached = max(reached, last)
        assert reached == len(body)
    assert rows.counts.sources_cut == sources_cut
    assert rows.lengths.tolist() == [
        len(row.target.ids) + (0 if row.source is None else len(row.source.ids)) for row in rows
    ]


def test_what_does_not_fit_is_cut_and_counted() -> None:
    long = Example("long", ("q" * 90, "abc"), None, ("s" * 90, "d" * 50), answers=(Answer("bc", 1),))
    short = Example("short", ("q", "abcdefghijklmnopqrstuvwxyz"), answers=(Answer("bcdefghijklmnopqrstuvwxyz", 1),))
    rows = encode("signs", [long, short], 23, 6)
    assert rows[0].span == (13, 14)
    assert rows[0].source is not None
    assert [len(rows[0].target.ids), len(rows[0].source.ids)] == [3 + 10 + 3, 23]
    counts = rows.counts
    assert (counts.examples, counts.windows, counts.questions_cut) == (2, len(rows), 1)
    assert (counts.answers_lost, counts.sources_cut) == (1, 1)
    with pytest.raises(UserError, match="a window of 4 tokens has no room beside 3 special ones"):
        encode("signs", [short], 4)
    with pytest.raises(UserError, match="a stride of 0 or more tokens, got -1"):
        encode("signs", [short], 23, -1)


def test_tokenizers_that_cannot_be_used_are_refused() -> None:
    example = Example("q", ("?", "abc"))
    with pytest.raises(UserError, match="adds no special tokens"):
        encode_questions(signs(None, types=False), [example], with_source=False)
    with pytest.raises(UserError, match="need a fast tokenizer"):
        windows_module.layout_of(SimpleNamespace(is_fast=False), "a", "b")
    with pytest.raises(UserError, match="rows:3: expected a question and its context"):
        encode("signs", [Example("q", ("?",), origin="rows:3")])


def test_texts_are_tokenised_once_and_a_bounded_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [Example(str(n), (f"q{n % 3}", "abc def " * (n % 4 + 1))) for n in range(12)]
    whole = encode("sentencepiece", examples)
    sizes: list[int] = []
    plain = windows_module._chunks  # pyright: ignore[reportPrivateUsage]

    def chunks(texts: Any) -> Any:
        sizes.append(len(texts))
        return plain(texts)

    monkeypatch.setattr(windows_module, "CHUNK_OF_SIGNS", 20)
    monkeypatch.setattr(windows_module, "_chunks", chunks)
    again = encode("sentencepiece", examples)
    assert sizes == [3, 4]
    assert [row.target.ids.tolist() for row in whole] == [row.target.ids.tolist() for row in again]


@QUICK
@given(
    side=st.sampled_from(["left", "sentencepiece"]), examples=st.lists(questions(source=True), min_size=1, max_size=4)
)
def test_batches_point_at_the_same_tokens_on_either_side(side: str, examples: list[Example]) -> None:
    rows = encode(side, examples, 40)
    collate = SpanCollator(TOKENIZERS[side], 40, with_source=True)
    items = list(rows)
    batch = collate(items)
    for number, row in enumerate(items):
        assert row.span is not None
        for name, place in zip(("start_positions", "end_positions"), row.span, strict=True):
            at = int(batch[name][number])
            assert batch["attention_mask"][number, at] == 1
            assert batch["input_ids"][number, at] == row.target.ids[place]
            assert int(batch["attention_mask"][number, :at].sum()) == place
    back = collate.unpad(items, batch["input_ids"], 50)
    for row, values in zip(items, back, strict=True):
        assert values[: len(row.target.ids)].tolist() == row.target.ids.tolist()
        assert np.isneginf(values[len(row.target.ids) :]).all()
    unlabelled = collate([*items, items[0]._replace(span=None)])
    assert "start_positions" not in unlabelled
    assert "labels" not in batch


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=80, pad_token_id=1, type_vocab_size=1, initializer_range=0.3,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    flare = get_peft_model(
        XLMRobertaForQuestionAnswering(config), FlareConfig(task_type="QUESTION_ANS", r=4, lora_alpha=8)
    )
    with torch.no_grad():
        for name, parameter in flare.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return flare


EXAMPLES = [
    Example(
        "a",
        ("the tower", "Zoë oui the tower " + " ".join(CORPUS[:3])),
        None,
        ("a", "oui 1952 " * 9),
        answers=(Answer("tower", 12),),
    ),
    Example("b", ("oui", "Москва 1952 a"), None, None, answers=(Answer("1952", 7),)),
    Example("c", ("é", "é ñandú 北京 " * 5), None, ("the", "tower"), answers=(Answer("北京", 8),)),
]


def test_a_question_answering_model_trains_with_these_batches(model: Any) -> None:
    rows = encode("sentencepiece", EXAMPLES, 40)
    batch = SpanCollator(TOKENIZERS["sentencepiece"], 40, with_source=True)(list(rows))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, 3e-2)
    model.train()
    losses = []
    for _ in range(15):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        touched = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        assert any("lora_A" in name for name in touched)
        assert any("qa_outputs" in name for name in touched)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.2


@pytest.mark.parametrize("side", ["sentencepiece", "left"])
def test_logits_of_a_window_do_not_depend_on_its_batch(model: Any, side: str) -> None:
    rows = encode(side, EXAMPLES, 40)
    collate = SpanCollator(TOKENIZERS[side], 40, with_source=True)
    model = deepcopy(model).double().eval()  # in float32 a batch's width changes the last digits
    start, end = span_logits(model, rows, collate, 5, "fp32")
    answers = best_answers(rows, start, end, EXAMPLES)
    assert all(answer.text for answer in answers)
    for row in rows:
        with torch.no_grad():
            batch = {name: tensor for name, tensor in collate([row]).items() if not name.endswith("positions")}
            alone = model(**batch)
        for whole, logits in ((start, alone.start_logits), (end, alone.end_logits)):
            expected = collate.unpad([row], logits, whole.shape[1])[0]
            np.testing.assert_allclose(whole[row.position], expected, rtol=0, atol=1e-5)
    no_source = span_logits(model, rows, SpanCollator(TOKENIZERS[side], 40, with_source=False), 5, "fp32")[0]
    changed = {row.example for row in rows if not np.allclose(start[row.position], no_source[row.position], atol=1e-4)}
    assert changed == {0, 2}, "the rows with a source, and no other, hear of it"


def test_sentencepiece_blanks_are_no_part_of_an_answer() -> None:
    tokenizer = sentencepiece()
    example = Example("q", ("?", "the  tower\n 北京"))
    rows = encode_questions(tokenizer, [example], with_source=False)
    begins, ends = rows.offsets(0)
    texts = {example.texts[1][b:e] for b, e in zip(begins, ends, strict=True)}
    assert all(text == text.strip() for text in texts)
    covered = {place for b, e in zip(begins, ends, strict=True) for place in range(b, e)}
    assert covered == {place for place, sign in enumerate(example.texts[1]) if not sign.isspace()}


def test_a_token_of_no_text_does_not_break_the_order_of_offsets() -> None:
    numbers = [np.array(column, dtype=np.int32) for column in ((0, 0, 2, 3), (2, 0, 3, 5))]
    begin, end = windows_module._trimmed("ab cd", *numbers)  # pyright: ignore[reportPrivateUsage]
    assert (begin.tolist(), end.tolist()) == ([0, 2, 2, 3], [2, 2, 2, 5])
