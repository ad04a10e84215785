"""Every family with every head computes the method's equation, row by row, whatever the padding."""

from typing import Any

import pytest
import torch

from families.by_hand import row
from family_models import (
    CELLS,
    DECODERS,
    FAMILIES,
    KV_HEADS,
    ONE_STACK,
    SLIDING_WINDOWS,
    TWO_STACKS,
    Task,
    answers,
    apart,
    configuration,
    lists,
    make,
    predict,
    sided,
    texts,
)
from fusion_models import flare, randomise
from lanes import cover

TARGETS, SOURCES = [7, 4, 9], [5, 8, 0]


def by_hand(
    model: Any,
    name: str,
    task: Task,
    anchor: str = "start",
    targets: list[int] = TARGETS,
    sources: list[int] = SOURCES,
    **options: Any,
) -> list[Any]:
    """Return what each row of `sided` must give."""
    given = answers(len(targets)) if task == "SEQ_2_SEQ_LM" else [None] * len(targets)
    texts = zip(lists(name, task, targets, 1), lists(name, task, sources, 2), given, strict=True)
    return [row(model, name, task, target, source, anchor, answer, **options) for target, source, answer in texts]


def anchor(name: str, task: Task) -> str:
    return "end" if FAMILIES[name].kind == "decoder" else "start"


@pytest.mark.parametrize(("name", "task"), cover(CELLS))
def test_a_batch_is_the_equation_for_each_row(name: str, task: Task) -> None:
    model = flare(make(name, task), task_type=task, alignment="proportional")
    found = predict(model, task, sided(name, task).both())
    wanted = by_hand(model, name, task)
    assert apart(found, wanted) < FAMILIES[name].exact
    assert apart(found, predict(model, task, sided(name, task).target)) > 1e-2  # the control: the source matters


@pytest.mark.parametrize(("name", "task"), cover(CELLS))
def test_texts_meet_at_the_prompts_end_in_decoders_and_at_the_start_in_encoders(name: str, task: Task) -> None:
    model = flare(make(name, task), task_type=task, alignment="position")
    found = predict(model, task, sided(name, task).both())
    right, wrong = (
        by_hand(model, name, task, one)
        for one in (("end", "start") if anchor(name, task) == "end" else ("start", "end"))
    )
    assert apart(found, wrong) > 1e-3
    assert apart(found, right) < FAMILIES[name].exact


@pytest.mark.parametrize(("name", "task"), cover(CELLS))
def test_all_linear_layers_learn_and_two_fuse(name: str, task: Task) -> None:
    model = flare(make(name, task), scale=0.2, task_type=task, alignment="proportional", target_modules="all-linear")
    adapted = {path.split(".lora_A")[0] for path, _ in model.named_parameters() if ".lora_A" in path}
    assert len({path.rpartition(".")[2] for path in adapted}) > len(set(FAMILIES[name].projections))
    found = predict(model, task, sided(name, task).both())
    wanted = by_hand(model, name, task)
    assert apart(found, wanted) < 10 * FAMILIES[name].exact


@pytest.mark.parametrize(("name", "task"), cover(CELLS))
def test_a_fresh_adapter_changes_nothing(name: str, task: Task) -> None:
    from peft import get_peft_model

    import crossflare

    given = sided(name, task)
    base = predict(make(name, task), task, given.target)
    model = get_peft_model(make(name, task), crossflare.FlareConfig(task_type=task, r=4)).eval()
    assert all(torch.equal(a, b) for a, b in zip(predict(model, task, given.both()), base, strict=True))
    randomise(model)
    assert apart(predict(model, task, given.both()), base) > 1e-2


@pytest.mark.parametrize(("name", "task", "dtype"), cover(CELLS, [None, torch.float32]))
def test_padding_changes_nothing(name: str, task: Task, dtype: torch.dtype | None) -> None:
    family, model = FAMILIES[name], flare(make(name, task, dtype=dtype), scale=0.3, task_type=task)
    plain = predict(model, task, sided(name, task).both())
    scale = max(1.0, *(float(one.abs().max()) for one in plain))
    exact = family.exact if dtype is None else 1e-5 * scale
    shifts = family.shifts and not (
        (name, task) in TWO_STACKS and task != "SEQ_2_SEQ_LM"
    )  # whose decoder reads padding
    for side in ("left", "right") if shifts else ("right",):
        assert apart(predict(model, task, sided(name, task, source_side=side, extra=5).both()), plain) < exact
    if shifts and (family.kind != "encoder" or task != "SEQ_CLS"):  # encoders classify by the first column
        other = "right" if family.kind == "decoder" else "left"
        assert apart(predict(model, task, sided(name, task, side=other).both()), plain) < exact


