"""`released=True` against slow loops written from the description of the released code, and against the method itself.

Each test shows one difference: what is computed is what the description says, and not what the method computes.
"""

from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

import crossflare
from crossflare.errors import UserError
from crossflare.libraries.transformers import with_checkpointing
from fusion_models import batch, build, calls, flare, logits, pad, rows
from reference.slow_flare import attend, phi
from writing_models import adapted, prompts
from writing_models import build as build_writer

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-10}
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5, "check_dtype": False}
"""Llama's norms are computed in float32."""
FUSIONS = ("add", "mul", "add_relu", "cross_attention_paper")
BERT, LLAMA = ("query", "value"), ("q_proj", "v_proj")


def column_by_column(fusion: str, source: Tensor, target: Tensor, maps: dict[str, Tensor]) -> Tensor:
    """Return phi of low states [B,S,r] and [B,T,r]; every column is fused with that of the same number."""
    if fusion != "cross_attention_paper":
        return phi(fusion, source, target)
    fused = [[attend(query, list(texts), maps) for query in queries] for queries, texts in zip(source, target)]  # noqa: B905
    return torch.stack([torch.stack(row) for row in fused])


def hook_fusion(base: Any, model: PeftModel, states: list[Tensor] | None, names: tuple[str, ...]) -> Any:
    """Make a plain base compute what the adapter does with the states before each block [B,S,d]; None: plain LoRA."""
    config, adapter = model.peft_config["default"], dict(model.base_model.model.named_modules())
    for name, head in adapter.items():
        if name in ("classifier",):
            base.classifier.load_state_dict(head.modules_to_save["default"].state_dict())
    for name, module in list(base.named_modules()):
        if name.rpartition(".")[2] not in names:
            continue
        own, block = adapter[name], int(next(part for part in name.split(".") if part.isdigit()))
        down, up = own.lora_A["default"].weight, own.lora_B["default"].weight
        maps = dict(own.lora_fusion["default"].named_parameters()) if hasattr(own, "lora_fusion") else {}

        def add(module: nn.Module, args: Any, out: Tensor, block=block, down=down, up=up, maps=maps) -> Tensor:
            low = args[0] @ down.T
            if states is not None:
                low = column_by_column(config.fusion, states[block] @ down.T, low, maps)
            return out + config.lora_alpha / config.r * low @ up.T

        module.register_forward_hook(add)
    return base


@torch.no_grad()
def states_of(base: Any, source: dict[str, Tensor]) -> list[Tensor]:
    """Return the states before each block, padding's too, as transformers gives them."""
    return list(base(**source, output_hidden_states=True).hidden_states[:-1])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_encoders_fuse_column_by_column_padding_too(fusion: str, side: str) -> None:
    target, source = pad(rows([8, 4, 5], 1), side=side), pad(rows([5, 8, 3], 2), side=side)
    both = target | {f"source_{name}": tensor for name, tensor in source.items()}
    model, right = (flare(build("bert"), fusion=fusion, released=released) for released in (True, False))
    slow = hook_fusion(build("bert"), model, states_of(build("bert"), source), BERT)
    torch.testing.assert_close(logits(model, both), logits(slow, target), **EXACT)
    assert (logits(model, both) - logits(right, both)).abs().amax(1).min() > 1e-4  # every row differs


def test_what_padding_is_changes_the_result() -> None:
    """The defect itself: the method's own law, that padding never counts, does not hold."""
    both = batch([8, 4, 5], [5, 8, 3]).both()
    other = both | {"source_input_ids": both["source_input_ids"].masked_fill(both["source_attention_mask"] == 0, 7)}
    for released in (True, False):
        model = flare(build("bert"), released=released)
        assert torch.allclose(logits(model, both), logits(model, other), **EXACT) != released


def test_decoders_fuse_raw_states_answers_too() -> None:
    inputs = prompts("llama", [8, 6, 7], [5, 8, 3])
    source = {name.removeprefix("source_"): t for name, t in inputs.items() if name.startswith("source_")}
    target = {name: t for name, t in inputs.items() if not name.startswith("source_")}
    answered = inputs | {"fusion_mask": target["attention_mask"] * (torch.arange(8) < 5)}
    model, right = (adapted("llama", released=released) for released in (True, False))
    states = states_of(build_writer("llama"), source)
    slow = hook_fusion(build_writer("llama"), model, states, LLAMA)
    torch.testing.assert_close(logits(model, answered), logits(slow, target), **CLOSE)
    assert (logits(model, answered) - logits(right, answered)).abs().max() > 1e-3


def test_lead_and_norm_are_the_released_ones_whatever_is_said() -> None:
    config = crossflare.FlareConfig(released=True, lead=1, source_norm=True)
    assert (config.lead, config.source_norm, config.alignment) == (0, False, "position")
    assert (crossflare.FlareConfig().lead, crossflare.FlareConfig().source_norm) == (1, True)


def test_the_source_pass_has_live_dropout_in_training_alone() -> None:
    inputs = batch([6, 4], [6, 5]).both()
    source = {name.removeprefix("source_"): t for name, t in inputs.items() if name.startswith("source_")}
    target = {name: t for name, t in inputs.items() if not name.startswith("source_")}
    model = flare(build("bert", dropout=0.5), released=True)
    calm = model(**inputs).source_logits
    assert torch.equal(model(**inputs).source_logits, calm)
    model.train()
    torch.manual_seed(7)
    found = model(**inputs)
    assert (found.source_logits - calm).abs().max() > 1e-3
    reader, base = (build("bert", dropout=0.5).train() for _ in range(2))
    torch.manual_seed(7)
    slow = hook_fusion(base, model, states_of(reader, source), BERT)
    torch.testing.assert_close(found.logits, slow(**target).logits, **EXACT)
    assert all(module.training for module in model.modules() if isinstance(module, nn.Dropout))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_without_a_source_it_is_plain_lora(fusion: str) -> None:
    both = batch([8, 4, 5], [5, 8, 3])
    model = flare(build("bert"), fusion=fusion, released=True)
    slow = hook_fusion(build("bert"), model, None, BERT)
    torch.testing.assert_close(logits(model, both.target), logits(slow, both.target), **EXACT)
    if fusion == "add_relu":
        assert (logits(flare(build("bert")), both.target) - logits(slow, both.target)).abs().max() > 1e-3


