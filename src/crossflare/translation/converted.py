"""Models in CTranslate2's form: converted once, into the user's cache, under the content they were made from."""

import os
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.files import commit_dir, content_id, open_dir
from crossflare.translation.checkpoint import Loading

FORMAT = 1
"""Raised whenever the same model would be converted to something else."""


def cache_folder() -> Path:
    """Return where converted models are kept: `CROSSFLARE_CACHE`, else `crossflare` in the user's cache folder."""
    given = os.environ.get("CROSSFLARE_CACHE")
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(given).expanduser() if given else Path(user).expanduser() / "crossflare"


def converted(model: str, revision: str | None, content: str, precision: str) -> Path:
    """Return the folder of `model` in CTranslate2's form; convert it where that was not done, or is damaged.

    Args:
        model: Hub name or folder; weights in safetensors only.
        revision: Of a hub name.
        content: What the model's content is known by (see `revision_of`).
        precision: Of the weights on the disk: `float32`, `int8`, ...

    Raises:
        UserError: CTranslate2 has no form for such a model, or the cache cannot be written.
    """
    import ctranslate2

    made = [FORMAT, model if not Path(model).is_dir() else "", content, precision, ctranslate2.__version__]
    folder = cache_folder() / "ctranslate2" / content_id(made)
    try:
        open_dir(folder)
    except UserError:
        commit_dir(folder, lambda place: convert(model, revision, precision, place))
    return folder


def convert(model: str, revision: str | None, precision: str, place: Path) -> None:
    """Write `model` into the folder `place`; its vocabulary are the numbers of the tokens (see `token_names`)."""
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        def load_model(self, model_class: Any, model_name_or_path: str, **options: Any) -> Any:
            loaded = model_class.from_pretrained(model_name_or_path, use_safetensors=True, **options)
            if loaded.config.model_type == "mbart":
                # What the converter asks for and newer configurations leave out: the layout of all mBART models, and
                # a decoder that starts as in mBART-50, not as in mBART-25.
                vars(loaded.config).update(normalize_before=True, normalize_embedding=True)
                loaded.config.tokenizer_class = "MBart50Tokenizer"
            if loaded.config.model_type == "t5":  # the converter reads the scaling of the outputs off the tying
                scaled = getattr(loaded.config, "scale_decoder_outputs", loaded.config.tie_word_embeddings)
                loaded.config.tie_word_embeddings = scaled
            self.size = int(loaded.get_input_embeddings().weight.shape[0])
            return loaded

        def load_tokenizer(self, tokenizer_class: Any, model_name_or_path: str, **options: Any) -> Any:
            tokenizer = tokenizer_class.from_pretrained(model_name_or_path, revision=revision, **options)
            return _Numbers(tokenizer, self.size)

    with Loading(model):
        Converter(model, revision=revision).convert(str(place), quantization=precision, force=True)


def token_names(tokenizer: Any, size: int) -> list[str]:
    """Return a name for each of the `size` rows of the embeddings: its number, or the special token that it is.

    The tokens themselves will not do: some tokenizers list fewer than the model has, or one text twice.
    """
    names = [str(number) for number in range(size)]
    for token in (getattr(tokenizer, f"{kind}_token") for kind in ("unk", "bos", "cls", "eos", "pad")):
        number = tokenizer.convert_tokens_to_ids(token) if token else None
        if number is not None and number < size:
            names[number] = str(token)
    return names


class _Numbers:
    """What the converter asks a tokenizer for, with the names of `token_names`."""

    num_madeup_words = 0
    special_tokens_map: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, tokenizer: Any, size: int) -> None:
        self._names = token_names(tokenizer, size)
        self.unk_token, self.unk_token_id = tokenizer.unk_token, tokenizer.unk_token_id
        self.eos_token, self.pad_token = tokenizer.eos_token, tokenizer.pad_token
        self.bos_token = tokenizer.bos_token or tokenizer.cls_token or tokenizer.eos_token  # must be a token

    def get_vocab(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._names)}

    def convert_ids_to_tokens(self, number: int) -> str:
        return self._names[number]
