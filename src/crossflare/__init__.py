"""crossflare: task models for languages with little data, by fusing a text with its translation inside LoRA.

After `import crossflare`, peft knows the method: `peft.get_peft_model(base, crossflare.FlareConfig(...))` and
`peft.PeftModel.from_pretrained` work. Importing this module alone loads neither torch nor peft.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from crossflare.libraries.late import when_imported

if TYPE_CHECKING:
    from crossflare.api import run, translate
    from crossflare.errors import UserError
    from crossflare.export.adapter import export_adapter
    from crossflare.fusion.config import FlareConfig
    from crossflare.fusion.identity import identify
    from crossflare.fusion.saved.adapter_files import load_adapter, save_adapter
    from crossflare.fusion.saved.plain_lora import export_plain_lora
    from crossflare.fusion.saved.several import load_adapters
    from crossflare.fusion.tuner import FlareModel
    from crossflare.recipe.grid import load_recipe
    from crossflare.serving.adapter import open_adapter
    from crossflare.serving.evaluate import evaluate
    from crossflare.serving.several import open_adapters
    from crossflare.training.text.source_collator import SourceCollator

__version__: str

# If bitsandbytes is installed, it advises at every start to fetch kernels from a hub. crossflare needs none of them.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

_PLACES = {
    "FlareConfig": "crossflare.fusion.config",
    "FlareModel": "crossflare.fusion.tuner",
    "SourceCollator": "crossflare.training.text.source_collator",
    "UserError": "crossflare.errors",
    "evaluate": "crossflare.serving.evaluate",
    "export_adapter": "crossflare.export.adapter",
    "export_plain_lora": "crossflare.fusion.saved.plain_lora",
    "identify": "crossflare.fusion.identity",
    "load_adapter": "crossflare.fusion.saved.adapter_files",
    "load_adapters": "crossflare.fusion.saved.several",
    "load_recipe": "crossflare.recipe.grid",
    "open_adapter": "crossflare.serving.adapter",
    "open_adapters": "crossflare.serving.several",
    "run": "crossflare.api",
    "save_adapter": "crossflare.fusion.saved.adapter_files",
    "translate": "crossflare.api",
}

__all__ = [
    "FlareConfig",
    "FlareModel",
    "SourceCollator",
    "UserError",
    "evaluate",
    "export_adapter",
    "export_plain_lora",
    "identify",
    "load_adapter",
    "load_adapters",
    "load_recipe",
    "open_adapter",
    "open_adapters",
    "run",
    "save_adapter",
    "translate",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("crossflare")
    raise AttributeError(f"module 'crossflare' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def _register(peft: object) -> None:
    """Register FLARE when peft is imported, be it before crossflare or after."""
    import_module("crossflare.fusion")


when_imported("peft", _register)
