"""Bases in 4 and 8 bits: loaded with their heads whole, fused in every layer, trained with the gradients they have."""

from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel, get_peft_model
from torch import Tensor

import crossflare
from crossflare.errors import UserError
from crossflare.fusion.identity import head_modules
from crossflare.libraries.transformers import with_checkpointing
from crossflare.training.bases import quantised
from crossflare.training.bases.quantised import (
    Quantisation,
    is_quantised,
    prepare_quantised,
    quantised_options,
)
from families.by_hand import CROSS
from family_models import CELLS, FAMILIES, Task, apart, configuration, given, make, predict, texts
from fusion_models import randomise
from lanes import cover, few, only

AUTO: dict[Task, str] = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
}
BASES: list[tuple[str, Task]] = [
    ("llama", "CAUSAL_LM"),
    ("llama", "SEQ_CLS"),
    ("gemma-2", "CAUSAL_LM"),
    ("xlm-r", "SEQ_CLS"),
    ("xlm-r", "QUESTION_ANS"),
    ("mt5", "SEQ_2_SEQ_LM"),
]
KINDS: tuple[Quantisation, ...] = ("nf4", "int8")
CPU = torch.device("cpu")
SIZES = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16}
pytestmark = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs crossflare[quant]")


def sizes(name: str) -> dict[str, Any]:
    if FAMILIES[name].kind != "encoder-decoder":
        return SIZES if FAMILIES[name].kind == "decoder" else {"hidden_size": 64, "intermediate_size": 64}
    if "q" in FAMILIES[name].projections:  # T5's
        return {"d_model": 64, "d_kv": 16, "d_ff": 64}
    return {"d_model": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "init_std": 0.1}


def load(folder: Path, name: str, task: Task, kind: Quantisation, *, prepare: bool = True) -> Any:
    """Save a tiny base and load it in fewer bits."""
    if not (folder / "config.json").is_file():
        options = sizes(name) | ({} if FAMILIES[name].kind == "encoder-decoder" else {"initializer_range": 0.1})
        make(name, task, dtype=torch.float32, **options).save_pretrained(folder)
    auto = getattr(transformers, AUTO[task])
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = auto.from_pretrained(folder, config=config, **quantised_options(kind, auto, config, CPU))
    if prepare and kind != "none":
        prepare_quantised(base)
    return base


def adapted(base: Any, task: Task, **options: Any) -> PeftModel:
    model = get_peft_model(base, crossflare.FlareConfig(**{"task_type": task, "r": 4} | options))
    randomise(model, 0.2)
    return model.eval()


def step(model: PeftModel, inputs: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    assert len(found) == sum(p.requires_grad for p in model.parameters())
    return float(loss.detach()), found


def repacks() -> bool:
    """Whether this CPU has the instructions for which bitsandbytes repacks 4-bit layers."""
    from bitsandbytes.nn import Linear4bit

    return bool(getattr(Linear4bit(2, 2), "support_avx512bf16_for_cpu", False))


@pytest.mark.parametrize(("name", "task", "kind"), cover(BASES, KINDS))
def test_the_body_is_quantised_and_the_head_is_whole(name: str, task: Task, kind: Quantisation, tmp_path: Path) -> None:
    base = load(tmp_path, name, task, kind)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in base.modules())
    assert {p.dtype for p in base.parameters() if p.is_floating_point()} == {torch.float32}
    body = [path for path, module in base.named_modules() if is_quantised(module)]
    # Of T5's two blocks: 4 + 2 linear layers in the encoder's, 4 + 4 + 2 in the decoder's; it keeps `wo` in float32.
    assert len(body) == 2 * {"decoder": 7, "encoder": 6, "encoder-decoder": 6 + 10}[FAMILIES[name].kind]
    for head in head_modules(base):
        assert not [path for path in body if path.startswith(head)]
    if FAMILIES[name].tied:
        assert base.lm_head.weight is base.model.embed_tokens.weight


