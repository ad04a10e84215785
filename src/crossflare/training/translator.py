"""A small translation model for both directions, trained here, for language pairs with parallel text but no engine."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from crossflare import devices
from crossflare.disk.files import commit_dir, content_id, open_dir, write_atomic, write_json
from crossflare.errors import UserError
from crossflare.languages import tag_of
from crossflare.training.bitext import Bitext, BitextCollator, train_vocabulary, translation_loss
from crossflare.training.loop.batching import batches
from crossflare.training.loop.fit import Outcome, fit
from crossflare.training.loop.memory import Number
from crossflare.training.loop.settings import Precision, Settings
from crossflare.translation.engines.precomputed import Pair

VERSION = 1
"""This number increases whenever the same text and options would give another model."""
CARD = "translator.json"
HEAD_SIZE = 64


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of the model and the settings of its training.

    A small number of pairs needs a small vocabulary and high dropout (Sennrich and Zhang, 2019).

    Raises:
        UserError: The width is not a multiple of 64, or another value is out of range.
    """

    width: int = 256
    """d_model; feed-forward layers are four times as wide."""
    layers: int = 3
    """Layers of the encoder; the decoder has as many."""
    vocabulary: int = 4000
    """The number of pieces, for both languages together."""
    dropout: float = 0.3
    epochs: int = 20
    """Each epoch has every pair in both directions."""
    batch_size: int = 64
    lr: float = 1e-3
    warmup: float = 0.1
    """The share of the steps in which the learning rate rises."""
    max_tokens: int = 128
    """The most tokens of a text; training leaves longer pairs out, and longer texts are translated in parts."""
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width < HEAD_SIZE or self.width % HEAD_SIZE:
            raise UserError(f"width of a translator: expected a multiple of {HEAD_SIZE}, got {self.width}")
        for name, least in (("layers", 1), ("vocabulary", 64), ("max_tokens", 8)):
            if getattr(self, name) < least:
                raise UserError(f"{name} of a translator: expected {least} or more, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout of a translator: expected 0 to below 1, got {self.dropout}")

    @property
    def settings(self) -> Settings:
        """The settings of the training; they check the other values."""
        return Settings(
            lr=self.lr, epochs=self.epochs, batch_size=self.batch_size, warmup=self.warmup, weight_decay=0.01,
            max_length=self.max_tokens, seed=self.seed, precision=self.precision, evaluations=10,
        )  # fmt: skip


def translator_id(languages: tuple[str, str], pairs: Sequence[Pair], dev: Sequence[Pair], sizes: Sizes) -> str:
    """Return the content id of a translator, over everything that its weights depend on except the machine."""
    text = content_id([list(pairs), list(dev)])
    tags = [tag_of(language) for language in languages]
    return content_id({"version": VERSION, "languages": tags, "text": text, "sizes": asdict(sizes)})


def train_translator(
    root: Path,
    languages: tuple[str, str],
    pairs: Sequence[Pair],
    dev: Sequence[Pair],
    sizes: Sizes,
    licence: str,
) -> Path:
    """Train a model of M2M-100's architecture with NLLB's tokenizer, or find it; return its folder `root/<id>`.

    A run that was killed goes on from its last checkpoint and ends with the same bytes as an undisturbed one (on a
    CPU). The file `<id>.time.json` next to the folder holds the seconds it took. Both engines for neural models can
    read the folder.

    Args:
        root: The folder of all translators.
        languages: BCP-47 tags of the first and the second side of `pairs`.
        pairs: Parallel text for the training and the vocabulary.
        dev: Parallel text that chooses the step; if empty, the last step is kept.
        sizes: The sizes of the model and its training.
        licence: The licence of the parallel text, for the card: it also binds the model.

    Raises:
        UserError: See `Sizes` and `fit`; or a language has no FLORES-200 code, or no pair is short enough.
    """
    languages = (tag_of(languages[0]), tag_of(languages[1]))
    folder = root / translator_id(languages, pairs, dev, sizes)
    work = root / f".{folder.name}.run"
    if folder.is_dir():
        open_dir(folder)
        shutil.rmtree(work, ignore_errors=True)  # left by a run that was killed after it had saved
        return folder
    texts = (text for pair in pairs for text in pair)
    tokenizer = train_vocabulary(texts, sizes.vocabulary, languages, sizes.max_tokens)
    rows = Bitext(tokenizer, pairs, languages, sizes.max_tokens)
    held_out = Bitext(tokenizer, dev, languages, sizes.max_tokens)
    model = build_translator(tokenizer, sizes)
    collate = BitextCollator(tokenizer)
    score = partial(_score, rows=held_out, collate=collate, size=sizes.batch_size) if len(held_out) else None
    outcome = fit(
        model, rows, collate, translation_loss, score, sizes.settings, work, {"translator": folder.name}
    )  # fmt: skip
    card = {
        "languages": list(languages),
        "pairs": len(pairs),
        "left_out": rows.left_out,
        "dev_pairs": len(dev),
        "sizes": asdict(sizes),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "licence": licence,
        **_curve(outcome),
    }

    def fill(target: Path) -> None:
        model.cpu().save_pretrained(target)
        tokenizer.save_pretrained(target)
        write_json(target / CARD, card)
        write_atomic(target / "README.md", _readme(card))

    write_json(root / f"{folder.name}.time.json", {"seconds": round(outcome.seconds, 1)})
    commit_dir(folder, fill)
    shutil.rmtree(work, ignore_errors=True)
    return folder


def build_translator(tokenizer: Any, sizes: Sizes) -> Any:
    """Return an untrained model; the global random generators stay as they are."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    heads = sizes.width // HEAD_SIZE
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=sizes.width, encoder_layers=sizes.layers, decoder_layers=sizes.layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * sizes.width,
        decoder_ffn_dim=4 * sizes.width, dropout=sizes.dropout, attention_dropout=0.0, activation_dropout=0.0,
        encoder_layerdrop=0.0, decoder_layerdrop=0.0, max_position_embeddings=sizes.max_tokens,
        decoder_start_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    with devices.seeded(sizes.seed):
        return M2M100ForConditionalGeneration(config)


def _score(model: Any, precision: Number, *, rows: Bitext, collate: BitextCollator, size: int) -> float:
    """Return minus the mean cross-entropy per token of `rows`, without smoothing."""
    total, count = 0.0, 0
    for _, batch in batches(model, rows, collate, size, precision):
        tokens = int((batch["labels"] >= 0).sum())
        total += float(translation_loss(model, batch, smoothing=0.0)) * tokens
        count += tokens
    return -total / count


def _curve(outcome: Outcome) -> dict[str, Any]:
    return {
        "steps": outcome.steps,
        "chosen_step": outcome.chosen,
        "dev_score": outcome.best_score,
        "curve": [[point.step, point.loss, point.score] for point in outcome.curve],
        "precision": outcome.precision,
    }


def _readme(card: dict[str, Any]) -> str:
    licence = str(card["licence"])
    named = licence if licence and not any(sign.isspace() for sign in licence) else "other"
    tags = "".join(f"- {tag}\n" for tag in card["languages"])
    return (
        f"---\nlicense: {named}\nlanguage:\n{tags}pipeline_tag: translation\n---\n\n"
        f"A small translator between {' and '.join(card['languages'])}, both ways, trained by crossflare on "
        f"{card['pairs']} pairs of sentences (licence of the text: {licence}). Settings and curve: `{CARD}`.\n"
    )
