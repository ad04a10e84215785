"""The laboratory's pretrained models by name, in the user's cache folder."""

import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from crossflare.disk.files import content_id, open_dir
from crossflare.disk.storage import cache_folder
from crossflare.errors import UserError, choose
from crossflare_lab.corpus import documents
from crossflare_lab.tokenizer import FAMILIES, Family

VERSION = 2
"""Raised when the same recipe would give another model."""
TARGET_SHARE = 0.05
_DOCUMENTS: dict[Family, int] = {"encoder": 80_000, "decoder": 80_000, "encoder-decoder": 60_000, "translator": 40_000}
_RATES: dict[Family, float] = {"encoder": 1.5e-3, "decoder": 3e-3, "encoder-decoder": 3e-3, "translator": 1.5e-3}
SMALL = "lab-small"
"""An encoder for a first trial: it trains in half a minute, and does not learn much."""
_SMALL_SIZES = (12_000, 64, 2)
_SAMPLE = 200
_NAME = re.compile(r"lab-([a-z-]+?)(?:@(\d*\.?\d+))?")


@dataclass(frozen=True, slots=True)
class PretrainRecipe:
    """All values that a pretrained model depends on."""

    family: Family
    target_share: float = TARGET_SHARE
    """Share of the text in the target languages; a translator's text is all in them."""
    documents: int = 0
    """How many documents it reads, each once."""
    width: int = 128
    layers: int = 3
    vocabulary: int = 2500
    """The most pieces; the world has fewer words, so nearly every word is one piece."""
    lr: float = 0.0
    """Peak learning rate; 0: the family's."""
    batch_size: int = 32
    seed: int = 0
    world: int = 0
    """Seed of the languages."""

    def __post_init__(self) -> None:
        choose("family of the laboratory", self.family, FAMILIES)
        if not 0 <= self.target_share <= 1:
            raise UserError(f"target_share: expected a share from 0 to 1, got {self.target_share}")
        if not self.documents:
            object.__setattr__(self, "documents", _DOCUMENTS[self.family])
        if not self.lr:
            object.__setattr__(self, "lr", _RATES[self.family])
        if self.family == "translator":
            object.__setattr__(self, "target_share", 1.0)

    @property
    def name(self) -> str:
        """The name under which `find_model` knows it."""
        if (self.documents, self.width, self.layers) == _SMALL_SIZES:
            return SMALL
        usual = self.family == "translator" or self.target_share == TARGET_SHARE
        return f"lab-{self.family}" + ("" if usual else f"@{self.target_share:.2f}")

    @property
    def identity(self) -> dict[str, Any]:
        """The recipe with the code's version and a sample of its text, as JSON."""
        return {"version": VERSION, "text": _text_id(self.target_share, self.seed, self.world), **asdict(self)}

    @property
    def folder(self) -> Path:
        """The folder where the model is, or will be."""
        return cache_folder() / "lab" / f"{self.name}-{content_id(self.identity)}"


def recipe_of(name: str) -> PretrainRecipe:
    """Return the recipe of `lab-encoder`, `lab-decoder@0.20` and the like; `UserError` when it is none."""
    if name == SMALL:
        count, width, layers = _SMALL_SIZES
        return PretrainRecipe("encoder", documents=count, width=width, layers=layers, lr=3e-3, batch_size=16)
    found = _NAME.fullmatch(name)
    if found is None:
        raise UserError(
            f"model '{name}': expected {SMALL}, or lab- with one of {', '.join(FAMILIES)}, then @ and a target share "
            f"if it is not {TARGET_SHARE:.2f}, such as lab-encoder@0.20"
        )
    return PretrainRecipe(choose("family of the laboratory", found[1], FAMILIES), float(found[2] or TARGET_SHARE))  # type: ignore[arg-type]


def find_model(name: str) -> Path:
    """Return the folder of a pretrained model of the laboratory.

    Args:
        name: `lab-small`, or `lab-encoder`, `lab-decoder`, `lab-encoder-decoder` or `lab-translator`; a share of target
            text other than 0.05 comes after an @: `lab-encoder@0.20`.

    Raises:
        UserError: No such name, or the model is damaged or not trained yet (the message names the command that trains
            it).
    """
    recipe = recipe_of(name)
    if not recipe.folder.is_dir():
        share = "" if "@" not in recipe.name else f" --target-share {recipe.target_share:.2f}"
        command = "try" if name == SMALL else f"pretrain --family {recipe.family}{share}"
        raise UserError(f"model '{name}' is not trained yet; run: crossflare lab {command}")
    open_dir(recipe.folder)
    return recipe.folder


@cache
def _text_id(share: float, seed: int, world: int) -> str:
    return content_id([[d.language, d.text] for d in documents(_SAMPLE, share, seed, world)])
