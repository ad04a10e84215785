"""The method: LoRA layers that fuse the low-rank states of a text with those of its translation."""

from crossflare.fusion.config import FlareConfig
from crossflare.libraries.peft import register
from crossflare.fusion.tuner import FlareModel

register(FlareConfig, FlareModel)

__all__ = ["FlareConfig", "FlareModel"]
