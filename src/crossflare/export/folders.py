"""The folders that plain peft and transformers read: one LoRA on the base, or a whole model with its tokenizer."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from crossflare.disk.files import write_atomic
from crossflare.errors import UserError
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.saved.adapter_check import CONFIG, WEIGHTS, check_folder
from crossflare.fusion.saved.adapter_config import parse_config
from crossflare.fusion.saved.adapter_files import adapter_tensors
from crossflare.fusion.saved.plain_lora import PlainLora, stacked
from crossflare.libraries.transformers import quiet
from crossflare.recipe.engines import model_place
from crossflare.serving.adapter import TrainedAdapter
from crossflare.serving.card import Saved
from crossflare.training.bases.load import class_for, head_options, place_of
from crossflare.training.bases.packaged import BASES
from crossflare.training.forms.make import form_name

CLOSE = 1e-4
"""The largest difference of logits between a model and its folder as others read it; it is rounding."""


def largest_difference(found: Any, expected: Any) -> float:
    """Return the largest difference of two arrays of logits, as a share of those above 1."""
    return float((abs(found - expected) / np.maximum(abs(expected), 1)).max())


def check_plain(saved: Saved, *, lora: bool) -> None:
    """Raise `UserError` if an adapter of this kind is no plain LoRA, or no plain model; no model is loaded."""
    why = ""
    if saved.base.quantise != "none":
        why = f"its base is in {saved.base.quantise}, and what it learnt is for those coarse weights"
    elif saved.kind.mixes != "none":
        why = f"{saved.name} changes how the model itself computes"
    elif saved.kind.learns == "probe" or (lora and saved.kind.learns == "model"):
        why = f"{saved.name} trains no adapter but {'a regression' if saved.kind.learns == 'probe' else 'all weights'}"
    elif saved.kind.fuses and not lora:
        why = "a FLARE adapter cannot be merged, since its result depends on the source; --to base leaves it out"
    if why:
        raise UserError(f"{saved.folder}: not exported: {why}; use --to onnx, or serve it with crossflare")


def write_lora(adapter: TrainedAdapter, place: Path) -> dict[str, Any]:
    """Write one LoRA on the base itself, with stage 1 inside, for plain peft.

    Args:
        adapter: An adapter on the processor that `check_plain` does not refuse.
        place: An empty folder.

    Returns:
        What export.json says beside the usual.

    Raises:
        UserError: No LoRA computes what the adapter computes without a source, or plain peft reads it otherwise.
    """
    model: PeftModel = adapter.model
    config: Any = model.peft_config["default"]
    chain = check_folder(adapter.folder).chain
    parts = [PlainLora(parse_config(each / CONFIG), load_file(each / WEIGHTS)) for each in chain]
    made = stacked([*parts, PlainLora(config, adapter_tensors(model)).alone()])
    made.config.base_model_name_or_path = adapter.base.name
    made.config.revision = adapter.base.revision
    made.write(place)
    base = place_of(model_place(adapter.base.name), adapter.base.revision, download=False)
    given = _batch(adapter)
    loaded = PeftModel.from_pretrained(_opened(adapter, base), str(place)).eval()
    difference = largest_difference(_logits(loaded, given), _logits(model, given))
    if not difference < CLOSE:
        raise UserError(
            f"{adapter.folder}: on {adapter.base.name} as plain transformers loads it, the logits differ by "
            f"{difference:.2g}; the base may lack weights, which start at random: use --to model or --to onnx"
        )
    alone = isinstance(config, FlareConfig)
    write_atomic(place / "README.md", _lora_text(adapter, alone=alone, packaged=adapter.base.name in BASES))
    return {
        "r": made.config.r,
        "stage1": "joined into the adapter" if chain else "none",
        "logits_differ_by": difference,
    }


def write_model(adapter: TrainedAdapter, place: Path) -> dict[str, Any]:
    """Write the whole model, the adapter merged in, with its head and tokenizer, for plain transformers.

    Args:
        adapter: As for `write_lora`; its model is changed.
        place: An empty folder.

    Returns:
        What export.json says beside the usual.

    Raises:
        UserError: Plain transformers reads the folder otherwise.
    """
    model = adapter.model
    given = _batch(adapter)
    expected = _logits(model, given)
    with quiet():
        whole: Any = model.merge_and_unload() if isinstance(model, PeftModel) else model
        whole.save_pretrained(place, safe_serialization=True)
        adapter.tokenizer.save_pretrained(place)
    difference = largest_difference(_logits(_opened(adapter, str(place)), given), expected)
    if not difference < CLOSE:
        raise UserError(f"{adapter.folder}: the folder, read again, differs by {difference:.2g} in the logits")
    write_atomic(place / "README.md", _model_text(adapter))
    return {"logits_differ_by": difference}


def _opened(adapter: TrainedAdapter, folder: str) -> Any:
    """Return a model as plain transformers loads it."""
    with quiet():
        model = _class(adapter).from_pretrained(
            folder,
            revision=adapter.base.revision if folder == adapter.base.name else None,
            dtype=torch.float32,
            local_files_only=True,
            **head_options(form_name(adapter.task, adapter.answering), adapter.task),
        )
    return model.eval()


def _class(adapter: TrainedAdapter) -> Any:
    """Return the class that a user loads the model with."""
    form = form_name(adapter.task, adapter.answering)
    return class_for(form, adapter.model.config, adapter.base.name)


def _batch(adapter: TrainedAdapter) -> dict[str, Tensor]:
    """Return two rows of tokens of the vocabulary's middle, one of them shorter; both sides for an encoder-decoder."""
    tokens = torch.arange(16).view(2, 8) * 7 % (len(adapter.tokenizer) // 2) + len(adapter.tokenizer) // 3
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0
    end = adapter.model.config.eos_token_id
    if adapter.model.config.is_encoder_decoder and isinstance(end, int):
        tokens[:, 4], tokens[0, 7] = end, end
    given = {"input_ids": tokens, "attention_mask": mask}
    written = adapter.answering == "text" or not adapter.task.labels
    return given | ({"decoder_input_ids": tokens} if adapter.model.config.is_encoder_decoder and written else {})


@torch.no_grad()
def _logits(model: Any, given: dict[str, Tensor]) -> Any:
    """Return a model's logits as an array; for spans those of start and end."""
    output = model(**given)
    found = output.logits if hasattr(output, "logits") else torch.stack([output.start_logits, output.end_logits])
    return found.numpy()


def _lora_text(adapter: TrainedAdapter, *, alone: bool, packaged: bool) -> str:
    head = f", num_labels={len(adapter.task.labels)}" if adapter.answering == "head" and adapter.task.labels else ""
    where = (
        f"\n{adapter.base.name} is a base of crossflare's packages: `--to model` has it inside.\n" if packaged else ""
    )
    how = " It computes what the FLARE adapter computes without a source." if alone else ""
    return f"""# {adapter.task.name}: {adapter.name}, as a plain LoRA

One LoRA on {adapter.base.name} itself: what was merged into it before (stage 1) is a part of this adapter.{how}
{where}
    from peft import PeftModel
    from transformers import {_class(adapter).__name__}

    base = {_class(adapter).__name__}.from_pretrained("{adapter.base.name}"{head})
    model = PeftModel.from_pretrained(base, "this folder").eval()

Labels, temperature and longest text are in `export.json`.
"""


def _model_text(adapter: TrainedAdapter) -> str:
    return f"""# {adapter.task.name}: {adapter.name}, as a plain model

{adapter.base.name} with all that was trained merged in, for transformers alone:

    from transformers import {_class(adapter).__name__}, AutoTokenizer

    model = {_class(adapter).__name__}.from_pretrained("this folder").eval()
    tokenizer = AutoTokenizer.from_pretrained("this folder")

Labels, temperature and longest text are in `export.json`.
"""
