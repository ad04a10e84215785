"""Tiny random translation models with real tokenizers, made on the spot."""

import io
import json
from pathlib import Path

import sentencepiece
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration, MarianConfig, MarianMTModel

TEXT = ["nyumba kubwa nyekundu", "the big red house", "mbwa anakula", "a dog eats fish", "samaki wa bahari"] * 4
SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 128,
    "dropout": 0.0,
}


def pieces(path: Path) -> list[str]:
    """Train a sentencepiece model into `path` and return its pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(TEXT), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [processor.IdToPiece(index) for index in range(processor.GetPieceSize())]


def m2m(folder: Path) -> Path:
    """Save an M2M-100 model with its 100 languages."""
    folder.mkdir(parents=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = special + [piece for piece in pieces(folder / "sentencepiece.bpe.model") if piece not in special]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "M2M100Tokenizer"}))
    torch.manual_seed(0)
    config = M2M100Config(vocab_size=len(words) + 108, decoder_start_token_id=2, init_std=0.3, **SIZES)
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def nllb(folder: Path) -> Path:
    """Save a model with NLLB's tokenizer and its 202 languages."""
    from transformers import NllbTokenizer

    folder.mkdir(parents=True)
    letters = ["<s>", "<pad>", "</s>", "<unk>", "▁", *sorted(set("".join(TEXT)) - {" "})]
    tokenizer = NllbTokenizer(vocab={letter: index for index, letter in enumerate(letters)}, merges=[])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = M2M100Config(vocab_size=len(tokenizer), decoder_start_token_id=2, init_std=0.3, **SIZES)
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def marian(folder: Path, source: str = "sw", target: str = "en", extra: tuple[str, ...] = ()) -> Path:
    """Save a Marian model of one pair; `extra` are tokens like `>>spa<<` that choose a target language."""
    folder.mkdir(parents=True)
    words = pieces(folder / "source.spm")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    special = ["</s>", "<unk>"]
    words = [*special, *(word for word in words if word not in (*special, "<s>")), *extra, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    settings = {"tokenizer_class": "MarianTokenizer", "source_lang": source, "target_lang": target}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    pad = len(words) - 1
    config = MarianConfig(
        vocab_size=len(words), pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=0, init_std=0.3, **SIZES
    )
    model = MarianMTModel(config)
    model.generation_config.update(bad_words_ids=[[pad]], renormalize_logits=True)  # as OPUS-MT's are saved
    model.save_pretrained(folder)
    return folder


def _scored(extra: tuple[str, ...]) -> list[tuple[str, float]]:
    letters = sorted(set("".join(TEXT)) - {" "})
    return [*((token, 0.0) for token in extra), ("▁", -2.0), *((letter, -3.0) for letter in letters)]


def mbart(folder: Path) -> Path:
    """Save a model with the tokenizer of mBART-50 and its 52 languages."""
    from transformers import MBart50Tokenizer, MBartConfig, MBartForConditionalGeneration
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES

    folder.mkdir(parents=True)
    vocabulary = [*_scored(("<s>", "<pad>", "</s>", "<unk>")), *((code, 0.0) for code in FAIRSEQ_LANGUAGE_CODES)]
    tokenizer = MBart50Tokenizer(vocab=[*vocabulary, ("<mask>", 0.0)])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = MBartConfig(vocab_size=len(tokenizer), decoder_start_token_id=2, init_std=0.3, **SIZES)
    MBartForConditionalGeneration(config).save_pretrained(folder)
    return folder


def madlad(folder: Path, languages: tuple[str, ...] = ("en", "sw", "id")) -> Path:
    """Save a T5 model whose tokenizer has tokens like `<2en>`."""
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    folder.mkdir(parents=True)
    tokens = tuple(f"<2{code}>" for code in languages)
    tokenizer = T5Tokenizer(vocab=_scored(("<pad>", "</s>", "<unk>", *tokens)), extra_ids=0)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        tie_word_embeddings=False,
        initializer_factor=3.0,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder
