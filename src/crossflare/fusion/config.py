"""`FlareConfig`: a LoRA configuration with the options of the fusion."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft import LoraConfig

from crossflare.errors import UserError, choose
from crossflare.fusions import ALIGNMENTS, FUSIONS
from crossflare.libraries.peft import FlareType

RELEASED_FUSIONS = ("add", "mul", "add_relu", "cross_attention_paper")
"""The fusion functions that the authors' released code has, too."""
FORMAT = 2
"""Version of the saved adapter; a later one is refused.

1: where query, key and value are one matrix, the key fuses, too. 2: it does not. For other models there is no
difference, and adapters are saved as 1, which earlier versions read.
"""

# LoRA options under which the model with its adapters off, which reads the source, is not the base model.
REFUSED: dict[str, str] = {
    "use_dora": "DoRA rescales the whole weight, which has no low-rank state to fuse",
    "use_qalora": "QA-LoRA pools its input, which leaves no token to fuse",
    "layer_replication": "replicated blocks would read the source states of other blocks",
    "target_parameters": "bare parameters take no input to fuse",
    "alora_invocation_tokens": "aLoRA and FLARE both replace the LoRA forward",
    "velora_config": "VeLoRA and FLARE both replace the LoRA forward",
    "monteclora_config": "MonteCLoRA and FLARE both replace the LoRA forward",
    "arrow_config": "Arrow and FLARE both replace the LoRA forward",
    "kasa_config": "KaSA changes the base weights that read the source",
    "use_bdlora": "BD-LoRA and FLARE both replace the LoRA forward",
    "trainable_token_indices": "trained embeddings would change the base that reads the source",
    "rank_pattern": "patterns are regular expressions, which a saved adapter may not hold",
    "alpha_pattern": "patterns are regular expressions, which a saved adapter may not hold",
}


class SavedType(str):
    """The type of a configuration that was read from a folder; it remembers the folder."""

    def __new__(cls, folder: Path) -> "SavedType":
        """Return the type, `FLARE`, of the adapter in a folder."""
        made = super().__new__(cls, FlareType.FLARE.value)
        made.folder = folder
        return made

    def __reduce__(self) -> tuple[type["SavedType"], tuple[Path]]:
        """Return what a copy is made from."""
        return type(self), (self.folder,)

    folder: Path


