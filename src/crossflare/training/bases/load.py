"""Base models: from a Python package, a local folder, or a name on the model hub."""

import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from crossflare import devices
from crossflare.errors import UserError
from crossflare.fusion.identity import BaseIdentity, identify, named_by_path
from crossflare.fusion.saved.adapter_files import load_adapter
from crossflare.libraries.transformers import quiet
from crossflare.recipe.task import Answering
from crossflare.tasks.dataset import Task
from crossflare.training.bases.packaged import BASES, base_place
from crossflare.training.bases.quantised import Quantisation, quantise_model
from crossflare.training.forms.make import form_name
from crossflare.training.forms.protocol import FormName

KNOWN = " or ".join(f"'{name}'" for name in BASES)
PICKLES, SAFE = (".bin", ".pt", ".pth", ".ckpt"), ".safetensors"
"""The endings of weights files: those that are never opened, and the one that is read."""
HEADS: dict[FormName, tuple[Any, Any]] = {
    "labels": (AutoModelForSequenceClassification, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING),
    "span": (AutoModelForQuestionAnswering, MODEL_FOR_QUESTION_ANSWERING_MAPPING),
}
"""Form -> the class that loads a model with a head, and its models."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model that can do a task in one form."""

    model: Any
    """A transformers model; with a classification head, `model.config.id2label` has the labels."""
    tokenizer: Any
    identity: BaseIdentity
    """The identity of the weights in full precision, as loaded."""


def load_base(
    name: str,
    task: Task,
    answering: Answering = "head",
    *,
    revision: str | None = None,
    seed: int,
    called: str | None = None,
    quantise: Quantisation = "none",
    merge: Path | None = None,
    download: bool = True,
    device: torch.device | None = None,
) -> Base:
    """Load a base model, in float32 or quantised, with the head that the task's form needs.

    A quantised model is on the device that it will run on; any other is in main memory.

    Args:
        name: One of `BASES`, such as `minilm`; the path of a folder; or a name on the hub.
        task: The task.
        answering: With a new head, or in the model's own words.
        revision: A commit or tag on the hub.
        seed: The seed of the head's initial weights, if the files have none; the global generators stay unchanged.
        called: The model's name for people; None: `name`.
        quantise: How the weights are stored: `none`, `nf4`, `nf4-single` or `int8`.
        merge: With `quantise`, the stage 1 adapter to merge before the weights are quantised.
        download: Whether a model on the hub may be fetched; otherwise it comes from the local cache, without network.
        device: The device of a quantised model; None: the best one.

    Raises:
        UserError: There is no such model, it has only pickles, its head has other labels, it cannot do the task in this
            form, or it cannot be loaded.
    """
    where, form = place_of(name, revision, download=download), form_name(task, answering)
    hub = {"revision": revision}
    with loading(name), quiet(), devices.seeded(seed):
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **hub)
        auto = class_for(form, AutoConfig.from_pretrained(where, trust_remote_code=False, **hub), name)
        model, report = auto.from_pretrained(
            where,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **hub,
            **head_options(form, task),
        )
    missing = set(report["missing_keys"])
    _check_weights(name, model, missing, writes=form in WRITTEN)
    if form == "labels":
        check_head(name, where, hub, model, missing, task.labels)
    set_padding(name, model, tokenizer, writes=form in WRITTEN)
    identity = identify(model, called or name)
    if quantise != "none":
        merging = None if merge is None else partial(_merged, adapter=merge, identity=identity)
        model = quantise_model(model, auto, quantise, device or devices.best_device(), merging)
    return Base(model, tokenizer, identity)


def place_of(name: str, revision: str | None = None, *, download: bool = True) -> str:
    """Return where a model is: a folder, or a name on the hub.

    Args:
        name: As in `load_base`.
        revision: As in `load_base`.
        download: Whether a model on the hub may be fetched; otherwise only the hub's cache is searched.

    Raises:
        UserError: There is no such folder, it has no model, or the model is not in the cache.
    """
    where = base_place(name)
    if named_by_path(where) and not Path(where).is_dir():
        raise UserError(
            f"model '{name}': there is no such folder; check the path, or give a name on the hub, or one of {KNOWN}"
        )
    if not download and not Path(where).is_dir():
        where = str(_fetched(name, revision))
    if Path(where).is_dir():
        _check_folder(Path(where))
    return where


def head_options(form: FormName, task: Task) -> dict[str, Any]:
    """Return the configuration options for the head of a form."""
    if form != "labels":
        return {}
    labels = dict(enumerate(task.labels))
    return {"num_labels": len(labels), "id2label": labels, "label2id": {name: place for place, name in labels.items()}}


