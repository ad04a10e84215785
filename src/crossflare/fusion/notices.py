"""Warnings in one line: numbers that half precision cannot hold."""

import warnings
from typing import Any

import torch
from torch import Tensor


class OverflowWarning(UserWarning):
    """A model in float16 gave numbers that are not finite."""


def warn_of_overflow(output: Any) -> None:
    """Warn when a model's output in float16 holds infinities or NaN: what is made of it looks like a result.

    Args:
        output: Of a model; its `logits` are looked at, outside of traced graphs.
    """
    logits = getattr(output, "logits", None)
    if torch.compiler.is_compiling() or not isinstance(logits, Tensor) or logits.dtype != torch.float16:
        return
    if not bool(torch.isfinite(logits).all()):
        warnings.warn(
            f"logits {tuple(logits.shape)} in float16 are not all finite: the model's numbers exceed what float16 "
            "holds; load the model in bfloat16 or float32",
            OverflowWarning,
            stacklevel=2,
        )
