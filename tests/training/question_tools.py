"""Tokenizers of the usual kinds, made on the spot, and questions over words of several scripts."""

from typing import Any

from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from crossflare.tasks.example import Answer, Example

_LINE = "Zoë oui 👍🏽 বাংলা ভাষা é 北京 Москва 1952 ﬁn ñandú the tower 𝔸𝔹 မြန်မာ العربية a"
WORDS = _LINE.split()
CORPUS = [" ".join(WORDS[n:] + WORDS[:n]) for n in range(len(WORDS))]
BLANKS = [" ", "  ", "\n", "\u00a0", "\t "]

words = st.sampled_from(WORDS)


@st.composite
def questions(draw: st.DrawFn, most: int = 40, source: bool = False) -> Example:
    """A question whose answer is some of the context's words; blanks of many kinds between the words."""
    parts = draw(st.lists(words, min_size=1, max_size=most))
    gaps = [draw(st.sampled_from(BLANKS)) for _ in parts]
    first = draw(st.integers(0, len(parts) - 1))
    last = draw(st.integers(first, min(first + 4, len(parts) - 1)))
    ends = ["".join(gap + part for gap, part in zip(gaps[:n], parts[:n], strict=True)) for n in range(len(parts) + 1)]
    start = len(ends[first]) + len(gaps[first])
    answer = Answer(ends[-1][start : len(ends[last + 1])], start)
    question = " ".join(draw(st.lists(words, min_size=1, max_size=6)))
    other = (question[::-1] or "a", " ".join(draw(st.lists(words, min_size=1, max_size=most)))) if source else None
    return Example("q", (question, ends[-1]), None, other, answers=(answer,))


def wrapped(rules: Tokenizer, side: str = "right", types: bool = False) -> PreTrainedTokenizerFast:
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    return PreTrainedTokenizerFast(
        tokenizer_object=rules, unk_token="<unk>", cls_token="<s>", sep_token="</s>", pad_token="<pad>",
        padding_side=side, model_input_names=names,
    )  # fmt: skip


SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
ROBERTA = processors.TemplateProcessing(
    single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
)
BERT = processors.TemplateProcessing(
    single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
)
T5 = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)])


def sentencepiece(side: str = "right", post: Any = ROBERTA) -> PreTrainedTokenizerFast:
    """As XLM-R has it: NFKC, a mark before each word, pieces of a unigram model."""
    rules = Tokenizer(models.Unigram())
    rules.normalizer = normalizers.NFKC()
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    rules.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    rules.train_from_iterator(CORPUS, trainer)
    rules.post_processor = post
    return wrapped(rules, side)


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2 and RoBERTa have it: several tokens may stand for one sign."""
    rules = Tokenizer(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    rules.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )  # fmt: skip
    rules.post_processor = ROBERTA
    return wrapped(rules)


def signs(post: Any = BERT, *, types: bool = True) -> PreTrainedTokenizerFast:
    """Every code point is a token, blanks too."""
    rules = Tokenizer(models.WordLevel({name: number for number, name in enumerate(SPECIALS)}, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    if post is not None:
        rules.post_processor = post
    return wrapped(rules, types=types)


TOKENIZERS = {
    "sentencepiece": sentencepiece(),
    "left": sentencepiece("left"),
    "byte-level": byte_level(),
    "signs": signs(),
    "t5": sentencepiece(post=T5),
}
