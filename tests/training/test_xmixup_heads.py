"""X-Mixup's block under heads that are not an encoder's: of mT5, whose decoder reads the same text, and of Llama."""

from typing import Any

import pytest
import torch
from torch import Tensor

from crossflare.fusion.identity import GATE, head_modules
from crossflare.training.forms.mixing import prepare_mixing
from family_models import END, Task, make
from fusion_models import pad, rows

CASES: list[tuple[str, Task]] = [("mt5", "SEQ_CLS"), ("mt5", "QUESTION_ANS"), ("llama", "SEQ_CLS")]


def inputs(sources: list[int], *, extra: int = 0) -> dict[str, Tensor]:
    """Return padded texts that end with the end token, as a classifier of T5's kind needs."""
    target = pad([[*text, END] for text in rows([6, 3, 5], 1)])
    source = pad([[*text, END] if text else [] for text in rows(sources, 2)], extra=extra)
    return target | {f"source_{name}": tensor for name, tensor in source.items()}


def said(model: Any, given: dict[str, Tensor], prefix: str = "") -> Tensor:
    """Return a row for each text: its label's logits, or those of its first three tokens as a start."""
    with torch.no_grad():
        output = model(**given)
    return output[f"{prefix}logits"] if "logits" in output else output[f"{prefix}start_logits"][:, :3]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_block_alone_mixes_and_leaves_rows_without_a_source(name: str, task: Task) -> None:
    plain, model = make(name, task), prepare_mixing(make(name, task), 1)
    assert GATE in head_modules(model)
    given = inputs([5, 0, 3])
    own = {each: tensor for each, tensor in given.items() if not each.startswith("source_")}
    expected, found = said(plain, own), said(model, given)
    assert torch.equal(said(model, own), expected)
    apart = (found - expected).abs().amax(-1)
    assert apart[1] < 1e-6
    assert apart[[0, 2]].min() > 1e-4
    torch.testing.assert_close(said(model, inputs([5, 0, 3], extra=4)), found, rtol=0, atol=1e-5)
    other = given | {"source_input_ids": given["source_input_ids"].clone()}
    other["source_input_ids"][0, 0] = 9 if int(other["source_input_ids"][0, 0]) != 9 else 11
    moved = (said(model, other) - found).abs().amax(-1)
    assert moved[0] > 1e-5
    assert moved[1:].max() < 1e-6
    torch.testing.assert_close(said(model, inputs([0, 0, 0], extra=2)), expected, rtol=0, atol=1e-6)
    source = {each.removeprefix("source_"): tensor[[0, 2]] for each, tensor in given.items() if each not in own}
    torch.testing.assert_close(said(model, given, "source_")[[0, 2]], said(plain, source), rtol=0, atol=1e-5)
