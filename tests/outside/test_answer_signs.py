"""Answers end where written signs end, also for tokenizers that strip the marks on them."""

import unicodedata

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from crossflare.tasks.example import Answer, Example
from crossflare.training.text.extraction import best_answers
from crossflare.training.text.questions import encode_questions
from crossflare.training.text.windows import answer_tokens, tokenise, whole_signs
from training.question_tools import BERT, SPECIALS, signs, wrapped

CASES = {
    "Thai": ("เขามีแมว สี่ ตัว ที่บ้าน", "สี่"),
    "Hindi": ("मेरा नाम एलवे है", "एलवे"),
    "Arabic": ("هذا جوابٌ صحيح", "جوابٌ"),
    "Igbo": ("ụlọ ahịa dị n\u0301so\u0300 ebe", "n\u0301so\u0300"),
    "Vietnamese": (unicodedata.normalize("NFD", "thủ đô Hà Nội"), unicodedata.normalize("NFD", "Hà Nội")),
    "a number sign": ("سنة \u0600123 قبل", "\u0600123"),
}
LETTERS = ["a", "b", "ส", "ก", "ह", "\u0301", "\u0e35", "\u0e48", "\u0947", "\u094d", "\u0600", "\u200d", " ", "7"]


def stripping() -> PreTrainedTokenizerFast:
    """As BERT's uncased models have it: marks and control signs are stripped before anything else."""
    rules = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=100))
    rules.normalizer = normalizers.BertNormalizer(strip_accents=True, lowercase=True)
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    corpus = [rules.normalizer.normalize_str(text) for text, _ in CASES.values()]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIALS, show_progress=False)
    rules.train_from_iterator([*corpus, *(" ".join(text) for text in corpus)], trainer)
    rules.post_processor = BERT
    return wrapped(rules, types=True)


STRIPPING = stripping()
TOKENIZERS = {"stripping": STRIPPING, "signs": signs()}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(("context", "gold"), CASES.values(), ids=CASES)
def test_a_model_that_points_where_the_labels_do_gives_the_gold_answer(kind: str, context: str, gold: str) -> None:
    example = Example("q", ("what", context), answers=(Answer(gold, context.index(gold)),))
    rows = encode_questions(TOKENIZERS[kind], [example], window=64, stride=8, with_source=False)
    logits = np.full((2, len(rows), int(rows.widths.max())), -30.0)
    for row in rows:
        assert row.span is not None
        logits[0, row.position, row.span[0]] = logits[1, row.position, row.span[1]] = 0
    (answer,) = best_answers(rows, *logits, [example])
    assert (answer.text, answer.start, answer.end) == (gold, context.index(gold), context.index(gold) + len(gold))


def test_control_this_tokenizer_strips_marks() -> None:
    assert [STRIPPING.decode(STRIPPING("สี่ एलवे so\u0300")["input_ids"][1:-1])] != ["สี่ एलवे so\u0300"]
    out = STRIPPING("สี่", add_special_tokens=False, return_offsets_mapping=True)
    assert out["offset_mapping"][-1][1] < len("สี่")


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from(LETTERS), max_size=14))
def test_a_token_ends_where_its_sign_does(text: str) -> None:
    """With this tokenizer no token begins or ends in a sign, but where the next token does; only blanks have none."""
    passages = tokenise(STRIPPING, [text], "")
    begin, end = passages.begin.tolist(), passages.end.tolist()
    assert begin == sorted(begin)
    assert end == sorted(end)
    whole = [found for found in regex.finditer(r"\X", text) if " " not in found[0]]
    inner = {place for found in whole for place in range(found.start() + 1, found.end())}
    for here, there in zip(begin, end, strict=True):
        assert here not in inner or here in end
        assert there not in inner or there in begin
        assert text[here:there] == text[here:there].strip()


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from(LETTERS), min_size=1, max_size=14), st.data())
def test_whole_signs_by_the_slow_way(text: str, data: st.DataObject) -> None:
    solid = [place for place, sign in enumerate(text) if not sign.isspace()]
    kept = sorted(data.draw(st.sets(st.sampled_from(solid)))) if solid else []
    begin, end = np.array(kept, dtype=np.int32), np.array([place + 1 for place in kept], dtype=np.int32)
    expected = {place: [place, place + 1] for place in kept}
    for found in regex.finditer(r"\X", text):
        own = [place for place in kept if found.start() <= place < found.end()]
        for place in range(found.start(), found.end()):
            if place in kept or not own or text[place].isspace():
                continue
            before = [known for known in own if known < place and " " not in text[known:place]]
            behind = [known for known in own if known > place and " " not in text[place:known]]
            if before:
                expected[before[-1]][1] = place + 1
            elif behind:
                expected[behind[0]][0] = min(expected[behind[0]][0], place)
    found = whole_signs(text, begin, end)
    assert [list(pair) for pair in zip(*(side.tolist() for side in found), strict=True)] == list(expected.values())


def test_marks_that_have_tokens_of_their_own_are_left_to_them() -> None:
    context, gold = "กี่ ตัว", "กี"  # the gold answer itself ends within a sign
    passages = tokenise(TOKENIZERS["signs"], [context], "")
    assert passages.end.tolist()[:3] == [1, 2, 3]
    assert answer_tokens(Example("q", ("?", context), answers=(Answer(gold, 0),)), passages, 0) == (0, 1)
