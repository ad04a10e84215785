"""The settings of a training run, checked when they are built; nothing here loads torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from crossflare.errors import UserError, choose
from crossflare.recipe.spec import Balance, Training

Precision = Literal["auto", "fp32", "bf16"]

FEW = 5
"""A run of fewer optimizer steps than this gets a warning."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one run of `fit`; those that a recipe also has share its defaults.

    Raises:
        UserError: A value has the wrong type, is out of range, or contradicts another.
    """

    lr: float = Training().lrs[0]
    """Peak learning rate; linear decay to 0."""
    epochs: float = Training.epochs
    """Passes over the training rows; 0 only scores the dev rows."""
    batch_size: int = Training.batch_size
    """Examples per forward pass, over all processes together."""
    accumulation: int = Training.accumulation
    """Forward passes per optimizer step."""
    warmup: float = Training.warmup
    """The share of the steps over which the learning rate rises from 0."""
    weight_decay: float = Training.weight_decay
    """AdamW's weight decay, on everything except biases and norms."""
    clip: float = 1.0
    """The largest norm of the gradient."""
    max_length: int = Training.max_length
    """The most tokens of a text (or pair of texts), for target and source each."""
    seed: int = 0
    """The seed decides the order of the batches and dropout."""
    precision: Precision = Training.precision
    """`bf16` is autocast over float32 weights; `auto` takes it if the device multiplies bfloat16 faster."""
    evaluations: int = Training.evaluations
    """How often the dev rows are scored, evenly over the run; also the number of points on the learning curve."""
    patience: int | None = Training.patience
    """Stop after this many evaluations in a row without a better score; None: never."""
    select: Literal["best", "last"] = "best"
    """Keep the weights of the best evaluation on dev (the earliest of equals), or those of the last step."""
    balance: Balance = Training.balance
    """`weights`: a row's loss is weighted by the inverse frequency of its label; `sampling`: each epoch draws the rows
    so that all labels are equally frequent."""
    activation_checkpointing: bool = Training.activation_checkpointing
    """Compute activations twice instead of keeping them: less memory, about a third more time."""
    save_steps: int | None = None
    """Optimizer steps between checkpoints; None: by time, every `save_seconds`. Every evaluation also saves."""
    save_seconds: float = 60.0
    """Seconds between checkpoints if `save_steps` is None; more if saving takes long."""

    def __post_init__(self) -> None:
        for name in ("lr", "epochs", "warmup", "weight_decay", "clip", "save_seconds"):
            _number(name, getattr(self, name))
        for name in ("batch_size", "accumulation", "max_length", "seed", "evaluations", "patience", "save_steps"):
            _whole(name, getattr(self, name), optional=name in ("patience", "save_steps"))
        if not isinstance(self.activation_checkpointing, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"activation_checkpointing: expected true or false, got {self.activation_checkpointing!r}")
        for name, (fits, wanted) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not fits(value):
                raise UserError(f"{name}: expected {wanted}, got {value}; change it")
        choose("precision", self.precision, ("auto", "fp32", "bf16"))
        choose("balance", self.balance, get_args(Balance))
        choose("select", self.select, ("best", "last"))
        if self.patience is not None and self.patience >= self.evaluations:
            raise UserError(
                f"patience {self.patience} can never stop a run of {self.evaluations} evaluations; "
                "lower patience or raise evaluations"
            )

    def steps(self, rows: int, epochs: float | None = None) -> int:
        """Return how many optimizer steps `rows` training rows make, in all epochs or in `epochs`."""
        per_epoch = math.ceil(math.ceil(rows / self.batch_size) / self.accumulation)
        return math.ceil((self.epochs if epochs is None else epochs) * per_epoch)

    def deciding(self) -> dict[str, Any]:
        """Return the settings that the trained weights depend on: all except when checkpoints are written.

        A setting that earlier versions did not have (`balance`) is left out at its default, so their checkpoints fit.
        """
        found = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("save_")}
        return {name: value for name, value in found.items() if (name, value) != ("balance", Training.balance)}


def few_steps(steps: int) -> str:
    """Return a warning for a training of so few optimizer steps; empty for enough steps, or for 0."""
    if not 0 < steps < FEW:
        return ""
    count = "1 optimizer step" if steps == 1 else f"{steps} optimizer steps"
    return f"{count} in all, in which next to nothing is learnt; lower batch_size, or give more rows or epochs"


def _positive(value: float) -> bool:
    return value > 0


def _from_zero(value: float) -> bool:
    return value >= 0


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (_positive, "a number above 0"),
    "epochs": (_from_zero, "0 or more"),
    "batch_size": (_positive, "1 or more"),
    "accumulation": (_positive, "1 or more"),
    "warmup": (lambda value: 0 <= value < 1, "a share of the steps, from 0 to below 1"),
    "weight_decay": (_from_zero, "0 or more"),
    "clip": (_positive, "a number above 0"),
    "max_length": (lambda value: value >= 4, "4 tokens or more"),
    "seed": (lambda value: 0 <= value < 2**32, "0 to 4294967295"),
    "evaluations": (_positive, "1 or more"),
    "patience": (_positive, "1 or more, or none"),
    "save_steps": (_positive, "1 or more, or none"),
    "save_seconds": (_from_zero, "0 or more"),
}


def _number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        hint = (
            "; give a number, not text in quotes (YAML 1.1 readers take 1e-3 for text: write 1.0e-3 for them)"
            if isinstance(value, str)
            else ""
        )
        raise UserError(f"{name}: expected a number, got {value!r}{hint}")


def _whole(name: str, value: object, *, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{name}: expected a whole number{' or none' if optional else ''}, got {value!r}")
