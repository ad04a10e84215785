"""What the engines with a sequence-to-sequence model share: tokens in, tokens out, batches by length, and limits."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.libraries.transformers import config_value
from crossflare.translation.engines.families import Family
from crossflare.translation.engines.model_files import Loading, load_tokenizer, read_licence, revision_of, show_licence
from crossflare.translation.engines.protocol import check_pair, stand_ins, translate_filled

LIMIT_STEP = 16
"""Length limits of translations are multiples of this number; only texts with the same limit share a batch."""
UNLIMITED = 1024
"""The most tokens for models with relative positions, which could read any number."""
DECODING = 2
"""Raised when the same model and options would give another text."""

Rows = list[list[int]]


class Neural:
    """A model and its tokenizer, loaded at the first text; a copy sent to another process loads them there again."""

    def __init__(
        self,
        engine: str,
        model: str,
        *,
        revision: str | None,
        precision: tuple[str, str],
        beams: int,
        tokens_per_batch: int,
        length_ratio: float,
        mt_language: Mapping[str, str] | None,
        licence: str | None,
    ) -> None:
        """Describe the engine; `precision` is the name and the value of its option. The engines explain the rest.

        Raises:
            UserError: There is no such model, or an option is out of range.
        """
        for name, value in (("beams", beams), ("tokens_per_batch", tokens_per_batch), ("length_ratio", length_ratio)):
            if value <= 0:
                raise UserError(f"option '{name}' of the engine {engine}: expected more than 0, found {value}")
        self._model_name, self._revision = model, revision
        self._beams, self._tokens_per_batch, self._length_ratio = beams, tokens_per_batch, float(length_ratio)
        self._others = stand_ins(mt_language)
        folder = Path(model)
        self.identity: dict[str, Any] = {
            "engine": engine,
            "decoding": DECODING,
            "model": folder.name if folder.is_dir() else model,
            "revision": revision_of(model, revision),
            precision[0]: precision[1],
            "beams": beams,
            "length_ratio": self._length_ratio,
            "mt_language": self._others,
            "licence": licence or read_licence(model, revision),
        }

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is loaded (each `cached_property`), for a copy in another process."""
        kind = type(self)
        return {
            name: value
            for name, value in self.__dict__.items()
            if not isinstance(getattr(kind, name, None), cached_property)
        }

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`.

        Raises:
            UserError: The model lacks a language (see `Family`), or a text is longer than it can read.
        """
        check_pair(source, target)
        direction = self._family.direction(source, target)
        self._show_licence()

        def engine(filled: list[str]) -> list[str]:
            rows = self._rows(filled, direction.source_code, direction.prefix)
            bare = len(self._rows([""], direction.source_code, direction.prefix)[0])
            done = list(filled)  # a text without tokens stays as it is, like a blank one
            seen = [index for index, row in enumerate(rows) if len(row) > bare]
            picked = [
                [seen[place] for place in batch]
                for batch in sized_batches([rows[index] for index in seen], self._tokens_per_batch, self._limit)
            ]
            asked = [([rows[index] for index in batch], self._limit(len(rows[batch[0]]))) for batch in picked]
            for batch, found in zip(picked, self._search(asked, direction.forced_token), strict=True):
                decoded = self._tokenizer.batch_decode(found, skip_special_tokens=True)
                for index, text in zip(batch, decoded, strict=True):
                    done[index] = text.strip()
            return done

        return translate_filled(texts, source, target, engine)

    def check(self, source: str, target: str | None) -> None:
        """Refuse a pair of languages that the model lacks, without its weights; without a target: a language to encode.

        Raises:
            UserError: See `translate`.
        """
        if target is None:
            self._family.source_code(source)
        else:
            check_pair(source, target)
            self._family.direction(source, target)

    @cached_property
    def max_tokens(self) -> int:
        """The most tokens of one text, as `count_tokens` counts them."""
        return self._positions - self._family.prefix_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has for the model, with the special ones."""
        return [len(row) for row in self._read(texts)]

    def _search(self, asked: Sequence[tuple[Rows, int]], forced: int | None) -> Iterable[Rows]:
        """Yield for each (rows, limit) the tokens of their translations, after the forced one."""
        raise NotImplementedError

    def _show_licence(self) -> None:
        show_licence(self.identity["model"], self.identity["licence"])

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._model_name, self._revision)

    @cached_property
    def _family(self) -> Family:
        return Family(self._tokenizer, self._model_name, self._others)

    @cached_property
    def _positions(self) -> int:
        from transformers import AutoConfig

        with Loading(self._model_name):
            config = AutoConfig.from_pretrained(self._model_name, revision=self._revision, trust_remote_code=False)
        return int(config_value(config, "max_position_embeddings") or UNLIMITED)

    def _limit(self, length: int) -> int:
        """Return how many tokens the translation of `length` tokens may have; the limit depends on nothing else."""
        return min(math.ceil((self._length_ratio * length + 8) / LIMIT_STEP) * LIMIT_STEP, self._positions - 1)

    def _rows(self, texts: list[str], code: str | None, prefix: str = "") -> Rows:
        """Return the tokens of each text; `code` is that of their language, and `prefix` comes before each text."""
        if code is not None:
            self._tokenizer.src_lang = code
        rows = self._read(texts, prefix)
        for text, row in zip(texts, rows, strict=True):
            if len(row) > self._positions:
                raise UserError(
                    f"a text of {len(row)} tokens is longer than the {self._positions} that {self._model_name} reads;"
                    f" split it: {text[:60]!r}"
                )
        return rows

    def _read(self, texts: Sequence[str], prefix: str = "") -> Rows:
        """Return the tokens of each text, however many; crossflare reports texts that are too long."""
        return self._tokenizer([prefix + clean(text) for text in texts], verbose=False)["input_ids"] if texts else []


def clean(text: str) -> str:
    """Return `text` as Unicode that can be encoded: halves of surrogate pairs, which tokenizers refuse, as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def sized_batches(rows: Sequence[Sequence[int]], tokens: int, limit: Callable[[int], int]) -> Iterator[list[int]]:
    """Yield indices of rows, longest first; a batch has one `limit`, and at most `tokens` with padding, or one row."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: -len(rows[index])):
        first = len(rows[batch[0]]) if batch else 0
        if batch and ((len(batch) + 1) * first > tokens or limit(len(rows[index])) != limit(first)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