@pytest.mark.parametrize(("name", "task"), cover(CELLS))
def test_an_open_mask_over_padding_does_matter(name: str, task: Task) -> None:
    """The control of the test above."""
    sources = [5, 8, 3] if FAMILIES[name].kind == "encoder-decoder" else SOURCES  # whose classifiers refuse such a row
    model, given = flare(make(name, task), task_type=task), sided(name, task, TARGETS, sources, extra=3).both()
    opened = given | {"source_attention_mask": torch.ones_like(given["source_attention_mask"])}
    assert apart(predict(model, task, given), predict(model, task, opened)) > 1e-4


@pytest.mark.parametrize(
    ("name", "task"),
    cover([(name, task) for name, task in CELLS if name != "mdeberta" and not FAMILIES[name].eager_only]),
)
def test_sdpa_and_eager_agree(name: str, task: Task) -> None:
    """In float32: mDeBERTa has no SDPA in transformers, and Gemma 2 needs eager attention (below)."""
    given, found = sided(name, task, [12, 4, 9], [10, 14, 0]).both(), []
    for attention in ("sdpa", "eager"):
        model = flare(make(name, task, attention=attention, dtype=torch.float32), scale=0.3, task_type=task)
        assert model.config._attn_implementation == attention
        found.append(predict(model, task, given))
    scale = max(1.0, *(float(one.abs().max()) for one in found[0]))
    assert apart(*found) < 1e-5 * scale


def test_soft_caps_need_eager_attention() -> None:
    """Why Gemma 2 is tested with eager attention: transformers has no other for it that runs on a CPU."""
    with pytest.raises(ValueError, match="scaled_dot_product_attention"):
        make("gemma-2", "CAUSAL_LM", attention="sdpa")


@pytest.mark.parametrize("name", SLIDING_WINDOWS)
def test_texts_longer_than_the_window(name: str) -> None:
    task: Task = "TOKEN_CLS" if name == "modernbert" else "CAUSAL_LM"
    targets, sources = [19, 12], [14, 21]
    model = flare(make(name, task), task_type=task, alignment="proportional")
    found = predict(model, task, sided(name, task, targets, sources).both())
    wanted = by_hand(model, name, task, targets=targets, sources=sources)
    assert apart(found, wanted) < FAMILIES[name].exact


@pytest.mark.parametrize("window", [4, None])
def test_the_window_holds_where_projections_fuse(window: int | None) -> None:
    """Two blocks of window 4 see 7 tokens: the last of 12 does not depend on the first; without a window it does."""
    model = flare(make("mistral", "CAUSAL_LM", sliding_window=window), task_type="CAUSAL_LM")
    given = texts([12], [12]).both()
    changed = given | {"input_ids": given["input_ids"].clone()}
    changed["input_ids"][0, 0] = (given["input_ids"][0, 0] + 7) % 30 + 4
    difference = (predict(model, "CAUSAL_LM", given)[0] - predict(model, "CAUSAL_LM", changed)[0]).abs().amax(1)
    assert difference[0] > 1e-2
    assert (difference[-1] < 1e-8) == (window is not None)


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "gpt-neox"])
def test_grouped_queries_are_repeated_keys_and_values(name: str) -> None:
    """A model whose key and value heads serve two query heads each is the one where they are written out twice."""
    task: Task = "CAUSAL_LM"
    grouped, whole = (
        flare(make(name, task, **options), task_type=task) for options in ({}, {"num_key_value_heads": 4})
    )
    assert grouped.config.num_key_value_heads == KV_HEADS < grouped.config.num_attention_heads
    weights = dict(grouped.state_dict())
    size, copies = grouped.config.head_dim if hasattr(grouped.config, "head_dim") else 4, 4 // KV_HEADS
    for path, tensor in weights.items():
        if any(part in path for part in ("k_proj.weight", "k_proj.bias", "v_proj.lora_B")) or (
            "v_proj" in path and "lora_A" not in path
        ):
            heads = tensor.unflatten(0, (KV_HEADS, size))
            weights[path] = heads.repeat_interleave(copies, 0).flatten(0, 1)
    whole.load_state_dict(weights)
    given = sided(name, task).both()
    assert apart(predict(whole, task, given), predict(grouped, task, given)) < FAMILIES[name].exact


