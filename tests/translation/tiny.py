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
    MarianMTModel(config).save_pretrained(folder)
    return folder
