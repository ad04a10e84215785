"""Plain LoRA adapters, in peft's own format, that compute what adapters of crossflare compute without a source."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import save
from torch import Tensor

from crossflare.disk.files import commit_dir
from crossflare.errors import UserError
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.saved.adapter_check import WEIGHTS
from crossflare.fusion.saved.adapter_files import adapter_tensors
from crossflare.fusions import FUSIONS

OWN = ("lora_fusion", "lora_latents")
"""Parts of the names of tensors that read a source."""
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def export_plain_lora(model: PeftModel, folder: str | Path, *, adapter: str = "default") -> None:
    """Write a stock LoRA that computes what the adapter computes without a source; stock peft loads it.

    >>> import peft
    >>> from transformers import AutoModelForSequenceClassification
    >>> base = AutoModelForSequenceClassification.from_pretrained("base", num_labels=2)
    >>> model = peft.get_peft_model(base, crossflare.FlareConfig(task_type="SEQ_CLS", fusion="add"))
    >>> crossflare.export_plain_lora(model, "plain")
    >>> peft.PeftConfig.from_pretrained("plain").peft_type.value
    'LORA'

    Raises:
        UserError: phi without a source is not the identity (the relu forms), so no LoRA computes it.
    """
    config = model.peft_config[adapter]
    if not isinstance(config, FlareConfig):
        raise UserError(f"adapter '{adapter}' is {config.peft_type}, expected FLARE; it needs no export")
    made = PlainLora(config, adapter_tensors(model, adapter)).alone()
    commit_dir(Path(folder), made.write)


@dataclass(frozen=True, eq=False)
class PlainLora:
    """An adapter as its configuration and its tensors, by the names that peft gives them on disk."""

    config: LoraConfig
    tensors: Mapping[str, Tensor]

    def alone(self) -> "PlainLora":
        """Return the LoRA that computes what this adapter computes without a source.

        Raises:
            UserError: phi without a source is not the identity (the relu forms), so no LoRA computes it.
        """
        if not isinstance(self.config, FlareConfig):
            return self
        if not (self.config.released or FUSIONS[self.config.fusion].linear_alone):
            linear = ", ".join(name for name, row in FUSIONS.items() if row.linear_alone)
            raise UserError(
                f"{self.config.fusion} without a source is relu(T), which no LoRA computes; only {linear} can be "
                "exported"
            )
        kept = {name: each for name, each in self.tensors.items() if not any(part in name for part in OWN)}
        return PlainLora(self.config.to_lora(), kept)

    def write(self, place: Path) -> None:
        """Write the adapter's two files into a folder, as peft does."""
        tensors = {name: each.detach().cpu().contiguous() for name, each in self.tensors.items()}
        (place / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        self.config.save_pretrained(str(place))

    @property
    def scale(self) -> float:
        """The factor of B A."""
        return self.config.lora_alpha / (math.sqrt(self.config.r) if self.config.use_rslora else self.config.r)


def stacked(parts: Sequence[PlainLora]) -> PlainLora:
    """Return one LoRA that computes what several compute, each on the base with those before it merged in.

    W x + s1 B1 A1 x + s2 B2 A2 x = W x + [s1 B1, s2 B2] [A1; A2] x: its rank is the sum of theirs. Of heads, which are
    trained whole, the last one is kept.

    Raises:
        UserError: A part has more than matrices A and B: a bias, or an adapter of an embedding.
    """
    if len(parts) == 1:
        return parts[0]
    layers = sorted({name.removesuffix(DOWN) for part in parts for name in part.tensors if name.endswith(DOWN)})
    made: dict[str, Tensor] = {}
    for part in parts:
        for name, each in part.tensors.items():
            if "lora_" in name and (not name.endswith((DOWN, UP)) or each.dim() != 2):
                raise UserError(f"{name}: only plain matrices A and B of several adapters can be joined; merge them")
            if "lora_" not in name:
                made[name] = each
    for layer in layers:
        # Zeros where a part leaves the layer out: all layers have one rank, as peft's configuration says it.
        like = next(part for part in parts if layer + DOWN in part.tensors).tensors
        wide, tall = like[layer + DOWN].shape[1], like[layer + UP].shape[0]
        downs = [part.tensors.get(layer + DOWN, torch.zeros(part.config.r, wide)) for part in parts]
        ups = [part.tensors.get(layer + UP, torch.zeros(tall, part.config.r)) * part.scale for part in parts]
        made[layer + DOWN], made[layer + UP] = torch.cat(downs), torch.cat(ups, 1)
    last, rank = parts[-1].config, sum(part.config.r for part in parts)
    heads = sorted({name for part in parts for name in part.config.modules_to_save or ()})
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=[layer.removeprefix("base_model.model.") for layer in layers],
        modules_to_save=heads or None,
        task_type=last.task_type,
        fan_in_fan_out=last.fan_in_fan_out,
        base_model_name_or_path=last.base_model_name_or_path,
        inference_mode=True,
    )
    return PlainLora(config, made)