@pytest.mark.parametrize("name", [name for name in ONE_STACK if FAMILIES[name].pre_norm])
def test_the_source_passes_the_blocks_norm(name: str) -> None:
    """`source_norm` off is another model (the control), and the equation without the norm."""
    task: Task = "SEQ_CLS"
    found = {}
    for norm in (True, False):
        model = flare(make(name, task), task_type=task, alignment="proportional", source_norm=norm)
        found[norm] = predict(model, task, sided(name, task).both())
        wanted = by_hand(model, name, task)
        assert apart(found[norm], wanted) < FAMILIES[name].exact
    assert apart(found[True], found[False]) > 1e-3


CROSSED = [
    *((name, task, "add_relu", "proportional") for name, task in TWO_STACKS),
    ("mt5", "SEQ_2_SEQ_LM", "cross_attention", "none"),
    ("mt5", "SEQ_2_SEQ_LM", "cross_attention_paper", "position"),
    ("mt5", "SEQ_2_SEQ_LM", "mul", "attention"),
    ("bart", "SEQ_CLS", "cross_attention", "none"),
]


@pytest.mark.parametrize(("name", "task", "fusion", "alignment", "lead"), cover(CROSSED, [0, 1]))
def test_the_decoders_attention_to_the_encoder(name: str, task: Task, fusion: str, alignment: str, lead: int) -> None:
    """Plain LoRA unless `fuse_cross_attention` says otherwise; then query and value fuse, each with its own states."""
    found = {}
    for cross in (False, True):
        options = {"fuse_cross_attention": cross, "fusion": fusion, "alignment": alignment, "lead": lead}
        model = flare(make(name, task), scale=0.4, task_type=task, **options)
        found[cross] = predict(model, task, sided(name, task).both())
        assert apart(found[cross], by_hand(model, name, task)) < 10 * FAMILIES[name].exact
    assert apart(found[True], found[False]) > 1e-3


@pytest.mark.parametrize(("name", "task"), cover(TWO_STACKS))
def test_the_norms_of_both_stacks(name: str, task: Task) -> None:
    """In pre-norm families `source_norm` off is another model, and the equation without; in BART it is the same."""
    found = {}
    for norm in (True, False):
        options: Any = {"alignment": "proportional", "source_norm": norm, "fuse_cross_attention": True}
        model = flare(make(name, task), scale=0.4, task_type=task, **options)
        found[norm] = predict(model, task, sided(name, task).both())
        assert apart(found[norm], by_hand(model, name, task)) < 10 * FAMILIES[name].exact
    assert (apart(found[True], found[False]) > 1e-3) == FAMILIES[name].pre_norm


@pytest.mark.parametrize(("name", "task"), cover(TWO_STACKS))
def test_a_batch_where_nobody_has_a_source(name: str, task: Task) -> None:
    model = flare(make(name, task), task_type=task)
    none = sided(name, task, TARGETS, [0, 0, 0])
    assert apart(predict(model, task, none.both()), predict(model, task, none.target)) < FAMILIES[name].exact


def test_every_family_has_its_particulars() -> None:
    """The tiny models have what their family is known for; otherwise the tests above would see nothing of it."""
    assert all(configuration(name).num_key_value_heads == 2 for name in DECODERS if name != "gpt-neox")
    assert all(configuration(name).sliding_window == 4 for name in ("mistral", "gemma-2", "gemma-3"))
    assert "sliding_attention" in configuration("gemma-3").layer_types
    assert configuration("gemma-2").attn_logit_softcapping == 2.0
    assert hasattr(make("qwen-3").model.layers[0].self_attn, "q_norm")
    assert hasattr(make("gemma-3").model.layers[0].self_attn, "q_norm")
