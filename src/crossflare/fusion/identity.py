"""Which base model an adapter belongs to: its name, its size, and a digest of its weights."""

import hashlib
import re
from dataclasses import asdict, dataclass

import torch
from torch import nn

from crossflare.errors import UserError
from crossflare.fusion.latents import PLACE

ADAPTER_PARTS = ("lora_", "modules_to_save.")
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # numpy has no bfloat16


@dataclass(frozen=True, slots=True)
class BaseIdentity:
    """A base model, without its head."""

    name: str
    digest: str
    """sha256 over names and bytes of the backbone's tensors, in order of name."""
    hidden_size: int
    blocks: int

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return name, size and the digest's first digits."""
        return f"{self.name} (d={self.hidden_size}, {self.blocks} blocks, {self.digest[:12]})"


def named_by_path(name: str) -> bool:
    """Return whether a model's name can only be the path of a folder."""
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1


def without_path(name: str) -> str:
    """Return a model's name for strangers, whom the folders of this machine do not concern."""
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1] if named_by_path(name) else name


PARTS = ("encoder", "decoder")
"""The stacks that a backbone may have."""
GATE = "mixup_gate"
"""The name of the part that X-Mixup adds to a model, beside the backbone: it is trained and saved like a head."""


def head_modules(model: nn.Module) -> list[str]:
    """Return the names of the children outside of the backbone that have weights: the task head, if there is one.

    A language model's output layer is no head: it is pretrained, and belongs to the base.
    """
    if getattr(model, "get_output_embeddings", lambda: None)() is not None:
        return [GATE] if hasattr(model, GATE) else []
    backbone, children = getattr(model, "base_model_prefix", ""), dict(model.named_children())
    children.pop(PLACE, None)  # an adapter's projections
    if backbone not in children:  # the model is a backbone, or holds the parts of one (T5 for questions)
        if "encoder" not in children or "decoder" not in children:
            return []
        words = model.get_input_embeddings()  # type: ignore[operator]
        children = {name: child for name, child in children.items() if child is not words and name not in PARTS}
    inside = (backbone, PLACE)
    return [name for name, child in children.items() if name not in inside and any(True for _ in child.parameters())]


def identify(model: nn.Module, name: str | None = None, *, adapted: bool = False) -> BaseIdentity:
    """Return the identity of a base model that carries no adapter.

    >>> from transformers import AutoModel
    >>> identity = crossflare.identify(AutoModel.from_pretrained("base"))
    >>> identity.hidden_size, identity.blocks, len(identity.digest)
    (16, 2, 64)

    Args:
        model: A transformers model.
        name: The name that people know it by; None: the name in its configuration.
        adapted: Whether the model may carry adapters, none of them merged: the base under them is identified.

    Raises:
        UserError: The model carries adapters already.
    """
    config = getattr(model, "config", None)
    heads = tuple(f"{head}." for head in head_modules(model))
    digest = hashlib.sha256()
    own = model.state_dict()
    if adapted:
        kept = {key: each for key, each in own.items() if not any(part in key for part in ADAPTER_PARTS)}
        own = {re.sub(r"\.(base_layer|original_module)\.", ".", key): each for key, each in kept.items()}
    for key, tensor in sorted(own.items()):
        if any(part in key for part in ADAPTER_PARTS):
            raise UserError(f"{type(model).__name__} carries adapters; identify the base model before adding them")
        if not key.startswith(heads):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(BITS[flat.element_size()]).numpy())
    return BaseIdentity(
        name or str(getattr(config, "name_or_path", "") or type(model).__name__),
        digest.hexdigest(),
        int(getattr(config, "hidden_size", 0)),
        int(getattr(config, "num_hidden_layers", 0)),
    )
