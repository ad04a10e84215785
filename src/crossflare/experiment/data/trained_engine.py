"""The engine `trained`: a translator that the recipe describes, trained when it gets its first text to translate."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

from crossflare.disk.files import read_json, write_json
from crossflare.errors import UserError
from crossflare.languages import tag_of
from crossflare.recipe.translation import TranslatorSpec
from crossflare.training.bitext import code_of
from crossflare.training.translator import Sizes, train_translator, translator_id
from crossflare.translation.engines.hf import Transformers
from crossflare.translation.engines.model_files import show_licence
from crossflare.translation.engines.neural import DECODING
from crossflare.translation.engines.precomputed import Pair, read_pairs
from crossflare.translation.engines.protocol import Translator, check_pair
from crossflare.translation.engines.registry import named

_log = logging.getLogger(__name__)


class Trained:
    """One translator between the source language and a target, in both directions.

    Its identity follows from the recipe alone, so that steps have their ids before anything is trained.
    """

    def __init__(
        self,
        spec: TranslatorSpec,
        source: str,
        language: str,
        root: Path,
        decode_with: str = "ctranslate2",
        beams: int = 4,
    ) -> None:
        """Describe the engine.

        Args:
            spec: The training text and settings.
            source: The language of `spec.source_file`.
            language: The language of `spec.target_file`.
            root: The folder of the run's translators.
            decode_with: `transformers` or `ctranslate2`; the encoder's states always come from `transformers`.
            beams: The number of beams of the beam search.

        Raises:
            UserError: The files do not exist or are not parallel, or a size is out of range.
        """
        self._spec, self._languages, self._root = spec, (tag_of(source), tag_of(language)), root
        self._decode_with, self._beams = decode_with, beams
        self._sizes = Sizes(**{each.name: getattr(spec, each.name) for each in fields(Sizes)})
        self._id = translator_id(self._languages, self._pairs("train"), self._pairs("dev"), self._sizes)
        self.identity: dict[str, Any] = {
            "engine": "trained",
            "model": self._id,
            "languages": list(self._languages),
            "sizes": asdict(self._sizes),
            "decode_with": decode_with,
            "decoding": DECODING,
            "beams": beams,
            "licence": spec.licence,
        }

    @property
    def encoder_size(self) -> int:
        """d_mt, the size of the states that `encode` returns."""
        return self._sizes.width

    @property
    def max_tokens(self) -> int:
        """The most tokens of one text."""
        return self._sizes.max_tokens

    def check(self, source: str, target: str | None) -> None:
        """Refuse a translator that cannot be trained or used: a language has no code, or a package is missing."""
        for tag in self._languages:
            code_of(tag)
        if self._decode_with == "ctranslate2" and find_spec("ctranslate2") is None:
            raise UserError(
                "the engine trained decodes with the package ctranslate2, which is missing; install it: pip install "
                "'crossflare[ct2]', or say decode_with: transformers"
            )

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`; the model is trained first if it does not exist."""
        check_pair(source, target)
        return self._decoder.translate(texts, source=source, target=target) if texts else []

    def encode(self, texts: Sequence[str], source: str) -> list[Any]:
        """See `Transformers.encode`."""
        return self._states.encode(texts, source)

    def pieces(self, texts: Sequence[str], source: str) -> list[list[str]]:
        """See `Transformers.pieces`."""
        return self._states.pieces(texts, source)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `Transformers.count_tokens`."""
        return self._states.count_tokens(texts)

    @cached_property
    def folder(self) -> Path:
        """The model's folder; the first process that asks trains the model and measures it on the test part."""
        self._root.mkdir(parents=True, exist_ok=True)
        show_licence(f"the translator trained on {self._spec.source_file}", self._spec.licence)
        with FileLock(self._root / f".{self._id}.lock"):
            train, dev = self._pairs("train"), self._pairs("dev")
            made = train_translator(self._root, self._languages, train, dev, self._sizes, self._spec.licence)
            self._measure(made)
        return made

    @property
    def quality(self) -> dict[str, Any] | None:
        """BLEU and chrF (0 to 1) on the test part, by direction; None: there is no test part, or no measure yet."""
        path = self._root / f"{self._id}.quality.json"
        return read_json(path) if path.is_file() else None

    @cached_property
    def _states(self) -> Transformers:
        return Transformers(str(self.folder), beams=self._beams, licence=self._spec.licence)

    @cached_property
    def _decoder(self) -> Translator:
        return self._decoder_of(self.folder)

    def _decoder_of(self, folder: Path) -> Translator:
        if self._decode_with == "transformers":
            return Transformers(str(folder), beams=self._beams, licence=self._spec.licence)
        from crossflare.translation.engines.ct2 import CTranslate2

        return CTranslate2(str(folder), beams=self._beams, licence=self._spec.licence)

    def _pairs(self, part: str) -> list[Pair]:
        """Return the pairs of a part; its paths may contain `{language}`."""
        files = {
            "train": (self._spec.source_file, self._spec.target_file, self._spec.limit.train),
            "dev": (self._spec.dev_source_file, self._spec.dev_target_file, self._spec.limit.dev),
            "test": (self._spec.test_source_file, self._spec.test_target_file, self._spec.limit.test),
        }
        first, second, limit = files[part]
        if first is None and second is None:
            return []
        paths = named((first, second), self._languages)
        pairs = read_pairs(source_file=paths[0], target_file=paths[1])[:limit]
        if not any(a.strip() and b.strip() for a, b in pairs):
            raise UserError(f"{paths[0]}: expected parallel text, found none; check the path")
        return pairs

    def _measure(self, folder: Path) -> None:
        pairs, path = self._pairs("test"), self._root / f"{self._id}.quality.json"
        if not pairs or path.is_file():
            return
        from crossflare.translation.quality import measure
        from crossflare.translation.translate import BySentence

        engine, found = BySentence(self._decoder_of(folder), by="budget"), dict[str, Any]()
        for side, (source, target) in enumerate((self._languages, self._languages[::-1])):
            texts, references = [pair[side] for pair in pairs], [pair[1 - side] for pair in pairs]
            score = measure(engine.translate(texts, source=source, target=target), references, target)
            found[f"{source}-{target}"] = asdict(score)
            _log.info("translator %s to %s: BLEU %.3f, chrF %.3f", source, target, score.bleu, score.chrf)
        write_json(path, found)
