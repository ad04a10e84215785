"""The method: LoRA layers that fuse the low-rank states of a text with those of its translation."""

from crossflare.fusion.config import FlareConfig
from crossflare.fusion.saved.peft_route import check_load, push_model, read_config, write_readme
from crossflare.fusion.tuner import FlareModel
from crossflare.libraries.peft import check_loads_by, publish_by, read_configs_by, register

register(FlareConfig, FlareModel)
read_configs_by(read_config)
check_loads_by(check_load)
publish_by(push_model, write_readme)

__all__ = ["FlareConfig", "FlareModel"]
