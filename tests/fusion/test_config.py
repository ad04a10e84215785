"""Every refusal of `FlareConfig` and of an adapter that does not fit the model: one line that says what to do."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertModel

import crossflare
from crossflare.errors import UserError
from crossflare.fusion.config import REFUSED
from crossflare.fusions import ALIGNMENTS, FUSIONS
from fusion_models import batch, build, flare, logits

REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"fusion": "add_rel"}, "unknown fusion 'add_rel': did you mean 'add_relu'?"),
    ({"fusion": "zebra"}, "unknown fusion 'zebra': known: add, add_relu, cross_attention, cross_attention_paper, mul"),
    ({"alignment": "positon"}, "unknown alignment 'positon': did you mean 'position'?"),
    (
        {"alignment": "none"},
        "fusion add_relu needs alignment position, proportional or attention, got none",
    ),
    (
        {"fusion": "cross_attention", "alignment": "position"},
        "fusion cross_attention needs alignment none, got position",
    ),
    ({"r": 0}, "r must be a whole number from 1 to 4096, got 0"),
    ({"r": 5000}, "r must be a whole number from 1 to 4096, got 5000"),
    ({"r": True}, "r must be a whole number from 1 to 4096, got True"),
    ({"r": 8.0}, "r must be a whole number from 1 to 4096, got 8.0"),
    ({"r": "8"}, "r must be a whole number from 1 to 4096, got '8'"),
    ({"lead": 2}, "lead must be a whole number from 0 to 1, got 2"),
    ({"lead": True}, "lead must be a whole number from 0 to 1, got True"),
    ({"mt_dim": 0}, "mt_dim must be a whole number from 1 to 65536, got 0"),
    ({"source_dropout": 1.0}, "source_dropout must be at least 0 and below 1, got 1.0"),
    ({"source_dropout": -0.1}, "source_dropout must be at least 0 and below 1, got -0.1"),
    ({"source_dropout": True}, "source_dropout must be at least 0 and below 1, got True"),
    ({"source_dropout": float("nan")}, "source_dropout must be at least 0 and below 1, got nan"),
    ({"flare_format": 3}, "adapter format 3 is newer than this crossflare's 2; upgrade it"),
    ({"bias": "all"}, "bias must be 'none' (trained biases would change the base that reads the source), got all"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights must be True, False, 'gaussian' or 'orthogonal'"),
    ({"target_modules": "query|value"}, "target_modules must be a list of module names, got the text 'query|value'"),
    ({"exclude_modules": ".*"}, "exclude_modules must be a list of module names, got the text '.*'"),
    ({"rank_pattern": {"query": 4}}, "rank_pattern cannot be combined with FLARE: patterns are regular expressions"),
    ({"alpha_pattern": {"query": 4}}, "alpha_pattern cannot be combined with FLARE: patterns are regular expressions"),
    ({"use_dora": True}, "use_dora cannot be combined with FLARE: DoRA rescales the whole weight"),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS, ids=lambda value: str(value)[:50])
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        crossflare.FlareConfig(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_options_that_cannot_be_combined(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} cannot be combined with FLARE: .*; unset it"):
        crossflare.FlareConfig(**{name: {"x": 1} if name.endswith("pattern") else True})


def test_refused_options_are_options_of_peft() -> None:
    """A misspelt name in the table would refuse nothing."""
    config = LoraConfig()
    assert [name for name in REFUSED if not hasattr(config, name)] == []


def test_defaults_are_the_papers() -> None:
    config = crossflare.FlareConfig()
    assert (config.r, config.lora_alpha, config.fusion, config.alignment, config.lead) == (
        8,
        16,
        "add_relu",
        "position",
        1,
    )
    assert crossflare.FlareConfig(fusion="cross_attention").alignment == "none"
    for name, row in FUSIONS.items():
        assert crossflare.FlareConfig(fusion=name).alignment in ALIGNMENTS
        assert row.aligned == (crossflare.FlareConfig(fusion=name).alignment != "none")


UNFIT: list[tuple[dict[str, Any], str]] = [
    (
        {"target_modules": ["key"]},
        "0 of 4 projections named query, value would fuse; target_modules",
    ),
    ({"target_modules": ["query"]}, "2 of 4 projections named query, value would fuse"),
    (
        {"fusion_modules": ["q_proj"]},
        "BertForSequenceClassification has no projections named q_proj inside a list of blocks; set fusion_modules",
    ),
]


@pytest.mark.parametrize(("options", "message"), UNFIT)
def test_an_adapter_that_does_not_fit_leaves_the_model_alone(options: dict[str, Any], message: str) -> None:
    base = build("bert")
    before = [name for name, _ in base.named_modules()]
    with pytest.raises(UserError) as caught:
        get_peft_model(base, crossflare.FlareConfig(task_type="SEQ_CLS", **options))
    assert message in str(caught.value)
    assert [name for name, _ in base.named_modules()] == before
    assert not base._forward_pre_hooks
    assert not base._forward_hooks
    assert all(parameter.requires_grad for parameter in base.parameters())
    assert torch.equal(logits(base, batch().target), logits(build("bert"), batch().target))
    assert flare(base)(**batch().both()).source_logits is not None  # and it can be had right afterwards


def test_a_second_adapter_that_does_not_fit_leaves_the_first_alone() -> None:
    model = flare(build("bert"))
    expected = logits(model, batch().both())
    with pytest.raises(UserError, match="0 of 4 projections"):
        model.add_adapter("two", crossflare.FlareConfig(task_type="SEQ_CLS", target_modules=["key"]))
    assert torch.equal(logits(model, batch().both()), expected)
    assert list(model.peft_config) == ["default"]


class Unknown(nn.Module):
    """A model with names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"ask": nn.Linear(2, 2)}) for _ in range(2)])
        self.others = nn.ModuleList([nn.ModuleDict({"ask": nn.Linear(2, 2)}) for _ in range(2)])


def test_unknown_models_are_told_what_to_set() -> None:
    with pytest.raises(UserError, match=r"set fusion_modules .*\(names seen in its blocks: ask\)"):
        get_peft_model(Unknown(), crossflare.FlareConfig())
    with pytest.raises(UserError, match=r"in several lists of blocks \(layers, others\)"):
        get_peft_model(Unknown(), crossflare.FlareConfig(fusion_modules=["ask"], target_modules=["ask"]))


def test_all_linear_layers_may_be_targets() -> None:
    model = flare(build("bert"), target_modules="all-linear")
    names = [name for name, _ in model.named_modules() if name.endswith("lora_A.default")]
    assert len(names) > 4
    assert (logits(model, batch().both()) - logits(model, batch().target)).abs().max() > 1e-3


def test_a_backbone_without_a_head_has_an_identity() -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    one, other = BertModel(config), BertModel(config)
    assert crossflare.identify(one) == crossflare.identify(one)
    assert crossflare.identify(one).digest != crossflare.identify(other).digest


def test_the_head_is_no_part_of_the_identity() -> None:
    one, other = build("bert"), build("bert")
    with torch.no_grad():
        other.classifier.weight.add_(1)
    assert crossflare.identify(one) == crossflare.identify(other)
    with torch.no_grad():
        other.bert.encoder.layer[0].output.dense.weight[0, 0] += 1e-9
    assert crossflare.identify(one) != crossflare.identify(other)
    with pytest.raises(UserError, match="carries adapters; identify the base model before adding them"):
        crossflare.identify(flare(build("bert")).base_model.model)
