"""The same models with CTranslate2: several times faster on a processor, in 8-bit integers or in floats."""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossflare.disk.files import commit_dir, content_id, open_dir
from crossflare.disk.storage import cache_folder
from crossflare.errors import UserError, choose
from crossflare.libraries import translators
from crossflare.translation.engines.model_files import Loading, in_half, own_card
from crossflare.translation.engines.neural import Neural, Rows
from crossflare.translation.engines.protocol import Deadline

FORMAT = 1
"""Raised when the same model would be converted to something else."""


def converted(model: str, revision: str | None, content: str, precision: str) -> Path:
    """Return the folder of `model` in CTranslate2's form; convert it where the form is missing or damaged.

    Args:
        model: Hub name or folder; weights in safetensors only.
        revision: The revision of a hub name.
        content: The identity of the model's content (see `revision_of`).
        precision: The precision of the weights on disk: `float32`, `int8`, ...

    Raises:
        UserError: CTranslate2 has no form for such a model, or the cache cannot be written.
    """
    made = [FORMAT, model if not Path(model).is_dir() else "", content, precision, version("ctranslate2")]
    folder = cache_folder() / "ctranslate2" / content_id(made)
    try:
        open_dir(folder)
    except UserError:
        commit_dir(folder, lambda place: write_converted(model, revision, precision, place))
    return folder


def write_converted(model: str, revision: str | None, precision: str, place: Path) -> None:
    """Write `model` into the folder `place`; its vocabulary is the tokens' numbers (see `token_names`)."""
    with Loading(model):
        translators.convert(model, revision, precision, place, token_names)


def token_names(tokenizer: Any, size: int) -> list[str]:
    """Return a name for each of the `size` rows of the embeddings: its number, or the special token that it is.

    The tokens themselves cannot serve: some tokenizers list fewer than the model has, or list one text twice.
    """
    names = [str(number) for number in range(size)]
    for token in (getattr(tokenizer, f"{kind}_token") for kind in ("unk", "bos", "cls", "eos", "pad")):
        number = tokenizer.convert_tokens_to_ids(token) if token else None
        if number is not None and number < size:
            names[number] = str(token)
    return names


LOOK = 0.005
"""Seconds between two checks of a search that runs in other threads."""
PRECISIONS = ("int8", "float32", "float16", "bfloat16", "int8_float32", "int8_float16", "int8_bfloat16", "int16")


class CTranslate2(Neural):
    """A model of `Transformers`, converted at the first text; in float32 it gives the same translations."""

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        device: str | None = None,
        compute_type: str | None = None,
        threads: int = 0,
        beams: int = 4,
        tokens_per_batch: int = 4096,
        length_ratio: float = 2.0,
        mt_language: dict[str, str] | None = None,
        licence: str | None = None,
    ) -> None:
        """Describe the engine; `Transformers` explains the options that are not explained here.

        Args:
            model: Hub name or local folder of a model for transformers; it is converted into the user's cache once.
            revision: The revision of a hub name.
            device: `cpu`, `cuda` or `cuda:1`; by default a graphics card where there is one.
            compute_type: One of `PRECISIONS`; by default int8 on the processor, else as `dtype` of `Transformers`.
            threads: Threads of the processor; 0: as many as it has cores, or OMP_NUM_THREADS.
            beams: Beams of the search.
            tokens_per_batch: Source tokens with padding in one batch.
            length_ratio: A translation ends at this many tokens per source token, and a few more.
            mt_language: Language of the texts -> language to treat it as.
            licence: By default the licence on the model's card.

        Raises:
            UserError: The package ctranslate2 is missing, there is no such model, or an option is out of range.
        """
        try:
            import ctranslate2
        except ImportError as error:
            raise UserError(
                "the engine ctranslate2 needs the package ctranslate2; install it: pip install 'crossflare[ct2]'"
            ) from error
        if device is None:
            device = own_card(ctranslate2.get_cuda_device_count()) or "cpu"
        self._device, _, index = device.partition(":")
        choose("device of the engine ctranslate2", self._device, ("cpu", "cuda"))
        if index and not index.isdecimal():
            raise UserError(f"option 'device' of the engine ctranslate2: expected cpu, cuda or cuda:1, found {device}")
        self._index, self._threads = int(index or 0), threads
        half = compute_type in ("float16", "int8_float16")
        if half or (compute_type is None and self._device == "cuda"):
            may = in_half(model, revision, "compute_type", compute_type if half else None)
            known = () if may else ctranslate2.get_supported_compute_types(self._device, self._index)
            compute_type = compute_type or ("float16" if may else "bfloat16" if "bfloat16" in known else "float32")
        compute_type = compute_type or "int8"
        self._precision = choose("compute_type of the engine ctranslate2", compute_type, PRECISIONS)
        super().__init__(
            "ctranslate2",
            model,
            revision=revision,
            precision=("compute_type", compute_type),
            beams=beams,
            tokens_per_batch=tokens_per_batch,
            length_ratio=length_ratio,
            mt_language=mt_language,
            licence=licence,
        )

    def _search(self, asked: Sequence[tuple[Rows, int]], forced: int | None) -> Iterator[Rows]:
        names, translator, settings = self._names, self._translator, self._settings
        numbers = {name: number for number, name in enumerate(names)}
        running = [
            translator.translate_batch(
                [[names[number] for number in row] for row in rows],
                target_prefix=None if forced is None else [[names[forced]]] * len(rows),
                beam_size=self._beams,
                max_decoding_length=limit,
                max_input_length=0,
                asynchronous=True,
                **settings,
            )
            for rows, limit in asked
        ]
        for batch in running:
            deadline = Deadline(self._model_name)
            while not all(waiting.done() for waiting in batch):
                deadline.check()
                time.sleep(LOOK)
            found = [waiting.result().hypotheses[0] for waiting in batch]
            yield [[numbers[name] for name in row[0 if forced is None else 1 :]] for row in found]

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """The search options of the model's own `generation_config.json`, which `Transformers` obeys."""
        from transformers import GenerationConfig

        try:
            own = GenerationConfig.from_pretrained(self._model_name, revision=self._revision or "main")
        except OSError:
            own = GenerationConfig()
        pad = self._tokenizer.pad_token_id
        banned = [row for row in own.bad_words_ids or () if row != [pad] or self._family.kind != "marian"]
        return {
            "length_penalty": 1.0 if own.length_penalty is None else float(own.length_penalty),
            "repetition_penalty": float(own.repetition_penalty or 1.0),
            "no_repeat_ngram_size": int(own.no_repeat_ngram_size or 0),
            "suppress_sequences": [[self._names[number] for number in row] for row in banned] or None,
        }

    @cached_property
    def _names(self) -> list[str]:
        from transformers import AutoConfig

        with Loading(self._model_name):
            config = AutoConfig.from_pretrained(self._model_name, revision=self._revision, trust_remote_code=False)
        return token_names(self._tokenizer, int(config.vocab_size))

    @cached_property
    def _translator(self) -> Any:
        import ctranslate2

        # int8_float16 and the like keep their weights in int8.
        stored = "int8" if self._precision.startswith("int8") else self._precision
        folder = converted(self._model_name, self._revision, self.identity["revision"], stored)
        try:
            return ctranslate2.Translator(
                str(folder),
                device=self._device,
                device_index=self._index,
                compute_type=self._precision,
                intra_threads=self._threads,
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"{self._model_name}: ctranslate2 cannot load it on {self._device}: {reason}") from error