@pytest.mark.parametrize(("name", "task", "kind"), cover(BASES, KINDS))
def test_quantised_bases_fuse(name: str, task: Task, kind: Quantisation, tmp_path: Path) -> None:
    """In every layer: with all lora_B but one at zero, the source still shows."""
    model, inputs = adapted(load(tmp_path, name, task, kind), task), given(name, task, labels=False)
    target = {path: tensor for path, tensor in inputs.items() if not path.startswith("source_")}
    ups = [p for path, p in model.named_parameters() if "lora_B" in path and not CROSS.search(path)]
    assert len(ups) == (8 if FAMILIES[name].kind == "encoder-decoder" else 4)
    kept = [up.detach().clone() for up in ups]
    with nullcontext():
        for index, up in enumerate(ups):
            with torch.no_grad():
                for parameter in ups:
                    parameter.zero_()
                up.copy_(kept[index])
            fused, alone = predict(model, task, inputs), predict(model, task, target)
            assert apart(fused[:2], alone[:2]) > 1e-4
            # The row without a source; in 8 bits, which columns are computed exactly depends on the whole batch.
            largest = max(float(row.abs().max()) for row in alone[2:])
            assert apart(fused[2:], alone[2:]) < (0.1 * max(1, largest) if kind == "int8" else 1e-2)


@pytest.mark.parametrize(
    ("name", "task", "kind"), only([(*cell, kind) for cell in CELLS for kind in KINDS], few(BASES, KINDS))
)
def test_gradients_and_loss_with_and_without_checkpointing(
    name: str, task: Task, kind: Quantisation, tmp_path: Path
) -> None:
    inputs, found = given(name, task), []
    with nullcontext():
        for reentrant in (None, True, False):
            model = adapted(load(tmp_path, name, task, kind), task).train()
            if reentrant is not None:
                with_checkpointing(model, reentrant=reentrant)
            found += [step(model, inputs), step(model, inputs)]  # the second step sees what the first left behind
    loss, gradients = found[0]
    assert all(gradient.abs().max() > 0 for path, gradient in gradients.items() if "lora_" in path)
    for other_loss, other in found[1:]:
        assert other_loss == pytest.approx(loss, rel=1e-6)
        # A T5 encoder's output has several readers, whose gradients are summed in bfloat16, in another order.
        near = 1e-2 if kind == "nf4" and FAMILIES[name].kind == "encoder-decoder" else 1e-4
        for path, gradient in gradients.items():
            assert apart([other[path]], [gradient]) < near * max(1, float(gradient.abs().max())), path


@pytest.mark.parametrize(("name", "task"), [("llama", "CAUSAL_LM"), ("xlm-r", "SEQ_CLS")])
def test_gradients_pass_through_all_4_bit_layers(name: str, task: Task, tmp_path: Path) -> None:
    """They are those of the same model with its 4-bit weights written out in float32."""
    base = load(tmp_path, name, task, "nf4", prepare=False)
    for module in base.modules():
        if is_quantised(module):
            module.compute_dtype = torch.float32
    prepare_quantised(base)
    whole = load(tmp_path, name, task, "nf4", prepare=False).dequantize().float()
    inputs = given(name, task)
    loss, gradients = step(adapted(base, task).train(), inputs)
    wanted_loss, wanted = step(adapted(whole, task).train(), inputs)
    assert loss == pytest.approx(wanted_loss, abs=1e-4)
    for path, gradient in gradients.items():
        near = torch.nn.functional.cosine_similarity(gradient.flatten(), wanted[path].flatten(), 0)
        assert near > 0.999, path


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_is_read_by_the_quantised_base(kind: Quantisation, tmp_path: Path) -> None:
    name, task = "llama", "CAUSAL_LM"
    inputs = given(name, task, labels=False)
    model = adapted(load(tmp_path, name, task, kind), task)
    source = {path.removeprefix("source_"): t[:2] for path, t in inputs.items() if path.startswith("source_")}
    with torch.no_grad():
        found = model(**inputs).source_logits[:2]
        own = load(tmp_path, name, task, kind).eval()(**source).logits
        full = load(tmp_path, name, task, "none").eval()(**source).logits
    real = source["attention_mask"].bool()
    error = (found - full)[real].abs().max()
    assert (found - own)[real].abs().max() < 0.1 * error
    assert error > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_merging_is_refused(kind: Quantisation, tmp_path: Path) -> None:
    model = adapted(load(tmp_path, "llama", "CAUSAL_LM", kind), "CAUSAL_LM")
    with pytest.raises(UserError, match="cannot be merged"):
        model.merge_and_unload()


