"""What a recipe may say of a FLARE adapter beside a method's own options: the other options of `FlareConfig`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

SHAPING = ("fusion", "alignment", "lead", "source_dropout", "source_norm")
"""Options of `FlareConfig` that a method has itself, under the same names."""
_FOLLOWING = ("lora_alpha", "mt_dim", "released", "flare_format")
"""Those that follow from its training and its kind."""


def adapter_options() -> dict[str, Any]:
    """Return the type of each option; the first call loads torch and peft."""
    from crossflare.fusion.config import FlareConfig

    hints = get_type_hints(FlareConfig)
    return {name: hints[name] for name in FlareConfig.__annotations__ if name not in (*SHAPING, *_FOLLOWING)}


@dataclass(frozen=True)
class AdapterOptions:
    """Options of `FlareConfig`, under the names that they have there."""

    options: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    @staticmethod
    def more(content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the types of the options; nothing is loaded where none is given."""
        return adapter_options() if content else {}
