"""Models in CTranslate2's form: converted once, into the user's cache, under the content they were made from."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.files import commit_dir, content_id, open_dir
from crossflare.libraries import ctranslate2
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
    made = [FORMAT, model if not Path(model).is_dir() else "", content, precision, version("ctranslate2")]
    folder = cache_folder() / "ctranslate2" / content_id(made)
    try:
        open_dir(folder)
    except UserError:
        commit_dir(folder, lambda place: convert(model, revision, precision, place))
    return folder


def convert(model: str, revision: str | None, precision: str, place: Path) -> None:
    """Write `model` into the folder `place`; its vocabulary are the numbers of the tokens (see `token_names`)."""
    with Loading(model):
        ctranslate2.convert(model, revision, precision, place, token_names)


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