@contextmanager
def loading(name: str) -> Generator[None]:
    """Turn an error of a model that cannot be loaded into a `UserError` of one line."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"model '{name}' could not be loaded ({reason:.300}); expected {KNOWN}, a folder with config.json and "
            f"model.safetensors, or the name of a model on the hub that has safetensors (`crossflare fetch` makes them)"
        ) from error


def _fetched(name: str, revision: str | None) -> Path:
    """Return the folder of a model in the hub's cache, without any network (`local_files_only` does not promise that).

    Raises:
        UserError: The model is not in the cache.
    """
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except (ValueError, OSError):  # not a valid model name
        found = None
    if not isinstance(found, str):
        raise UserError(
            f"the base model '{name}' that the adapter names is not here; give it with --base FOLDER, or fetch it with "
            f"--base {name!r} (in Python base={name!r})"
        )
    return Path(found).parent


def _merged(model: Any, *, adapter: Path, identity: BaseIdentity) -> Any:
    return load_adapter(model, adapter, base=identity).merge_and_unload()


WRITTEN = ("words", "text")
"""The forms in which a model answers in words."""


def class_for(form: FormName, config: Any, name: str) -> Any:
    """Return the class that loads a model in a form.

    Raises:
        UserError: The model has no such head, or does not write.
    """
    if form in HEADS:
        auto, models = HEADS[form]
        if type(config) not in models:
            head = "labels" if form == "labels" else "spans of a context"
            raise UserError(
                f"model '{name}' ({config.model_type}) has no head for {head}; set form: text if it writes, or take "
                "another model"
            )
        return auto
    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.model_type in ENCODERS:
        raise UserError(
            f"model '{name}' ({config.model_type}) reads only and cannot answer in words; set form: head, or take a "
            "decoder-only or an encoder-decoder model"
        )
    return AutoModelForCausalLM


ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "electra", "camembert", "ernie", "rembert"})
"""Encoders that transformers can also load as decoders, although they are not trained as such."""


def set_padding(name: str, model: Any, tokenizer: Any, *, writes: bool) -> None:
    """Set the padding token and side of tokenizer and model, and warn about each change."""
    if tokenizer.pad_token_id is None:  # as in many decoder-only models
        if tokenizer.eos_token is None:
            raise UserError(f"model '{name}': its tokenizer has neither a padding nor an end token; set pad_token")
        tokenizer.pad_token = tokenizer.eos_token
        warnings.warn(f"model '{name}' has no padding token: its end token stands in for it", stacklevel=3)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if writes and not model.config.is_encoder_decoder and tokenizer.padding_side != "left":
        tokenizer.padding_side = "left"
        warnings.warn(
            f"model '{name}' pads on the right, but a decoder answers after the last token: padded on the left",
            stacklevel=3,
        )


def only_pickles(files: Iterable[str]) -> str | None:
    """Return the message for a model whose files, by name, have only pickled weights; None if they do not."""
    names = sorted(files)
    pickles = [name for name in names if name.endswith(PICKLES)]
    if not pickles or any(name.endswith(SAFE) for name in names):
        return None
    return (
        f"has only pickled weights ({pickles[0]}), which can run code and are never opened: only safetensors are read; "
        "`crossflare fetch MODEL` converts them without running anything of it"
    )


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json; expected the folder of a transformers model")
    files = [path.name for path in folder.iterdir()]
    if (reason := only_pickles(files)) is not None:
        raise UserError(f"{folder}: {reason}")
    if not any(name.endswith(SAFE) for name in files):
        raise UserError(f"{folder}: no *.safetensors file; expected the folder of a transformers model")


def _check_weights(name: str, model: Any, missing: set[str], *, writes: bool) -> None:
    """Warn about missing weights below the head; refuse a model that is to write without a trained output layer."""
    prefix = f"{model.base_model_prefix}."
    below = sorted(key for key in missing if key.startswith(prefix))
    if below:
        shown = ", ".join(below[:3]) + (f" and {len(below) - 3} more" if len(below) > 3 else "")
        warnings.warn(f"model '{name}' has no weights for {shown}: they start at random", stacklevel=3)
    if writes and missing - set(below):
        raise UserError(
            f"model '{name}' has no weights for {sorted(missing - set(below))[0]}, so it has not learnt to write; set "
            "form: head, or take a language model"
        )


def check_head(
    name: str, where: str, hub: dict[str, Any], model: Any, missing: set[str], labels: Sequence[str]
) -> None:
    """Refuse a head trained for other labels, or for the same labels in another order."""
    if all(key.startswith(f"{model.base_model_prefix}.") for key in missing):
        stored: Any = AutoConfig.from_pretrained(where, trust_remote_code=False, **hub).id2label
        names = [stored[index] for index in sorted(stored)]
        if names != list(labels) and not all(str(label).startswith("LABEL_") for label in names):
            raise UserError(
                f"model '{name}' has a head for the labels {names}, the task has {list(labels)}; name the labels in "
                "the model's order, or start from a model without a head"
            )
