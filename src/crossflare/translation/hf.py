"""Neural translation with transformers: M2M-100, NLLB and Marian models, from the hub or a folder."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossflare.errors import UserError
from crossflare.translation.checkpoint import Loading, device_and_dtype, read_licence, revision_of
from crossflare.translation.codes import stand_ins
from crossflare.translation.families import Family
from crossflare.translation.translator import check_pair, translate_filled

if TYPE_CHECKING:
    import torch

LIMIT_STEP = 16
"""The length limit of a translation is a multiple of it: only texts with the same limit share a batch."""


class Transformers:
    """A sequence-to-sequence model; it is loaded at the first text."""

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        beams: int = 4,
        tokens_per_batch: int = 4096,
        length_ratio: float = 2.0,
        mt_language: Mapping[str, str] | None = None,
        licence: str | None = None,
    ) -> None:
        """Describe the engine.

        Args:
            model: Hub name or local folder; weights in safetensors only, no code from the model is run.
            revision: Of a hub name.
            device: `cpu`, `cuda`, `cuda:1`, ...; by default a graphics card where there is one.
            dtype: `float32`, `float16` or `bfloat16`; by default float32 on the processor, else float16.
            beams: Of the beam search; 1 is greedy.
            tokens_per_batch: Source tokens with padding in one batch; changes speed and memory, never the result.
            length_ratio: A translation ends at this many tokens per source token, and a few more.
            mt_language: Language of the texts -> language to treat it as, for those the model lacks.
            licence: By default the one on the model's card.

        Raises:
            UserError: No such model, or an option out of range.
        """
        for name, value in (("beams", beams), ("tokens_per_batch", tokens_per_batch), ("length_ratio", length_ratio)):
            if value <= 0:
                raise UserError(f"option '{name}' of the engine transformers: expected more than 0, found {value}")
        self._model_name, self._revision = model, revision
        self._device, self._dtype = device_and_dtype(device, dtype)
        self._beams, self._tokens_per_batch, self._length_ratio = beams, tokens_per_batch, length_ratio
        self._others = stand_ins(mt_language)
        folder = Path(model)
        self.identity: dict[str, Any] = {
            "engine": "transformers",
            "model": folder.name if folder.is_dir() else model,
            "revision": revision_of(model, revision),
            "dtype": self._dtype,
            "beams": beams,
            "length_ratio": length_ratio,
            "mt_language": self._others,
            "licence": licence or read_licence(model, revision),
        }

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`.

        Raises:
            UserError: The model lacks a language (see `Family`), or a text is longer than it can read.
        """
        check_pair(source, target)
        direction = self._family.direction(source, target)

        def engine(filled: list[str]) -> list[str]:
            rows = self._rows([direction.prefix + text for text in filled], direction.source_code)
            done = [""] * len(rows)
            for batch in _batches(rows, self._tokens_per_batch, self._limit):
                ids, mask = self._pad([rows[index] for index in batch])
                output = self._model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    forced_bos_token_id=direction.forced_token,
                    num_beams=self._beams,
                    do_sample=False,
                    max_new_tokens=self._limit(len(rows[batch[0]])),
                    max_length=None,
                )
                start = 1 if direction.forced_token is None else 2  # what the decoder was given is no translation
                decoded = self._tokenizer.batch_decode(output[:, start:], skip_special_tokens=True)
                for index, text in zip(batch, decoded, strict=True):
                    done[index] = text.strip()
            return done

        return translate_filled(texts, source, target, engine)

    @property
    def encoder_size(self) -> int:
        """d_mt, the size of the states that `encode` returns."""
        return int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str], source: str) -> "list[torch.Tensor]":
        """Return the encoder's states of each text, for FLARE MT.

        Args:
            texts: In the language `source`, whose code the tokenizer gets.
            source: BCP-47 tag of the language that is read.

        Returns:
            One tensor [S, d_mt] per text, S its own tokens with the special ones, on the engine's device.

        Raises:
            UserError: The model lacks the language, or a text is longer than it can read.
        """
        import torch

        rows = self._rows(list(texts), self._family.source_code(source))
        states: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        for batch in _batches(rows, self._tokens_per_batch, lambda length: 0):
            ids, mask = self._pad([rows[index] for index in batch])
            with torch.no_grad():  # not inference mode: the states enter a graph that is trained
                hidden = self._model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
            for index, state in zip(batch, hidden, strict=True):
                states[index] = state[: len(rows[index])].clone()
        return states

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        with Loading(self._model_name):
            return AutoTokenizer.from_pretrained(self._model_name, revision=self._revision, trust_remote_code=False)

    @cached_property
    def _family(self) -> Family:
        return Family(self._tokenizer, self._model_name, self._others)

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForSeq2SeqLM

        with Loading(self._model_name):
            model: Any = AutoModelForSeq2SeqLM.from_pretrained(
                self._model_name,
                revision=self._revision,
                dtype=self._dtype,
                use_safetensors=True,
                trust_remote_code=False,
            )
        return model.to(self._device).eval().requires_grad_(False)

    def _limit(self, length: int) -> int:
        """Return how many tokens the translation of `length` tokens may have: it depends on nothing else."""
        most = int(getattr(self._model.config, "max_position_embeddings", 1024)) - 1
        return min(math.ceil((self._length_ratio * length + 8) / LIMIT_STEP) * LIMIT_STEP, most)

    def _rows(self, texts: list[str], code: str | None) -> list[list[int]]:
        if code is not None:
            self._tokenizer.src_lang = code
        rows: list[list[int]] = self._tokenizer(texts)["input_ids"] if texts else []
        most = int(getattr(self._model.config, "max_position_embeddings", 1024))
        for text, row in zip(texts, rows, strict=True):
            if len(row) > most:
                raise UserError(
                    f"a text of {len(row)} tokens is longer than the {most} that {self._model_name} reads; split it:"
                    f" {text[:60]!r}"
                )
        return rows

    def _pad(self, rows: Sequence[Sequence[int]]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return ids and mask [B, S], padded on the right."""
        import torch

        longest = max(len(row) for row in rows)
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=self._device)
        return ids, mask


def _batches(rows: Sequence[Sequence[int]], tokens: int, limit: Callable[[int], int]) -> Iterator[list[int]]:
    """Yield indices of rows, longest first: at most `tokens` with padding (or one row), and one `limit` in a batch."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: -len(rows[index])):
        first = len(rows[batch[0]]) if batch else 0
        if batch and ((len(batch) + 1) * first > tokens or limit(len(rows[index])) != limit(first)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