@dataclass
class FlareConfig(LoraConfig):
    """Configuration of FLARE adapters (Borchert et al., ACL 2025): all of `peft.LoraConfig`, and the fusion.

    Defaults are the paper's: rank 8, alpha 16 (twice the rank), query and value projections, add_relu, lead 1.

    >>> config = crossflare.FlareConfig(task_type="SEQ_CLS", r=8)
    >>> config.lora_alpha, config.fusion, config.alignment
    (16, 'add_relu', 'position')

    Raises:
        UserError: An option is unknown, out of range, or contradicts another.
    """

    lora_alpha: int = field(default=16, metadata={"help": "scale alpha of alpha/r; the paper takes 2r"})
    fusion: str = field(default="add_relu", metadata={"help": f"fusion function phi: one of {', '.join(FUSIONS)}"})
    fusion_modules: list[str] | None = field(
        default=None,
        metadata={"help": "last names of the projections that fuse; None: query and value, found in the model"},
    )
    alignment: str | None = field(
        default=None,
        metadata={"help": f"one of {', '.join(ALIGNMENTS)}; None: position, or none for cross_attention"},
    )
    lead: int = field(
        default=1, metadata={"help": "1: the source has passed the block (paper); 0: not (released code)"}
    )
    source_dropout: float = field(default=0.0, metadata={"help": "share of examples trained without their source"})
    source_norm: bool = field(
        default=True, metadata={"help": "pre-norm models: pass the source through the block's input norm first"}
    )
    fuse_cross_attention: bool = field(
        default=False, metadata={"help": "encoder-decoder: fuse in the decoder's attention to the encoder, too"}
    )
    mt_dim: int | None = field(
        default=None, metadata={"help": "FLARE MT: hidden size of the translation encoder; None: the model reads text"}
    )
    released: bool = field(
        default=False,
        metadata={"help": "as the authors' released code computes it, to measure the difference; sets lead 0"},
    )
    flare_format: int = field(
        default=FORMAT,
        metadata={"help": "version of the saved adapter; 1: a matrix of query, key and value fuses whole"},
    )

    def __post_init__(self) -> None:
        """Fill in what follows from other options, and refuse contradictions (see `check`)."""
        if self.alignment is None and self.fusion in FUSIONS:
            self.alignment = FUSIONS[self.fusion].alignment
        if self.released:
            self.lead, self.source_norm = 0, False
        self.check()
        kind: object = self.peft_type
        # The folder that peft read it from, until its tensors have been compared with a model's.
        self.saved_in: Path | None = kind.folder if isinstance(kind, SavedType) else None
        self.checked_in: Path | None = None  # the folder whose tensors were compared
        if self.fusion_modules is not None:
            self.fusion_modules = sorted(self.fusion_modules)
        super().__post_init__()
        self.peft_type = FlareType.FLARE  # type: ignore[assignment]  # peft's own types are a closed enum

    def check(self) -> None:
        """Refuse contradictions: at construction, and again when the adapter is put on a model.

        Raises:
            UserError: An option is unknown, out of range, or contradicts another.
        """
        fusion = FUSIONS[choose("fusion", self.fusion, FUSIONS)]
        choose("alignment", str(self.alignment), ALIGNMENTS)
        if fusion.aligned == (self.alignment == "none"):
            raise UserError(f"fusion {self.fusion} needs alignment {fusion.alignments}, got {self.alignment}")
        self._check_released()
        _check_number("r", self.r, 1, 4096)
        _check_number("lead", self.lead, 0, 1)
        if self.mt_dim is not None:
            _check_number("mt_dim", self.mt_dim, 1, 65536)
        if isinstance(self.source_dropout, bool) or not 0 <= self.source_dropout < 1:
            raise UserError(f"source_dropout must be at least 0 and below 1, got {self.source_dropout}")
        if self.flare_format > FORMAT:
            raise UserError(f"adapter format {self.flare_format} is newer than this crossflare's {FORMAT}; upgrade it")
        if self.bias != "none":
            raise UserError(
                f"bias must be 'none' (trained biases would change the base that reads the source), got {self.bias}"
            )
        if self.init_lora_weights not in (True, False, "gaussian", "orthogonal"):
            raise UserError(
                "init_lora_weights must be True, False, 'gaussian' or 'orthogonal' (the others change the base weights "
                f"that read the source), got {self.init_lora_weights!r}"
            )
        for name in ("target_modules", "exclude_modules"):
            if isinstance(getattr(self, name), str) and (name, getattr(self, name)) != ("target_modules", "all-linear"):
                raise UserError(f"{name} must be a list of module names, got the text {getattr(self, name)!r:.80}")
        for name, reason in REFUSED.items():
            if getattr(self, name, None):
                raise UserError(f"{name} cannot be combined with FLARE: {reason}; unset it")

    def _check_released(self) -> None:
        if not self.released:
            return
        for name, value, known in (
            ("fusion", self.fusion, RELEASED_FUSIONS),
            ("alignment", self.alignment, ("position",)),
            ("source_dropout", self.source_dropout, (0,)),
            ("mt_dim", self.mt_dim, (None,)),
            ("fuse_cross_attention", self.fuse_cross_attention, (False,)),
        ):
            if value not in known:
                shown = " or ".join(map(str, known))
                raise UserError(f"released: the authors' code has {name} {shown} only, got {value}; unset one of them")

    def to_dict(self) -> dict[str, Any]:
        """Return the options as data; without `released` if it is off, as adapters have always been saved."""
        values: dict[str, Any] = super().to_dict()
        if not self.released:
            del values["released"]
        return values

    def to_lora(self) -> LoraConfig:
        """Return the plain LoRA configuration with the same LoRA options."""
        names = {item.name for item in dataclasses.fields(LoraConfig) if item.init}
        options: dict[str, Any] = {name: getattr(self, name) for name in names - {"peft_type"}}
        return LoraConfig(**options)


def _check_number(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
