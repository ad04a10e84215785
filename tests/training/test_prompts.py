"""Prompts, answers, and what is cut where a prompt is too long."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.training.text import prompts as module
from crossflare.training.text.prompts import Prompter, encode_prompts, fit_texts, template_of
from training.question_tools import CORPUS, SPECIALS, TOKENIZERS, words, wrapped

PAIRS = TextTask("pairs", 1, ("yes", "no"), text_count=2)
ASKED = QuestionTask("asked", 1)
PROMPT = "Context: Question: Answer: Premise: Hypothesis: Label: Sentiment: yes no positive negative"


def pieces() -> PreTrainedTokenizerFast:
    """As BERT has it: words are split into a first piece and others, blanks are dropped."""
    signs = sorted({sign for line in [*CORPUS, PROMPT] for sign in line if not sign.isspace()})
    known = [*SPECIALS, *PROMPT.replace(":", "").split(), *signs, *(f"##{sign}" for sign in signs)]
    rules = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(known)}, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.decoder = decoders.WordPiece()
    rules.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return wrapped(rules)


def ended(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.eos_token = "</s>"
    return tokenizer


KINDS = {
    "byte-level": ended(TOKENIZERS["byte-level"]),
    "sentencepiece": ended(TOKENIZERS["sentencepiece"]),
    "t5": ended(TOKENIZERS["t5"]),
    "pieces": ended(pieces()),
}
kinds = st.sampled_from(sorted(KINDS))
lines = st.lists(words, min_size=1, max_size=12).map(" ".join)


def plain(text: str) -> str:
    """Return a text without blanks, which tokenizers are free with."""
    return "".join(text.split())


def decoded(tokenizer: Any, ids: Any) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True)


def test_the_templates_are_the_papers() -> None:
    names = {
        template_of(PAIRS): "Premise: {0}\nHypothesis: {1}\nLabel:",
        template_of(TextTask("nusax", 1, ("yes", "no"))): "{0}\nSentiment:",
        template_of(TextTask("mine", 1, ("yes", "no"))): "{0}\nLabel:",
        template_of(ASKED): "Context: {1}\nQuestion: {0}\nAnswer:",
    }
    for template, wanted in names.items():
        lines = [f"{word}{{{place}}}\n" for word, place in template.fields]
        assert "".join(lines) + template.answer == wanted


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(0, 100))
def test_the_longest_loses_first_and_last_tokens_one_by_one(lengths: list[int], room: int) -> None:
    kept = fit_texts(lengths, room)
    slow = list(lengths)
    while sum(slow) > room:
        slow[slow.index(max(slow))] -= 1
    # Who loses the odd token among equals is free; how many of each length are left is not.
    assert sum(kept) == min(sum(lengths), room)
    assert all(0 <= a <= b for a, b in zip(kept, lengths, strict=True))
    assert all(abs(a - b) <= 1 for a, b in zip(sorted(kept), sorted(slow), strict=True))
    if sum(lengths) <= room:
        assert kept == lengths
    else:
        shortest_cut = min(k for k, length in zip(kept, lengths, strict=True) if k < length)
        assert all(k <= shortest_cut + 1 for k in kept), "no text is cut while another is longer"


@given(
    kind=kinds,
    texts=st.tuples(lines, lines),
    ends=st.booleans(),
    answer=st.sampled_from(["yes", "no", "北京", "Москва é"]),
)
def test_prompt_and_answer_say_the_text(kind: str, texts: tuple[str, str], ends: bool, answer: str) -> None:
    tokenizer = KINDS[kind]
    prompter = Prompter(tokenizer, template_of(ASKED), 400, ends=ends)
    (prompt,), cut = prompter.prompts([texts], "")
    assert prompt is not None
    assert cut == 0
    whole = f"Context: {texts[1]}\nQuestion: {texts[0]}\nAnswer: {answer}"
    given_answer = prompter.answer(answer)
    assert given_answer[-1] == tokenizer.eos_token_id
    assert (prompt[-1] == tokenizer.eos_token_id) == ends
    told = decoded(tokenizer, [*prompt, *given_answer])
    expected = decoded(tokenizer, tokenizer(whole, add_special_tokens=False).input_ids)
    assert plain(told) == plain(expected)
    begins = tokenizer("a").input_ids[:1] if kind != "t5" else []
    assert prompt[: len(begins)].tolist() == begins
    assert sum(int(token) in tokenizer.all_special_ids and token != tokenizer.unk_token_id for token in prompt) == len(
        begins
    ) + int(ends)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_goes_on_as_it_would_in_the_text(kind: str) -> None:
    """Its tokens are those behind `Answer:` in the whole line, not those of a line of its own."""
    tokenizer = KINDS[kind]
    prompter = Prompter(tokenizer, template_of(ASKED), 60, ends=False)
    line = tokenizer("Answer: the tower", add_special_tokens=False).input_ids
    stem = tokenizer("Answer:", add_special_tokens=False).input_ids
    assert line[: len(stem)] == stem
    assert [*stem, *prompter.answer("the tower")] == [*line, tokenizer.eos_token_id]


def test_where_stem_and_answer_melt_together_the_answer_stands_alone() -> None:
    """A tokenizer with a token over the border, such as `:the`."""
    vocabulary = {word: n for n, word in enumerate([*SPECIALS, *"Labelthc: ", ": ", ": t"])}
    rules = Tokenizer(models.BPE(vocabulary, [(":", " "), (": ", "t")], unk_token="<unk>"))
    tokenizer = ended(wrapped(rules))
    prompter = Prompter(tokenizer, template_of(TextTask("mine", 1, ("yes", "no"))), 60, ends=False)
    assert tokenizer("Label: the", add_special_tokens=False).input_ids[: len(prompter.stem)] != prompter.stem
    assert prompter.answer("the").tolist() == [*tokenizer("the", add_special_tokens=False).input_ids, 2]


@given(kind=kinds, texts=st.tuples(lines, lines), extra=st.integers(2, 30))
def test_only_texts_are_cut_at_their_ends_and_it_fits(kind: str, texts: tuple[str, str], extra: int) -> None:
    tokenizer = KINDS[kind]
    long = Prompter(tokenizer, template_of(ASKED), 1000, ends=True)
    length = 1000 - long.room + extra
    prompter = Prompter(tokenizer, template_of(ASKED), length, ends=True)
    (prompt,), cut = prompter.prompts([texts], "")
    (whole,), _ = long.prompts([texts], "")
    assert prompt is not None
    assert whole is not None
    assert len(prompt) <= length
    assert cut == (len(whole) > length)
    assert prompter.count_cut([Example("a", texts), Example("b", texts, None, texts)]) == {
        "target": 2 * cut,
        "source": int(cut),
    }
    question, context = (tokenizer(text, add_special_tokens=False).input_ids for text in texts)
    a, b = fit_texts([len(question), len(context)], prompter.room)
    middle = [*prompter.words[0], *context[:b], *prompter.line, *prompter.words[1], *question[:a], *prompter.line]
    assert prompt.tolist() == [*prompter.begin, *middle, *prompter.stem, *prompter.end]
    if len(question) <= prompter.room // 2:
        assert a == len(question), "what is asked is not cut while the context is longer"


def test_no_room_and_no_end_are_refused() -> None:
    tokenizer = KINDS["byte-level"]
    needed = 1000 - Prompter(tokenizer, template_of(PAIRS), 1000, ends=False).room
    Prompter(tokenizer, template_of(PAIRS), needed + 2, ends=False)
    with pytest.raises(
        UserError, match=f"max_length {needed + 1} leaves no room for text beside the prompt's own words"
    ):
        Prompter(tokenizer, template_of(PAIRS), needed + 1, ends=False)
    with pytest.raises(UserError, match=r"no end token \(eos_token\)"):
        Prompter(
            wrapped(Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))), template_of(PAIRS), 60, ends=True
        )


def test_rows_know_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    prompter = Prompter(KINDS["byte-level"], template_of(PAIRS), 60, ends=False)
    examples = [
        Example("a", ("the tower", "the"), 0, ("oui", "é")),
        Example("b", ("the", "北京"), None, None),
        Example("c", ("a", ""), 1, ("oui", "oui")),
    ]
    rows = encode_prompts(prompter, examples, ["yes", None, "no"], with_source=True)
    assert [row.position for row in (rows[0], rows[1], rows[2])] == [0, 1, 2]
    assert (rows.names, rows.labels) == (("a", "b", "c"), (0, None, 1))
    assert [row.source is None for row in (rows[0], rows[1], rows[2])] == [False, True, False]
    for row, length in zip((rows[0], rows[1], rows[2]), rows.lengths, strict=True):
        assert length == sum(0 if part is None else len(part) for part in (row.prompt, row.source, row.answer))
    (alone,), _ = prompter.prompts([("oui", "é")], "")
    assert rows[0].source is not None
    assert alone is not None
    assert rows[0].source.tolist() == alone.tolist()
    bare = encode_prompts(prompter, examples, [None] * 3, with_source=False)
    assert all(bare[n].source is None and bare[n].answer is None for n in range(3))
    with pytest.raises(UserError, match=r"f\.csv:7: example 'x' has no text; give it some or drop the row"):
        encode_prompts(prompter, [Example("x", (" ", ""), origin="f.csv:7")], [None], with_source=False)
