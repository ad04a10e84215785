"""A recipe with a quantised base: stage 1 is merged in full precision, and all that follows reads the result."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.experiment.making.building import load_base_of
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage2
from crossflare.fusion.saved.adapter_files import SOURCE_TASK, load_adapter
from crossflare.serving.adapter import open_adapter
from crossflare.training.bases import quantised
from crossflare.training.bases.quantised import is_quantised
from tiny_experiment import Lab

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs crossflare[quant]")
METHODS = ("zero-shot", "flare", "flare+source")


def lab_in(folder: Path) -> Lab:
    return Lab(folder, languages=("es",), seeds=(0,))


@torch.no_grad()
def call(model: Any, tokenizer: Any, *, source: bool) -> Any:
    target = dict(tokenizer(["el cine bueno", "malo cuento"], padding=True, return_tensors="pt"))
    read = dict(tokenizer(["the film good", "bad story the film"], padding=True, return_tensors="pt"))
    if not source:
        return model.eval()(**read).logits
    return model.eval()(**target, **{f"source_{name}": tensor for name, tensor in read.items()})


@needs_bitsandbytes
@pytest.mark.parametrize("kind", ["nf4", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_whole_run(kind: str, tmp_path: Path) -> None:
    spec = lab_in(tmp_path).spec({"model.quantise": kind}, METHODS)
    folder = run(spec, tmp_path / "runs", workers=1)
    made = [read_json(path) for path in (folder / "records").glob("*.json")]
    assert {record["method"]["name"] for record in made} == set(METHODS)
    context = Context(spec, folder)
    step = next(step for step in all_steps(context) if isinstance(step, Stage2))
    opened, again = open_adapter(step.path), open_adapter(step.path).model
    model, tokenizer = opened.model, opened.tokenizer
    assert any(is_quantised(module) for module in model.modules())
    output = call(model, tokenizer, source=True)
    assert torch.equal(output.logits, call(again, tokenizer, source=True).logits)
    # The source is read by the base with stage 1 in it, merged before it was quantised; not by the bare base.
    merged = call(load_base_of(context, 0, step.stage1.path).model, tokenizer, source=False)
    bare = call(load_base_of(context, 0).model, tokenizer, source=False)
    torch.testing.assert_close(output.source_logits, merged, rtol=0, atol=1e-5 if kind == "nf4" else 1e-2)
    assert float((merged - bare).abs().max()) > 0.05
    assert (step.path / SOURCE_TASK).is_dir()
    base = load_base_of(context, 0)
    with pytest.raises(UserError, match="stage 1 cannot be merged into quantised weights"):
        load_adapter(base.model, step.path, base=base.identity)


def test_without_bitsandbytes_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    spec = lab_in(tmp_path).spec({"model.quantise": "nf4"}, METHODS)
    with pytest.raises(UserError, match=r"quantise nf4: bitsandbytes is not installed; run pip install") as caught:
        run(spec, tmp_path / "runs", workers=1)
    assert "\n" not in str(caught.value)
    assert "steps failed" not in str(caught.value)
    assert not list((tmp_path / "runs").glob("*/models/*"))
