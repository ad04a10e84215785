"""Model folders and hub names: which revision, which licence, and one line for a model that cannot be loaded."""

import logging
import re
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from crossflare import devices
from crossflare.disk.files import content_id, digest_file
from crossflare.errors import UserError

_log = logging.getLogger("crossflare")
_said: set[str] = set()


def once(message: str) -> None:
    """Log `message` as a warning, only the first time in this process; by default it reaches standard error."""
    if message not in _said:
        _said.add(message)
        _log.warning("%s", message)


def show_licence(model: str, licence: str) -> None:
    """Print a note, once, when a licence forbids commercial use."""
    if "-nc" in licence.lower():
        once(f"{model}: its licence {licence} forbids commercial use of the model and of what it translates")


KNOWN_LICENCES = (
    ("nllb", "CC-BY-NC-4.0"),
    ("m2m100", "MIT"),
    ("opus-mt", "CC-BY-4.0"),
    ("madlad", "Apache-2.0"),
    ("mbart", "MIT"),
)
"""Part of a model's name -> its licence, for models that come without their card."""
UNKNOWN_LICENCE = "unknown; see the model's page"
UNREAD = (".md", ".bin", ".h5", ".msgpack", ".ot", ".onnx")
"""Files of a model folder that translations do not depend on: the card, and weights in other formats."""


class Loading:
    """Turns the error of a model that cannot be loaded into one line."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError, KeyError, ImportError)) and not isinstance(error, UserError):
            reason = str(error).strip().split("\n")[0][:200]
            raise UserError(
                f"{self._model}: expected a hub name or a folder of an M2M-100, NLLB, mBART-50, MADLAD or Marian"
                f" model with safetensors weights (`crossflare fetch` makes them of others); the reason: {reason}"
            ) from error


def load_tokenizer(model: str, revision: str | None) -> Any:
    """Return the tokenizer of a model; raise `UserError` when there is none."""
    from transformers import AutoTokenizer

    with Loading(model):
        return AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)


def own_card(count: int) -> str | None:
    """Return the graphics card of this process among `count`: worker processes take them in turn; None without one.

    Return None also where CROSSFLARE_DEVICE asks for another kind of device.
    """
    if devices.asked() not in (None, "cuda"):
        return None
    worker = re.search(r"-(\d+)$", current_process().name)  # SpawnProcess-3
    return f"cuda:{(int(worker[1]) - 1) % count if worker else 0}" if count else None


WIDE = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers"})
"""Types of models, MADLAD's among them, some of whose numbers exceed what float16 holds: translations become wrong."""


def in_half(model: str, revision: str | None, option: str, asked: str | None) -> bool:
    """Return whether a model may compute in float16.

    Args:
        model: Hub name or folder.
        revision: The revision of a hub name.
        option: The name of the option that chooses the precision.
        asked: The user's choice, which computes in float16; None: none.

    Raises:
        UserError: It may not, and the user asked for it; or there is no such model.
    """
    from transformers import AutoConfig

    with Loading(model):
        kind = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False).model_type
    if kind in WIDE and asked is not None:
        raise UserError(
            f"{model}: some numbers of models like it ({kind}) exceed what float16 holds, found {option} {asked}; "
            f"take bfloat16 or float32, or leave {option} out"
        )
    return kind not in WIDE


def device_and_dtype(device: str | None, dtype: str | None, model: str, revision: str | None) -> tuple[str, str]:
    """Return the device and the precision of a model.

    Raises:
        UserError: There is no such precision, or the model cannot compute in it.
    """
    import torch

    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise UserError(
            f"option 'dtype' of the engine transformers: expected float32, float16 or bfloat16, found {dtype}"
        )
    chosen = device or own_card(torch.cuda.device_count()) or str(devices.best_device())
    if dtype == "float16" or (dtype is None and chosen.startswith("cuda")):
        half = in_half(model, revision, "dtype", dtype)
        wide = "bfloat16" if not half and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        return chosen, "float16" if half else wide
    return chosen, dtype or "float32"


def revision_of(model: str, revision: str | None) -> str:
    """Return the commit of a hub name, or the content id of a folder's weights, configuration and tokenizer.

    Raises:
        UserError: There is no such model.
    """
    folder = Path(model)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() not in UNREAD)
        return content_id({path.name: digest_file(path) for path in files if not path.name.startswith(".")})
    from huggingface_hub import hf_hub_download

    with Loading(model):
        return Path(hf_hub_download(model, "config.json", revision=revision)).parent.name  # .../snapshots/<commit>/


def read_licence(model: str, revision: str | None) -> str:
    """Return the licence that a model's card states, else the known licence of models with such a name."""
    name = Path(model).name.lower()
    known = next((licence for part, licence in KNOWN_LICENCES if part in name), UNKNOWN_LICENCE)
    return stated_licence(model, revision) or known


def stated_licence(model: str, revision: str | None) -> str | None:
    """Return the `license` in the front matter of a model's card; None if it states none."""
    return card_licence(_card(model, revision))


def card_licence(card: str) -> str | None:
    """Return the `license` in the front matter of a card's text; None if it says none."""
    front = re.match(r"---\r?\n(.*?)\r?\n---", card, re.DOTALL)
    entry = r"""^license:[ \t]*(?:\r?\n[ \t]*-[ \t]*|\[[ \t]*)?["']?([^\s"'\[\],]+)"""
    found = re.search(entry, front[1], re.MULTILINE) if front else None
    if found is None:
        return None
    return found[1].upper() if found[1].lower().startswith("cc-") else found[1]


def _card(model: str, revision: str | None) -> str:
    """Return the text of a model's card, fetched if necessary; empty when there is none."""
    from huggingface_hub import hf_hub_download

    try:
        local = Path(model) / "README.md"
        card = local if Path(model).is_dir() else Path(hf_hub_download(model, "README.md", revision=revision))
        return card.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""
