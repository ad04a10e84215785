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

NORMS = {"modernbert": "attn_norm"}
INDEX = re.compile(r"^(.+?)\.(\d+)\.")


def from_the_end(fusion: str, x: Tensor, v: Tensor, lora_a: Tensor) -> Tensor:
    """Return phi of one row where the last tokens of both texts meet [T,r]."""
    gap = len(v) - len(x)
    low = [
        phi(fusion, lora_a @ v[j + gap], lora_a @ token) if 0 <= j + gap < len(v) else alone(fusion, lora_a @ token)
        for j, token in enumerate(x)
    ]
    return torch.stack(low)


def states_of(base: Any, blocks: list[nn.Module], source: list[int]) -> list[Tensor]:
    """Return L+1 states [S,d] of the base model reading a source: before block 0, then after each block."""
    states: list[Tensor] = []

    def first(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    handles = [blocks[0].register_forward_pre_hook(first, with_kwargs=True)]
    handles += [
        block.register_forward_hook(lambda module, args, out: states.append(out[0] if isinstance(out, tuple) else out))
        for block in blocks
    ]
    base(input_ids=torch.tensor([source]), attention_mask=torch.ones(1, len(source), dtype=torch.long))
    for handle in handles:
        handle.remove()
    return [state[0] for state in states]


@torch.no_grad()
def row(
    model: PeftModel, name: str, task: Task, target: list[int], source: list[int], anchor: str = "start", **options: Any
) -> Tensor:
    """Return the predictions for one target with its source, both without padding.

    Args:
        model: The FLARE model whose adapter's tensors and settings are used.
        name: Its family.
        task: Its head; still the base's own.
        target: Token ids.
        source: Token ids; empty: no source.
        anchor: Which ends of the texts meet under alignment `position`.
        options: Of `make`, with which the base was made.
    """
    base, config, family = make(name, task, **options), model.peft_config["default"], FAMILIES[name]
    tensors = dict(model.state_dict())
    prefix = next(INDEX.match(path)[1] for path, _ in base.named_modules() if path.endswith(family.projections[0]))  # type: ignore[index]
    blocks = list(base.get_submodule(prefix).children())
    states = states_of(base, blocks, source) if source else None
    for path, module in list(base.named_modules()):
        lora_a = tensors.get(f"base_model.model.{path}.lora_A.default.weight")
        if lora_a is None:
            continue
        lora_b = tensors[f"base_model.model.{path}.lora_B.default.weight"]
        fuses = path.rpartition(".")[2] in family.projections
        index, v = INDEX.match(path), None
        if fuses and states is not None:
            assert index is not None
            v = states[int(index[2]) + config.lead]
            if family.pre_norm and config.source_norm:
                v = getattr(blocks[int(index[2])], NORMS.get(name, "input_layernorm"))(v[None])[0]

        def term(module: nn.Module, args: tuple[Tensor], out: Tensor, v=v, a=lora_a, b=lora_b, fuses=fuses) -> Tensor:
            x = args[0][0]
            if not fuses:
                low = x @ a.T
            elif len(x) != len(target):  # DeBERTa's table of relative positions
                low = fused(config.fusion, config.alignment, x, None, a, {}, [True] * len(x))
            elif v is not None and config.alignment == "position" and anchor == "end":
                low = from_the_end(config.fusion, x, v, a)
            else:
                low = fused(config.fusion, config.alignment, x, v, a, {}, [True] * len(x))
            return out + config.lora_alpha / config.r * (low @ b.T)[None]

        module.register_forward_hook(term)
    mask = torch.ones(1, len(target), dtype=torch.long)
    return per_row(task, base(input_ids=torch.tensor([target]), attention_mask=mask), mask)[0]