def test_a_row_without_a_source_is_plain_lora_whatever_the_others_have() -> None:
    both = batch([8, 8], [8, 0])
    model = flare(build("bert"), released=True)
    torch.testing.assert_close(logits(model, both.both())[1], logits(model, both.target)[1], **EXACT)


def test_nothing_fuses_in_training_under_checkpointing() -> None:
    both = batch([8, 4], [5, 8])
    for released in (True, False):
        model = flare(build("bert"), released=released)
        fused, alone = logits(model, both.both()), logits(model, both.target)
        with_checkpointing(model, reentrant=False)
        torch.testing.assert_close(logits(model, both.both()), fused, **EXACT)  # in evaluation it does
        model.train()
        torch.testing.assert_close(model(**both.both()).logits, alone if released else fused, **EXACT)
        for module in model.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = False
        torch.testing.assert_close(model(**both.both()).logits, fused, **EXACT)


@torch.no_grad()
def greedy(base: Any, given: dict[str, Tensor], steps: int) -> tuple[Tensor, list[Tensor]]:
    """Write `steps` tokens without a cache; return their logits [B,steps,V], and the last column's states."""
    ids, mask, found, states = given["input_ids"], given["attention_mask"], [], []
    for _ in range(steps):
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = base(input_ids=ids, attention_mask=mask, position_ids=positions, output_hidden_states=True)
        found.append(out.logits[:, -1])
        states = [state[:, -1:] for state in out.hidden_states]
        ids = torch.cat([ids, out.logits[:, -1].argmax(-1, keepdim=True)], 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    return torch.stack(found, 1), states


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("cached", [True, False])
def test_generation_reads_the_last_step_of_the_sources_own_answer(family: str, cached: bool) -> None:
    inputs = prompts(family, [7, 6, 8], [5, 8, 3])
    source = {name.removeprefix("source_"): t for name, t in inputs.items() if name.startswith("source_")}
    target = {name: t for name, t in inputs.items() if not name.startswith("source_")}
    model = adapted(family, released=True)
    asked = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    out = model.generate(**inputs, **asked, use_cache=cached)
    _, states = greedy(build_writer(family), source, 5)
    slow = hook_fusion(build_writer(family), model, states, LLAMA)
    expected, _ = greedy(slow, target, 5)
    torch.testing.assert_close(torch.stack(out.logits, 1), expected, **CLOSE)
    right = adapted(family).generate(**inputs, **asked)
    assert (out.logits[0] - right.logits[0]).abs().max() > 1e-3
    assert model.base_model.attachment.session.get() is None


def test_beams_repeat_the_sources_state() -> None:
    inputs = prompts("llama", [7, 6], [5, 8])
    model = adapted("llama", released=True)
    options = {"max_new_tokens": 4, "num_beams": 3, "do_sample": False}
    together = model.generate(**inputs, **options)
    for number in range(2):
        alone = model.generate(**{name: tensor[number : number + 1] for name, tensor in inputs.items()}, **options)
        assert torch.equal(alone[0], together[number])


def test_sides_of_unequal_width_are_refused() -> None:
    model = flare(build("bert"), released=True)
    with pytest.raises(UserError, match=r"the source has 8 columns and the target 7; pad both to one length"):
        model(**batch([7, 4, 5], [5, 8, 3]).both())
    assert calls(model).frame is None


def test_sources_padded_on_the_right_cannot_be_answered() -> None:
    inputs = prompts("llama", [7, 6], [5, 8], side="right")
    with pytest.raises(UserError, match="the model answer the source, but sources are padded on the right"):
        adapted("llama", released=True).generate(**inputs, max_new_tokens=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "cross_attention"}, "has fusion add or mul or add_relu or cross_attention_paper only, got cross_a"),
        ({"fusion": "mul_relu"}, "got mul_relu"),
        ({"alignment": "proportional"}, "has alignment position only, got proportional"),
        ({"source_dropout": 0.3}, "has source_dropout 0 only, got 0.3"),
        ({"mt_dim": 8}, "has mt_dim None only, got 8"),
        ({"fuse_cross_attention": True}, "has fuse_cross_attention False only, got True"),
    ],
)
def test_what_the_released_code_has_not(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        crossflare.FlareConfig(released=True, **options)


def test_encoder_decoders_are_refused() -> None:
    with pytest.raises(UserError, match="the authors' code has no encoder-decoder models"):
        adapted("mt5", released=True)


def test_two_settings_on_one_base() -> None:
    """Each adapter keeps its own way of reading."""
    both = batch([8, 4], [5, 8]).both()
    model = flare(build("bert"), released=True)
    first = logits(model, both)
    model.add_adapter("right", crossflare.FlareConfig(task_type="SEQ_CLS", r=4, lora_alpha=8))
    model.set_adapter("right")
    logits(model, both | {"source_input_ids": both["source_input_ids"][:, :8]})
    model.set_adapter("default")
    assert torch.equal(logits(model, both), first)
