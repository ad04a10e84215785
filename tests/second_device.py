"""A second device where there is none: tensors that say they are elsewhere, and refuse to meet those that are not.

torch knows the device kind `lazy` and has no kernels for it, so that nothing but this module can put a tensor there.
A tensor on it keeps its numbers in main memory and computes with the processor's kernels: the results are those of the
processor, and only the places differ. As on a GPU, tensors of two devices do not meet, except that

- a number (a tensor without dimensions) may be anywhere,
- the indices of a look-up (`x[index]`) may be in main memory,
- copying from one device to another is what brings a tensor there.

As on an Apple GPU there is no float64.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, library
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

SECOND = torch.device("lazy", 0)
COPIES = {"aten::copy_", "aten::_to_copy"}
LOOK_UPS = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
MAKERS = ("empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye", "eye.m")
"""What is asked for by device alone, and cannot be made of an empty tensor by filling it."""


class Elsewhere(Tensor):
    """A tensor on the second device."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> "Elsewhere":
        if numbers.dtype == torch.float64:
            raise TypeError(f"{SECOND} has no float64")
        with torch.inference_mode(numbers.is_inference()):  # a view of what was made outside is no inference tensor
            made: Elsewhere = Tensor._make_wrapper_subclass(
                cls, numbers.size(), strides=numbers.stride(), storage_offset=numbers.storage_offset(),
                dtype=numbers.dtype, device=SECOND,
            )  # fmt: skip
        made.numbers = numbers
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        """Return the numbers as Python has them; torch refuses this to subclasses, though not to GPUs."""
        return self.numbers.tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Elsewhere({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(cls, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (args, dict(kwargs or {}))
        leaves = tree_flatten(given)[0]
        _check_alike(call, leaves)
        goes_to = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), SECOND)
        known: dict[int, Tensor] = {id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}

        def unwrap(value: Any) -> Any:
            if isinstance(value, Elsewhere):
                known[id(value.numbers)] = value
                return value.numbers
            return torch.device("cpu") if isinstance(value, torch.device) and value.type == SECOND.type else value

        args, kwargs = tree_map(unwrap, given)
        made = call(*args, **kwargs)
        if goes_to.type != SECOND.type:
            return made

        def wrap(tensor: Tensor) -> Tensor:
            same = known.get(id(tensor))  # what was changed in place comes back as itself
            return Elsewhere(tensor) if same is None else same

        return tree_map_only(Tensor, wrap, made)


def _check_alike(call: Any, values: list[Any]) -> None:
    """Refuse tensors of two devices, in the words of torch."""
    name = call._schema.name
    if name in COPIES:
        return
    here = [each for each in values if isinstance(each, Tensor) and not isinstance(each, Elsewhere)]
    if name in LOOK_UPS:
        here = [each for each in here if each.dtype not in (torch.int64, torch.bool)]
    if any(each.dim() and each.device.type == "cpu" for each in here):
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device, found at least {SECOND} and cpu!")


@cache
def _library() -> Any:
    """Teach torch to make tensors on the second device; for the life of the process."""
    rules = library.Library("aten", "IMPL")

    def maker(name: str) -> Any:
        packet, _, overload = name.partition(".")
        call = getattr(getattr(torch.ops.aten, packet), overload or "default")

        def make(*args: Any, **kwargs: Any) -> Tensor:
            return Elsewhere(call(*args, **{**kwargs, "device": torch.device("cpu"), "pin_memory": False}))

        return make

    def fill(source: Tensor, made: Elsewhere, non_blocking: bool = False) -> Elsewhere:
        made.numbers.copy_(source)
        return made

    for name in MAKERS:
        rules.impl(name, maker(name), "Lazy")
    rules.impl("_copy_from", fill, "Lazy")  # `torch.tensor` copies past `__torch_dispatch__`
    return rules


class Visits(Counter[str]):
    """How often models ran, by class, each time with all parameters on the second device."""


@contextmanager
def second_device(monkeypatch: Any) -> Generator[Visits]:
    """Make the second device the best there is, and watch every transformers model that runs.

    Raises:
        AssertionError: From the call of a model of which a parameter is not on the second device. (An input that is not
            there cannot meet the parameters.)
    """
    from torch.nn.modules.module import register_module_forward_pre_hook
    from transformers import PreTrainedModel

    from crossflare import devices

    _library()
    generators = SimpleNamespace(get_rng_state=torch.get_rng_state, set_rng_state=torch.set_rng_state)
    monkeypatch.setattr(torch, SECOND.type, generators, raising=False)
    monkeypatch.setattr(devices, "best_device", lambda: SECOND)
    optimizer = import_module("torch.optim.optimizer")
    fused = optimizer._get_fused_kernels_supported_devices
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: [*fused(), SECOND.type])
    visits = Visits()

    def watch(module: Any, args: Any) -> None:
        if isinstance(module, PreTrainedModel):
            visits[type(module).__name__] += 1
            lost = [name for name, weight in module.named_parameters() if not isinstance(weight, Elsewhere)]
            assert not lost, f"{type(module).__name__} runs with {len(lost)} parameters in main memory, as {lost[0]}"

    swap = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # as on a GPU, a moved parameter stays the same object
    handle = register_module_forward_pre_hook(watch)
    try:
        yield visits
    finally:
        handle.remove()
        torch.__future__.set_swap_module_params_on_conversion(swap)