@pytest.mark.parametrize(("name", "task", "kind"), cover([("llama", "CAUSAL_LM"), ("xlm-r", "SEQ_CLS")], KINDS))
def test_adapters_of_quantised_bases_come_back(name: str, task: Task, kind: Quantisation, tmp_path: Path) -> None:
    from crossflare.fusion.identity import identify
    from crossflare.fusion.saved.adapter_files import load_adapter, save_adapter

    base = load(tmp_path / "base", name, task, kind)
    identity = identify(base)
    model, inputs = adapted(base, task), given(name, task, labels=False)
    with nullcontext():
        expected = predict(model, task, inputs)
        save_adapter(model, tmp_path / "adapter", base=identity)
        model.save_pretrained(tmp_path / "peft")
        ours = load_adapter(load(tmp_path / "base", name, task, kind), tmp_path / "adapter")
        stock = PeftModel.from_pretrained(load(tmp_path / "base", name, task, kind), tmp_path / "peft").eval()
        for loaded in (ours, stock):
            assert apart(predict(loaded, task, inputs), expected) < 1e-6
    with pytest.raises(UserError, match=r"base"):
        load_adapter(load(tmp_path / "base", name, task, "none"), tmp_path / "adapter")


def test_evaluation_does_not_cost_the_gradients_of_4_bit_layers(tmp_path: Path) -> None:
    """On CPUs with bfloat16 instructions, a pass without gradients repacks the weights for a kernel without any."""
    inputs, model = given("xlm-r", "SEQ_CLS"), adapted(load(tmp_path, "xlm-r", "SEQ_CLS", "nf4"), "SEQ_CLS")
    before = step(model.train(), inputs)
    predict(model.eval(), "SEQ_CLS", given("xlm-r", "SEQ_CLS", labels=False))
    after = step(model.train(), inputs)
    assert before[0] == pytest.approx(after[0], abs=1e-6)


def test_gradients_of_a_base_that_the_user_loaded(tmp_path: Path) -> None:
    """As above, for stock peft on a base that did not go through `prepare_quantised`."""
    inputs, base = given("xlm-r", "SEQ_CLS"), load(tmp_path, "xlm-r", "SEQ_CLS", "nf4", prepare=False)
    predict(base.eval(), "SEQ_CLS", texts([7, 4, 9], [5, 8, 0]).target)
    step(adapted(base, "SEQ_CLS").train(), inputs)


def test_bitsandbytes_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    config = configuration("llama")
    for kind in KINDS:
        with pytest.raises(UserError, match=r'pip install "crossflare\[quant\]"') as caught:
            quantised_options(kind, transformers.AutoModelForCausalLM, config, CPU)
        assert "\n" not in str(caught.value)
    assert quantised_options("none", transformers.AutoModelForCausalLM, config, CPU) == {}


def test_what_cannot_be_quantised_is_said() -> None:
    auto = transformers.AutoModelForCausalLM
    with pytest.raises(UserError, match="unknown quantise 'nf5'"):
        quantised_options("nf5", auto, configuration("llama"), CPU)  # type: ignore[arg-type]
    done = configuration("llama")
    done.quantization_config = {"quant_method": "gptq"}
    with pytest.raises(UserError, match=r"quantised already \(gptq\)"):
        quantised_options("nf4", auto, done, CPU)
    with pytest.raises(UserError, match="no layer was quantised"):
        prepare_quantised(make("llama", dtype=torch.float32))


@pytest.mark.parametrize(("kind", "nested"), [("nf4", True), ("nf4-single", False)])
def test_the_scales_of_4_bits_are_quantised_only_where_the_name_says_so(
    kind: Quantisation, nested: bool, tmp_path: Path
) -> None:
    layers = [module for module in load(tmp_path, "llama", "CAUSAL_LM", kind).modules() if is_quantised(module)]
    assert layers
    assert all(layer.weight.quant_state.nested is nested for layer in layers)
