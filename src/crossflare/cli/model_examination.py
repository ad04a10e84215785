"""The report of `crossflare doctor MODEL`: which projections of a model would fuse, from its configuration alone."""

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossflare.errors import UserError

TASKS = {
    "SEQ_CLS": "SEQUENCE_CLASSIFICATION",
    "TOKEN_CLS": "TOKEN_CLASSIFICATION",
    "QUESTION_ANS": "QUESTION_ANSWERING",
    "CAUSAL_LM": "CAUSAL_LM",
    "SEQ_2_SEQ_LM": "SEQ_TO_SEQ_CAUSAL_LM",
}
"""peft's task -> transformers' table of classes by configuration; the first that a model has shows its projections."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One list of blocks."""

    name: str
    blocks: int
    projections: list[str]
    """The projections of a block that fuse."""
    one_matrix: bool
    """Whether each projection is query, key and value in one matrix, whose key does not fuse."""
    fusing: int
    """How many projections fuse in all blocks."""
    norm: str
    attention: str


def examine_model(model: str) -> dict[str, Any]:
    """Return what FLARE would do with a model: its stacks of blocks, its size, its heads; no weights are read.

    `weights` says why the model's weights, if it has any, cannot be read; None: nothing was found against them.

    Args:
        model: A folder, a name on the hub, or the name of a base in a package, such as `minilm`.

    Raises:
        UserError: No such model, or its query and value projections are not known by name.
    """
    from crossflare.fusion.blocks import find_projections, find_sites, is_encoder_decoder
    from crossflare.fusion.identity import head_modules
    from crossflare.libraries.transformers import config_value
    from crossflare.training.bases.load import only_pickles
    from crossflare.training.bases.packaged import base_place
    from crossflare.training.loop.checkpoints import tied_weights

    where = base_place(model)
    config, made = _without_weights(model, where)
    shown = next(iter(made.values()))
    try:
        sites = find_sites(shown, find_projections(shown))
    except UserError as error:
        raise UserError(f"model '{model}': {error}") from error
    stacks = [
        _stack(shown, [site for site in sites if site.stack == name])
        for name in dict.fromkeys(site.stack for site in sites)
    ]
    causal = any(stack.attention.startswith("causal") for stack in stacks) and not is_encoder_decoder(shown)
    if not causal and len(made) > 1:  # an encoder can be made into a language model, which is not what the user means
        made.pop("CAUSAL_LM", None)
    text: Any = config.get_text_config()
    heads = config_value(text, "num_attention_heads")
    return {
        "model": model,
        "type": config.model_type,
        "class": type(shown).__name__,
        "hidden_size": config_value(text, "hidden_size"),
        "attention_heads": heads,
        "key_value_heads": config_value(text, "num_key_value_heads") or heads,
        "padding": "left, to generate and to learn to" if causal else "right",
        "tied_embeddings": any(map(tied_weights, made.values())),
        "heads": {task: head_modules(each) for task, each in made.items()},
        "stacks": [asdict(stack) for stack in stacks],
        "fusing": len(sites),
        "weights": only_pickles(_files(where)),
    }


def _files(where: str) -> Iterable[str]:
    """Return the names of a model's files: in its folder, on the hub, or else the files that the cache has."""
    import huggingface_hub

    if not Path(where).is_dir():
        try:
            return [name for name in huggingface_hub.list_repo_files(where) if "/" not in name]
        except Exception:  # without a network the hub's client may raise anything
            known = huggingface_hub.try_to_load_from_cache(where, "config.json")
            if not isinstance(known, str):
                return []
            where = str(Path(known).parent)
    return [path.name for path in Path(where).iterdir()]


def _without_weights(model: str, where: str) -> tuple[Any, dict[str, Any]]:
    """Return a model's configuration, and for each task that the model can have, the model without weights."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        config: Any = transformers.AutoConfig.from_pretrained(where, trust_remote_code=False)
        made: dict[str, Any] = {}
        with torch.device("meta"):
            for task, name in TASKS.items():
                kinds: Any = getattr(transformers, f"MODEL_FOR_{name}_MAPPING")
                if type(config) in kinds:
                    made[task] = kinds[type(config)](copy.deepcopy(config))  # some models change their configuration
            if not made:
                made = {"none": transformers.AutoModel.from_config(config, trust_remote_code=False)}
    except (OSError, ValueError, ImportError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"model '{model}': expected a folder or the name of a model on the hub ({first:.200})"
        ) from error
    return config, made


def _stack(model: Any, sites: list[Any]) -> Stack:
    from crossflare.fusion.blocks import input_norm, is_causal, is_encoder_decoder, one_matrix

    first = sites[0]
    norms = {type(norm).__name__ for site in sites if (norm := input_norm(model, site)) is not None} - {"Identity"}
    said = f"pre-norm: the source passes {', '.join(sorted(norms))} first" if norms else "post-norm"
    causal = "decoder" in first.stack if is_encoder_decoder(model) else is_causal(model, first)
    within = f"{first.stack}.{first.block}."
    return Stack(
        first.stack,
        len(list(model.get_submodule(first.stack).children())),
        [site.name.removeprefix(within) for site in sites if site.block == first.block],
        one_matrix(model, first) is not None,
        len(sites),
        said,
        ", ".join(["causal" if causal else "both ways", *_particulars(model)]),
    )


def _particulars(model: Any) -> list[str]:
    """Return what is special about a model's attention."""
    from crossflare.libraries.transformers import config_value

    config: Any = model.config.get_text_config()
    heads, grouped = config_value(config, "num_attention_heads"), config_value(config, "num_key_value_heads")
    kinds = list(config_value(config, "layer_types") or [])
    window = config_value(config, "sliding_window") or config_value(config, "local_attention")
    sliding = (
        kinds.count("sliding_attention") if kinds else (window and config_value(config, "use_sliding_window", True))
    )
    found: list[str] = []
    if grouped and grouped != heads:
        found.append(f"{heads} query heads for {grouped} keys and values")
    if window and sliding:
        found.append(f"window {window}" + (f" in {kinds.count('sliding_attention')} blocks" if kinds else ""))
    if config_value(config, "attn_logit_softcapping"):
        found.append("soft caps: eager")
    return found
