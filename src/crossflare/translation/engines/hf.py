"""Neural translation with transformers: M2M-100, NLLB, mBART-50, MADLAD and Marian models, from the hub or a folder."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from crossflare.libraries.transformers import check_whole, quiet
from crossflare.translation.engines.model_files import Loading, device_and_dtype
from crossflare.translation.engines.neural import Neural, Rows, sized_batches
from crossflare.translation.engines.protocol import Deadline

if TYPE_CHECKING:
    import torch
    from transformers import StoppingCriteriaList

CACHED = 512
"""Tokens that the encoder reads at once on a processor: with 4,096 its caches overflow and it takes twice the time."""


class Transformers(Neural):
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
        mt_language: dict[str, str] | None = None,
        licence: str | None = None,
    ) -> None:
        """Describe the engine.

        Args:
            model: Hub name or local folder; weights in safetensors only; no code from the model is run.
            revision: The revision of a hub name.
            device: `cpu`, `cuda`, `cuda:1`, `mps`, ...; by default a graphics card where there is one.
            dtype: `float32`, `float16` or `bfloat16`; by default float16 on an NVIDIA card, else float32. MADLAD and
                others of the T5 family never compute in float16: there they take bfloat16, or float32.
            beams: Beams of the search; 1 is greedy. The search ends with as many finished translations.
            tokens_per_batch: Source tokens with padding in one batch; changes speed and memory, never the result.
            length_ratio: A translation ends at this many tokens per source token, and a few more.
            mt_language: Language of the texts -> language to treat it as, for those the model lacks.
            licence: By default the licence on the model's card.

        Raises:
            UserError: No such model, or an option out of range.
        """
        self._device, self._dtype = device_and_dtype(device, dtype, model, revision)
        super().__init__(
            "transformers",
            model,
            revision=revision,
            precision=("dtype", self._dtype),
            beams=beams,
            tokens_per_batch=tokens_per_batch,
            length_ratio=length_ratio,
            mt_language=mt_language,
            licence=licence,
        )

    @property
    def encoder_size(self) -> int:
        """d_mt, the size of the states that `encode` returns."""
        return int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str], source: str) -> "list[torch.Tensor]":
        """Return the encoder's states of each text, for FLARE MT.

        Args:
            texts: Texts in the language `source`, whose code the tokenizer gets.
            source: BCP-47 tag of the language that is read.

        Returns:
            One tensor [S, d_mt] per text, S its own tokens with the special ones, in main memory: batches go to the
            device that trains, one by one.

        Raises:
            UserError: The model lacks the language, or a text is longer than it can read.
        """
        import torch

        rows = self._rows(list(texts), self._family.source_code(source))
        self._show_licence()
        states: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        tokens = min(self._tokens_per_batch, CACHED) if self._device == "cpu" else self._tokens_per_batch
        for batch in sized_batches(rows, tokens, lambda length: 0):
            ids, mask = self._pad([rows[index] for index in batch])
            with torch.no_grad():  # not inference mode: the states enter a graph that is trained
                hidden = self._model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
            for index, state in zip(batch, hidden, strict=True):
                states[index] = state[: len(rows[index])].to("cpu", copy=True)
        return states

    def pieces(self, texts: Sequence[str], source: str) -> list[list[str]]:
        """Return the S tokens of each text as they are written, special ones too, one for each state of `encode`."""
        rows = self._rows(list(texts), self._family.source_code(source))
        return [list(self._tokenizer.convert_ids_to_tokens(row)) for row in rows]

    def _search(self, asked: Sequence[tuple[Rows, int]], forced: int | None) -> Iterator[Rows]:
        for rows, limit in asked:
            ids, mask = self._pad(rows)
            output = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                forced_bos_token_id=forced,
                num_beams=self._beams,
                early_stopping=self._beams > 1,  # end with as many finished translations as beams, as other toolkits do
                do_sample=False,
                max_new_tokens=limit,
                max_length=None,
                stopping_criteria=_in_time(Deadline(self._model_name)),
            )
            yield output[:, 1 if forced is None else 2 :].tolist()  # without the tokens that the decoder was given

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForSeq2SeqLM

        with Loading(self._model_name), quiet():
            model, report = AutoModelForSeq2SeqLM.from_pretrained(
                self._model_name,
                revision=self._revision,
                dtype=self._dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            check_whole(self._model_name, report)
        model.generation_config.forced_eos_token_id = None  # a text cut off at the limit must not look finished
        return model.to(self._device).eval().requires_grad_(False)

    def _pad(self, rows: Rows) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return ids and mask [B, S], padded on the right."""
        import torch

        longest = max(len(row) for row in rows)
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=self._device)
        return ids, mask


def _in_time(deadline: Deadline) -> "StoppingCriteriaList":
    """Return a criterion that checks the clock at every token of a search and never ends the search itself."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class InTime(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            deadline.check()
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([InTime()])
