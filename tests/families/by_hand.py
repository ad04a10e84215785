"""What a family's model with an adapter must compute, a row at a time, by hooks on a plain copy of the base.

Shares nothing with the fusion package but the adapter's tensors: blocks, projections and norms are named here.
"""

import re
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from family_models import FAMILIES, Task, make, per_row
from reference.slow_flare import alone, fused, phi

NORMS = ("input_layernorm", "attn_norm", "layer.0.layer_norm", "self_attn_layer_norm")
CROSS_NORMS = ("layer.1.layer_norm", "encoder_attn_layer_norm")
CROSS = re.compile(r"EncDecAttention|encoder_attn")
INDEX = re.compile(r"^(.+?)\.(\d+)\.")
Ids = dict[str, Tensor]


def from_the_end(fusion: str, x: Tensor, v: Tensor, lora_a: Tensor) -> Tensor:
    """Return phi of one row where the last tokens of both texts meet [T,r]."""
    gap = len(v) - len(x)
    low = [
        phi(fusion, lora_a @ v[j + gap], lora_a @ token) if 0 <= j + gap < len(v) else alone(fusion, lora_a @ token)
        for j, token in enumerate(x)
    ]
    return torch.stack(low)


def with_its_twin(fusion: str, alignment: str, x: Tensor, v: Tensor, lora_a: Tensor, maps: Ids) -> Tensor:
    """Return phi of one row whose tokens have one source token each, the same token under the source [T,r]."""
    pairs = zip(x, v, strict=True)
    return torch.cat([fused(fusion, alignment, t[None], s[None], lora_a, maps, [True]) for t, s in pairs])


def ids(tokens: list[int], answer: list[int] | None) -> Ids:
    """Return the arguments of a call for one text without padding."""
    text = {"input_ids": torch.tensor([tokens]), "attention_mask": torch.ones(1, len(tokens), dtype=torch.long)}
    return text if answer is None else text | {"decoder_input_ids": torch.tensor([answer])}


def states_of(base: Any, stacks: dict[str, list[nn.Module]], inputs: Ids) -> dict[str, list[Tensor]]:
    """Return for each stack the L+1 states [S,d] of the base model in one call: before block 0, then after each block.

    Under "" there is what an encoder hands to its decoder.
    """
    states: dict[str, list[Tensor]] = {name: [] for name in ("", *stacks)}

    def first(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            states[name].append(args[0] if args else kwargs["hidden_states"])

        return hook

    def after(name: str) -> Any:
        return lambda module, args, out: states[name].append(out[0] if isinstance(out, tuple) else out)

    handles = [blocks[0].register_forward_pre_hook(first(name), with_kwargs=True) for name, blocks in stacks.items()]
    handles += [block.register_forward_hook(after(name)) for name, blocks in stacks.items() for block in blocks]
    if len(stacks) > 1:
        encoder = base.get_encoder()
        handles.append(encoder.register_forward_hook(lambda module, args, out: states[""].append(out[0])))
    base(**inputs)
    for handle in handles:
        handle.remove()
    return {name: [state[0] for state in found] for name, found in states.items()}


def normed(block: nn.Module, names: tuple[str, ...], state: Tensor) -> Tensor:
    """Return the state [S,d] after the block's norm of one of these names."""
    known = dict(block.named_modules())
    return next(known[name] for name in names if name in known)(state[None])[0]


@torch.no_grad()
def row(
    model: PeftModel,
    name: str,
    task: Task,
    target: list[int],
    source: list[int],
    anchor: str = "start",
    answer: list[int] | None = None,
    **options: Any,
) -> Tensor:
    """Return the predictions for one target with its source, both without padding.

    Args:
        model: The FLARE model whose adapter's tensors and settings are used.
        name: Its family.
        task: Its head; still the base's own.
        target: Token ids.
        source: Token ids; empty: no source.
        anchor: Which ends of the texts meet under alignment `position`.
        answer: What a decoder that writes is given; both decoders read it.
        options: Of `make`, with which the base was made.
    """
    base, config, family = make(name, task, **options), model.peft_config["default"], FAMILIES[name]
    tensors = dict(model.state_dict())
    found = [INDEX.match(path)[1] for path, _ in base.named_modules() if path.endswith(family.projections[0])]  # type: ignore[index]
    stacks = {prefix: list(base.get_submodule(prefix).children()) for prefix in dict.fromkeys(found)}
    states = states_of(base, stacks, ids(source, answer)) if source else None
    for path, module in list(base.named_modules()):
        lora_a = tensors.get(f"base_model.model.{path}.lora_A.default.weight")
        if lora_a is None:
            continue
        lora_b = tensors[f"base_model.model.{path}.lora_B.default.weight"]
        mark = f"base_model.model.{path}.lora_fusion.default."
        maps = {key.removeprefix(mark): tensor for key, tensor in tensors.items() if key.startswith(mark)}
        index, v, crosses = INDEX.match(path), None, bool(CROSS.search(path))
        value = path.endswith(family.projections[1])
        fuses = path.rpartition(".")[2] in family.projections and (config.fuse_cross_attention or not crosses)
        if fuses and states is not None:
            assert index is not None
            v = states[index[1]][int(index[2]) + config.lead]
            if crosses and value:
                v = states[""][0]
            elif family.pre_norm and config.source_norm:
                v = normed(stacks[index[1]][int(index[2])], CROSS_NORMS if crosses else NORMS, v)
        twins = answer is not None and index is not None and "decoder" in index[1] and not (crosses and value)

        def term(
            module: nn.Module,
            args: tuple[Tensor],
            out: Tensor,
            v=v,
            a=lora_a,
            b=lora_b,
            fuses=fuses,
            maps=maps,
            twins=twins,
        ) -> Tensor:
            x = args[0][0]
            if not fuses:
                low = x @ a.T
            elif name == "mdeberta" and len(x) != len(target):  # its table of relative positions
                low = fused(config.fusion, config.alignment, x, None, a, maps, [True] * len(x))
            elif v is not None and twins:
                low = with_its_twin(config.fusion, config.alignment, x, v, a, maps)
            elif v is not None and config.alignment == "position" and anchor == "end":
                low = from_the_end(config.fusion, x, v, a)
            else:
                low = fused(config.fusion, config.alignment, x, v, a, maps, [True] * len(x))
            up = low @ b.T
            if fuses and family.key_rows is not None:
                rows = family.key_rows(b.shape[0])
                up[:, rows] = (x @ a.T) @ b[rows].T
            return out + config.lora_alpha / config.r * up[None]

        module.register_forward_hook(term)
    inputs = ids(target, answer)
    return per_row(task, base(**inputs), inputs["attention_mask"])[0]
