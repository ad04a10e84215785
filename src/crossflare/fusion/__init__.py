"""The method: LoRA layers that fuse the low-rank states of a text with those of its translation."""

from crossflare.fusion.config import FlareConfig
from crossflare.fusion.tuner import FlareModel
from crossflare.libraries.peft import register

register(FlareConfig, FlareModel)

__all__ = ["FlareConfig", "FlareModel"]
