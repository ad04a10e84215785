"""Training every family: gradients with activation checkpointing and autocast, torch.compile, HuggingFace's Trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from crossflare.libraries.transformers import with_checkpointing
from family_models import CELLS, FAMILIES, TWO_STACKS, Task, given, labels_for, make, predict, sided, texts
from fusion_models import flare
from lanes import cover

HEADS: dict[str, Task] = {"decoder": "CAUSAL_LM", "encoder": "TOKEN_CLS", "encoder-decoder": "SEQ_2_SEQ_LM"}
ONE_HEAD = [(name, HEADS[family.kind]) for name, family in FAMILIES.items()]
Gradients = dict[str, Tensor]


def gradients(model: Any, inputs: dict[str, Tensor]) -> Gradients:
    model.zero_grad()
    model(**inputs).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}


def apart(one: Gradients, other: Gradients) -> float:
    """Return the largest difference, as a share of the largest gradient."""
    assert one.keys() == other.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / largest


@pytest.mark.parametrize(("name", "task", "reentrant"), cover(CELLS, [True, False]))
def test_gradients_are_the_same_with_checkpointing(name: str, task: Task, reentrant: bool) -> None:
    plain = gradients(flare(make(name, task), task_type=task).train(), given(name, task))
    per_block = 2 * len({*FAMILIES[name].projections})
    attentions = (
        6 if (name, task) in TWO_STACKS else 2
    )  # the encoder's, the decoder's, and the decoder's to the encoder
    assert len([path for path in plain if "lora_" in path]) == per_block * attentions
    model, seen = with_checkpointing(flare(make(name, task), task_type=task).train(), reentrant=reentrant), []
    fusing = next(m for path, m in model.named_modules() if path.endswith(f"0.{_attention(model, name)}"))
    fusing.register_forward_hook(lambda *args: seen.append(True))
    again = gradients(model, given(name, task))
    calls = 2 if name == "mdeberta" else 1  # whose relative positions pass through as well
    assert len(seen) == 2 * calls  # the target, and the target again; the source is read without adapters
    assert apart(again, plain) < (1e-10 if FAMILIES[name].exact < 1e-6 else 1e-5)


def _attention(model: PeftModel, name: str) -> str:
    """Return the name of the first projection inside of its block."""
    path = next(p for p, _ in model.named_modules() if p.endswith(f".{FAMILIES[name].projections[0]}") and ".0." in p)
    return path.rpartition(".0.")[2]


@pytest.mark.parametrize(("name", "task", "number"), cover(ONE_HEAD, [torch.bfloat16, torch.float16]))
def test_autocast_is_finite_and_close(name: str, task: Task, number: torch.dtype) -> None:
    model = flare(make(name, task, dtype=torch.float32), scale=0.2, task_type=task).train()
    inputs = given(name, task)
    exact, exact_logits = gradients(model, inputs), predict(model, task, given(name, task, labels=False))
    with torch.autocast("cpu", dtype=number):
        rough = gradients(model, inputs)
        rough_logits = predict(model, task, given(name, task, labels=False))
    assert all(gradient.isfinite().all() for gradient in rough.values())
    largest = max(float(row.abs().max()) for row in exact_logits)
    worst = max(float((a.float() - b).abs().max()) for a, b in zip(rough_logits, exact_logits, strict=True))
    assert 0 < worst < (0.1 if number == torch.bfloat16 else 0.02) * largest
    together = torch.nn.functional.cosine_similarity(
        torch.cat([gradient.flatten() for gradient in rough.values()]),
        torch.cat([exact[path].flatten() for path in rough]),
        0,
    )
    assert together > (0.97 if number == torch.bfloat16 else 0.999)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.tied])
def test_tied_embeddings_stay_tied_and_untrained(name: str, tmp_path: Path) -> None:
    from crossflare.fusion.identity import identify
    from crossflare.fusion.saved.adapter_files import adapter_tensors, load_adapter, save_adapter

    task = HEADS[FAMILIES[name].kind]
    base = make(name, task, dtype=torch.float32)
    identity = identify(base)
    model = flare(base, task_type=task).train()
    inner = model.base_model.model
    assert inner.lm_head.weight is inner.get_input_embeddings().weight
    before = inner.lm_head.weight.detach().clone()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    gradients(model, given(name, task))
    optimizer.step()
    assert torch.equal(inner.lm_head.weight, before)
    assert not [path for path in adapter_tensors(model) if "lm_head" in path or "embed" in path]
    save_adapter(model, tmp_path / "adapter", base=identity)
    model.save_pretrained(tmp_path / "peft")
    stock = PeftModel.from_pretrained(make(name, task, dtype=torch.float32), tmp_path / "peft")
    for loaded in (load_adapter(make(name, task, dtype=torch.float32), tmp_path / "adapter"), stock):
        inner = loaded.base_model.model
        assert inner.lm_head.weight is inner.get_input_embeddings().weight
        with torch.no_grad():
            one, other = (m.eval()(**given(name, task, labels=False)).logits for m in (loaded, model))
        assert torch.equal(one, other)


@pytest.mark.parametrize(("name", "task", "targets"), cover(CELLS, ["fusing", "all-linear"]))
def test_adapters_come_back_from_disk(name: str, task: Task, targets: str, tmp_path: Path) -> None:
    from crossflare.fusion.identity import identify
    from crossflare.fusion.saved.adapter_files import load_adapter, save_adapter

    base = make(name, task, dtype=torch.float32)
    identity = identify(base)
    options = {"target_modules": "all-linear"} if targets == "all-linear" else {}
    model = flare(base, task_type=task, scale=0.2, **options)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "modules_to_save" in path:
                parameter.add_(0.1)
    save_adapter(model, tmp_path / "ours", base=identity)
    model.save_pretrained(tmp_path / "peft")
    inputs = given(name, task, labels=False)
    expected = predict(model, task, inputs)
    fresh = [make(name, task, dtype=torch.float32) for _ in range(2)]
    for loaded in (load_adapter(fresh[0], tmp_path / "ours"), PeftModel.from_pretrained(fresh[1], tmp_path / "peft")):
        found = predict(loaded.eval(), task, inputs)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def compiled(name: str, task: Task, fusion: str, backend: Any) -> None:
    """Compare compiled steps with plain ones: several lengths, with and without a source, gradients too."""
    torch._dynamo.reset()
    model = flare(make(name, task, dtype=torch.float32), scale=0.2, task_type=task, fusion=fusion).train()
    fast: Any = torch.compile(model, backend=backend)
    effects: list[float] = []
    for longest in (9, 11):
        side = "left" if FAMILIES[name].kind == "decoder" else "right"
        both = texts([7, 4, longest], [5, 8, 0], side=side)
        for inputs in (both.both(), both.target):
            inputs |= labels_for(task, both.target)
            plain = gradients(model, inputs)
            effects.append(float(model(**inputs).loss.detach()))
            torch.testing.assert_close(float(fast(**inputs).loss.detach()), effects[-1], rtol=1e-5, atol=1e-5)
            assert apart(_stripped(gradients(fast, inputs)), plain) < 1e-4
    assert abs(effects[0] - effects[1]) > 1e-3  # the control: the source matters


def _stripped(found: Gradients) -> Gradients:
    return {path.removeprefix("_orig_mod."): gradient for path, gradient in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "fusion"), [("llama", "CAUSAL_LM", "add_relu"), ("xlm-r", "SEQ_CLS", "cross_attention")]
)
def test_compiled_steps_are_the_same(name: str, task: Task, fusion: str) -> None:
    """With AOTAutograd's graphs; inductor, which takes minutes here, agreed to 1e-6 by hand (docs/models.md)."""
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    compiled(name, task, fusion, counter)
    assert counter.frame_count > 0
    assert counter.op_count > 100  # the blocks are in the graphs, not only what is around them


class Rows(Dataset[dict[str, Any]]):
    """Random texts; every third has no source."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"target": 3 + index % 5, "source": 0 if index % 3 == 0 else 2 + index % 4, "index": index}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), CELLS)
def test_a_step_of_the_trainer(name: str, task: Task, tmp_path: Path) -> None:

    def collate(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        both = sided(name, task, [row["target"] for row in examples], [row["source"] for row in examples])
        both.target.pop("decoder_input_ids", None)
        return both.both() | labels_for(task, both.target)

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        remove_unused_columns=False,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    model = flare(make(name, task, dtype=torch.float32), scale=0.1, task_type=task)
    before = {path: p.detach().clone() for path, p in model.named_parameters()}
    trainer = Trainer(model=model, args=arguments, train_dataset=Rows(), data_collator=collate)
    assert torch.isfinite(torch.tensor(trainer.train().training_loss))
    for path, parameter in model.named_parameters():
        assert torch.equal(parameter, before[path]) != parameter.requires_grad, path
