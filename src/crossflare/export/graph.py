"""The ONNX graph of a model with its adapter: one call, with the pass over the source inside."""

import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion.inputs import PREFIX

NEEDED = ("onnx", "onnxruntime", "onnxscript")
LARGEST = 1_800_000_000
"""The most bytes of weights inside of model.onnx, whose format ends at 2 GB; above, they are in a file beside it."""


def check_libraries() -> None:
    """Raise `UserError` if a library that exports to ONNX is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(f'export to ONNX needs {", ".join(missing)}: pip install "crossflare[onnx]"')


class Network(nn.Module):
    """A model whose inputs come in a fixed order and whose one output are its logits, as a traced graph needs them."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits [B,K] for inputs [B,T] and [B,S]."""
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits


def free_sizes(names: tuple[str, ...]) -> Any:
    """Return which sizes of a `Network`'s inputs are free: B, and T or S."""
    rows, columns, beside = (torch.export.Dim(name) for name in ("batch", "target", "source"))
    return (tuple({0: rows, 1: beside if name.startswith(PREFIX) else columns} for name in names),)


def bytes_of(model: nn.Module) -> int:
    """Return the bytes of a model's weights in float32."""
    return 4 * sum(weight.numel() for weight in model.parameters())


@torch.no_grad()
def write_graph(model: nn.Module, inputs: Mapping[str, Tensor], place: Path) -> None:
    """Write a model's graph, in which the numbers of rows and of columns of both sides are free.

    Args:
        model: A model in float32 on the processor, in eval mode; its adapter, if any, stays on.
        inputs: A batch of two rows or more. The model has read it before, so that all checks of values are done: a
            graph has no values.
        place: The file to write.

    Raises:
        UserError: The model does something that no graph can hold.
    """
    names = tuple(inputs)
    try:
        with _silent():
            torch.onnx.export(
                Network(model, names).eval(),
                tuple(inputs.values()),
                str(place),
                input_names=list(names),
                output_names=["logits"],
                dynamic_shapes=free_sizes(names),
                dynamo=True,
                verbose=False,
                external_data=bytes_of(model) > LARGEST,
            )
    except Exception as error:  # any error of torch's exporter, whose classes are many and private
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        name = type(getattr(model, "base_model", model)).__name__
        raise UserError(f"{name}: this model cannot be written as an ONNX graph ({reason:.300}); {ADVICE}") from error


ADVICE = "serve it with crossflare, or take a base of another family"


@contextmanager
def _silent() -> Generator[None]:
    """Hide what the libraries of ONNX warn of and log: it is for developers of exporters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def quantise(whole: Path, place: Path, *, large: bool) -> None:
    """Write a graph with weights of 8 bits; what passes between them is quantised as it comes (dynamically).

    Args:
        whole: The graph in float32; a file beside it is made and left there.
        place: The file to write.
        large: Whether the graph's weights are in a file beside it.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # pyright: ignore[reportMissingImports]
    from onnxruntime.quantization.shape_inference import quant_pre_process  # pyright: ignore[reportMissingImports]

    ready = whole.with_name("ready.onnx")
    with _silent():
        # It folds the transposed weights: those that come out of a node are not quantised.
        quant_pre_process(whole, ready, skip_symbolic_shape=True, save_as_external_data=large)
        quantize_dynamic(
            ready,
            place,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # without VNNI a processor's sums of products of 8 bits overflow, silently
            use_external_data_format=large,
        )
