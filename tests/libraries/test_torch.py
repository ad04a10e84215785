"""The contract with torch: what crossflare takes its undocumented names to mean."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from crossflare.libraries import torch as names


def test_the_tables_of_hooks_are_those_that_run_with_forward() -> None:
    module, seen = nn.Linear(1, 1), []
    module.register_forward_pre_hook(lambda *_: seen.append("before"))
    module.register_forward_hook(lambda *_: seen.append("after"), with_kwargs=False, always_call=True)
    assert sum(len(vars(module)[name]) for name in names.HOOKS if not name.endswith(("kwargs", "called"))) == 2
    assert len(names.forward_pre_hooks(module)) == 1
    for name in names.HOOKS:
        vars(module)[name].clear()
    module(torch.ones(1))
    assert seen == []


def test_backward_is_told_from_forward() -> None:
    seen: list[bool] = []
    value = torch.ones(1, requires_grad=True)

    class Note(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Tensor) -> Tensor:
            seen.append(names.in_backward())
            return given.clone()

        @staticmethod
        def backward(ctx: Any, given: Tensor) -> Tensor:
            seen.append(names.in_backward())
            return given

    Note.apply(value).backward()
    assert seen == [False, True]
    assert not names.in_backward()


def test_what_stands_inside_of_wrappers() -> None:
    module = nn.Linear(1, 1)
    compiled: Any = torch.compile(module, backend="eager")
    assert names.uncompiled(compiled) is names.unwrapped(compiled) is module
    assert names.unwrapped(checkpoint_wrapper(module)) is module
    assert names.unwrapped(checkpoint_wrapper(compiled)) is module
    assert names.uncompiled(module) is names.unwrapped(module) is module


def test_a_compiled_module_says_so() -> None:
    module = nn.Linear(1, 1)
    assert not names.is_compiled(module)
    module.compile(backend="eager")
    assert names.is_compiled(module)
