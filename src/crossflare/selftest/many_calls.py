"""Laws of several calls of one model: before one backward pass, and from two threads."""

from collections.abc import Callable, Sequence
from threading import Barrier, Thread
from typing import Any

import torch
from torch import Tensor

from crossflare.libraries.transformers import with_checkpointing
from crossflare.selftest import in_one_line
from crossflare.selftest.models import (
    CLOSE,
    FEW,
    OTHERS,
    SOURCES,
    TASKS,
    Kind,
    Measure,
    Measures,
    adapted,
    agree,
    batch,
)
from crossflare.selftest.one_call import answers, logits, write_greedily

ROUNDS = 10
"""Calls of each thread."""
PATIENCE = 60.0
"""Seconds to wait for a thread that does not come back."""


def checkpointed(device: torch.device) -> Measures:
    """Activation checkpointing, reentrant or not, gives the gradients that training without it gives."""
    for kind in TASKS:
        for name, options in FEW.items():
            expected = _gradients(kind, device, options, None, [SOURCES])
            for reentrant in (True, False):
                found = _gradients(kind, device, options, reentrant, [SOURCES])
                yield _compare(kind, name, reentrant, "gradients with checkpointing", found, expected)


def two_forwards(device: torch.device) -> Measures:
    """Two calls with different sources before both backward passes give the gradients that each gives by itself."""
    for kind in TASKS:
        for name, options in FEW.items():
            both = [SOURCES, OTHERS]
            expected = sum(_gradients(kind, device, options, None, [each]) for each in both)
            assert isinstance(expected, Tensor)
            for reentrant in (None, True, False):
                found = _gradients(kind, device, options, reentrant, both)
                yield _compare(kind, name, reentrant, "gradients of two calls before both backwards", found, expected)


def _compare(kind: Kind, name: str, reentrant: bool | None, what: str, found: Tensor, expected: Tensor) -> Measure:
    how = {None: "without checkpointing", True: "reentrant", False: "not reentrant"}[reentrant]
    return agree(f"{kind}, {name}, {what} ({how})", found, expected)


def _gradients(
    kind: Kind,
    device: torch.device,
    options: dict[str, Any],
    reentrant: bool | None,
    sources: Sequence[Sequence[int]],
) -> Tensor:
    """Return the gradients of all trained weights as one vector: a forward for each source, then all backwards."""
    model: Any = adapted(kind, device, **options)
    if reentrant is not None:
        with_checkpointing(model, reentrant=reentrant)
    model.train()
    losses: list[Tensor] = []
    for lengths in sources:
        inputs = batch(kind, device, lengths)
        losses.append(model(**inputs, labels=_labels(kind, inputs)).loss)
    for loss in losses:
        loss.backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.cat([torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten() for w in trained])


def _labels(kind: Kind, inputs: dict[str, Tensor]) -> Tensor:
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    if kind == "encoder":
        return torch.arange(len(ids), device=ids.device)
    return ids.masked_fill(~mask, -100) if kind == "decoder" else answers(inputs)


def threads(device: torch.device) -> Measures:
    """Two threads that call one model at the same time, each with its own source, get what each gets by itself."""
    for kind in TASKS:
        model = adapted(kind, device)
        calls = [batch(kind, device, SOURCES), batch(kind, device, OTHERS)]
        yield _at_once(f"{kind}, two threads", lambda given, model=model: logits(model, given), calls)
    model = adapted("decoder", device)
    calls = [batch("decoder", device, SOURCES), batch("decoder", device, OTHERS)]
    yield _at_once(
        "decoder, two threads that write", lambda given: write_greedily(model, given, max_new_tokens=2)[1], calls
    )


def _at_once(what: str, call: Callable[[Any], Tensor], inputs: Sequence[Any]) -> Measure:
    """Compare `call` on each input, in a thread of its own, with the same call without threads."""
    expected = [call(given) for given in inputs]
    start = Barrier(len(inputs), timeout=PATIENCE)
    found: list[Measure | Exception] = []

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            start.wait()
            try:
                found.append(agree(what, call(inputs[number]), expected[number]))
            except Exception as error:
                found.append(error)

    running = [Thread(target=work, args=(number,), daemon=True) for number in range(len(inputs))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(PATIENCE)
    raised = [each for each in found if isinstance(each, Exception)]
    measured = [each for each in found if isinstance(each, Measure)]
    missing = ROUNDS * len(inputs) - len(found)
    worst = max((each.difference for each in measured), default=float("inf"))
    wrong = sum(not each.holds for each in measured)
    if not (wrong or raised or missing):
        return Measure(what, worst, CLOSE)
    said = f" ({in_one_line(raised[0])})" if raised else ""
    counts = f"of {ROUNDS * len(inputs)} calls {wrong} wrong, {len(raised)} raised{said}, {missing} did not come back"
    return Measure(f"{what}, {counts}", worst if wrong else float("inf"), CLOSE)
