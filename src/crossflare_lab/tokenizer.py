"""One subword vocabulary for all languages of the laboratory, in the form that each family of models needs."""

import json
import string
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import NllbTokenizer, PreTrainedTokenizerFast

from crossflare.languages import find_language
from crossflare_lab.languages import tags

Family = Literal["encoder", "decoder", "encoder-decoder", "translator"]
FAMILIES: tuple[Family, ...] = ("encoder", "decoder", "encoder-decoder", "translator")
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(16))
LONGEST = 256
"""The most tokens that every model of the laboratory reads."""
_COMMON = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
_MORE = {"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # in the places of XLM-R and NLLB


def train_tokenizer(texts: Iterable[str], size: int, family: Family) -> Any:
    """Learn byte pairs from `texts` and return a transformers tokenizer; it knows every printable ASCII sign.

    Args:
        texts: The text, in all languages.
        size: Pieces in the vocabulary, without the family's special ones.
        family: Decides the special tokens, their places, and the side of the padding.
    """
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    space = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    # No piece crosses a blank or a full stop: an answer's end is always the end of a piece.
    core.pre_tokenizer = pre_tokenizers.Sequence([space, pre_tokenizers.Punctuation("isolated")])
    core.decoder = decoders.Metaspace(prepend_scheme="always", split=True)
    signs = [sign for sign in string.printable if not sign.isspace()]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(_SPECIAL), initial_alphabet=signs, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    if family == "translator":
        learnt = json.loads(core.to_str())["model"]
        merges: Any = [tuple(pair) for pair in learnt["merges"]]
        codes = [code for tag in tags() if (code := find_language(tag).nllb)]
        return NllbTokenizer(
            learnt["vocab"], merges, extra_special_tokens=codes, src_lang=codes[0], model_max_length=LONGEST
        )
    core.post_processor = _template(family)
    more: dict[str, Any] = {"extra_special_tokens": list(SENTINELS)} if family == "encoder-decoder" else _MORE
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=LONGEST,
        padding_side="left" if family == "decoder" else "right",
        model_input_names=["input_ids", "attention_mask"],
        **_COMMON,
        **more,
    )


def words_of(tokenizer: Any, text: str) -> list[list[int]]:
    """Return the ids of each word (or sign) of a text, without special tokens."""
    encoding = tokenizer(text, add_special_tokens=False)
    found: list[list[int]] = []
    last: int | None = None
    for word, token in zip(encoding.word_ids(), encoding["input_ids"], strict=True):
        if word != last or not found:
            found.append([])
        found[-1].append(token)
        last = word
    return found


def _template(family: Family) -> Any:
    single, pair = {
        "encoder": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
        "decoder": ("<s> $A", "<s> $A $B"),
        "encoder-decoder": ("$A </s>", "$A </s> $B </s>"),
    }[family]
    special: Sequence[Any] = [(token, _SPECIAL.index(token)) for token in ("<s>", "</s>")]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
