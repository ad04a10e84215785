"""How the source is read: the base model, in eval mode, without gradients, and what it says is kept."""

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from crossflare.fusion.frame import ModelStates
from crossflare.fusion.variant import FlareVariant
from fusion_models import BLOCKS, FAMILIES, RELATIVE_POSITIONS, batch, build, flare, frame_of, logits, pad, rows


def states_of(model: PeftModel, inputs: dict[str, Tensor]) -> list[Tensor]:
    source = next(iter(frame_of(model, inputs).sides.values())).source
    assert isinstance(source, ModelStates)
    return source.states


@pytest.mark.parametrize("family", FAMILIES)
def test_source_logits_are_the_base_models_own(family: str) -> None:
    both = batch([7, 4, 5], [5, 8, 0])
    model = flare(build(family))
    with torch.no_grad():  # a trained head: the source must be read with the original one
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(1)
        found = model(**both.both()).source_logits
    expected = logits(build(family), {name: tensor[:2] for name, tensor in both.source.items()})
    torch.testing.assert_close(found[:2], expected, rtol=0, atol=1e-12)
    assert found[2].isnan().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_training_reads_the_source_in_eval_mode_and_draws_no_random_numbers(family: str) -> None:
    both, model = batch(), flare(build(family, dropout=0.5))
    calm = model(**both.both()).source_logits
    model.train()
    torch.manual_seed(7)
    first = model(**both.both())
    assert torch.equal(first.source_logits, calm)
    after = torch.rand(1)
    torch.manual_seed(7)
    second = model(**both.target)
    assert torch.equal(torch.rand(1), after)
    assert (first.logits != second.logits).any()
    assert (model(**both.target).logits != second.logits).any()  # dropout is on


@pytest.mark.parametrize("family", ["bert", "xlm-r", "distilbert"])
def test_states_are_those_that_transformers_gives(family: str) -> None:
    both = batch()
    states = states_of(flare(build(family)), both.both())
    with torch.no_grad():
        expected = build(family)(**both.source, output_hidden_states=True).hidden_states
    assert len(states) == BLOCKS + 1
    for mine, theirs in zip(states, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def modernbert_by_hand(model: PeftModel, inputs: dict[str, Tensor], source: dict[str, Tensor], norm: bool) -> Tensor:
    """Return what the equation gives: hooks on the plain projections of another copy of the base."""
    base, config = build("modernbert"), model.peft_config["default"]
    base.classifier.load_state_dict(model.base_model.model.classifier.modules_to_save["default"].state_dict())
    before: list[Tensor] = []
    handles = [base.model.layers[0].register_forward_pre_hook(lambda module, args: before.append(args[0]))]
    handles += [
        layer.register_forward_hook(lambda module, args, out: before.append(out)) for layer in base.model.layers
    ]
    logits(base, source)
    for handle in handles:
        handle.remove()
    states = [state[0] if isinstance(state, tuple) else state for state in before]
    for i, layer in enumerate(base.model.layers):
        own = model.base_model.model.model.layers[i].attn.Wqkv
        v = states[i + config.lead]
        v = layer.attn_norm(v) if norm else v

        def term(module: object, args: tuple[Tensor], out: Tensor, own=own, v=v) -> Tensor:
            plain = args[0] @ own.lora_A["default"].weight.T
            low = torch.relu(v @ own.lora_A["default"].weight.T) + torch.relu(plain)
            query, key, value = own.lora_B["default"].weight.chunk(3)
            up = torch.cat([low @ query.T, plain @ key.T, low @ value.T], -1)  # the key does not fuse
            return out + config.lora_alpha / config.r * up

        layer.attn.Wqkv.register_forward_hook(term)
    return logits(base, inputs)


@pytest.mark.parametrize("lead", [0, 1])
def test_pre_norm_models_pass_the_source_through_the_blocks_norm(lead: int) -> None:
    inputs, source = pad(rows([6, 6], 1)), pad(rows([6, 6], 2))
    found = {}
    for norm in (True, False):
        model = flare(build("modernbert"), source_norm=norm, lead=lead)
        found[norm] = logits(model, inputs | {f"source_{name}": tensor for name, tensor in source.items()})
        with torch.no_grad():
            torch.testing.assert_close(found[norm], modernbert_by_hand(model, inputs, source, norm), rtol=0, atol=1e-10)
    assert (found[True] - found[False]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["bert", "xlm-r", "distilbert", "deberta"])
def test_post_norm_models_have_no_such_norm(family: str) -> None:
    both = batch()
    one, other = (logits(flare(build(family), source_norm=norm), both.both()) for norm in (True, False))
    assert torch.equal(one, other)


def test_source_dropout_drops_whole_rows_in_training_alone() -> None:
    both = batch([6] * 40, [6] * 40)
    plain, dropping = flare(build("xlm-r")), flare(build("xlm-r"), source_dropout=0.5)
    fused, alone = logits(plain, both.both()), logits(plain, both.target)
    assert torch.equal(logits(dropping, both.both()), fused)
    dropping.train()
    torch.manual_seed(0)
    seen = set()
    for row, result in enumerate(logits(dropping, both.both())):
        kinds = [torch.allclose(result, one[row], rtol=0, atol=1e-12) for one in (fused, alone)]
        assert sum(kinds) == 1
        seen.add(kinds.index(True))
    assert seen == {0, 1}
    again = logits(dropping, both.both())
    assert not torch.equal(again, logits(dropping, both.both()))  # drawn anew each time
    with torch.no_grad():  # and the base model's word on the source is kept all the same
        assert dropping(**both.both()).source_logits.isfinite().all()


def test_without_source_the_output_has_no_source_logits() -> None:
    model = flare(build("bert"))
    assert not hasattr(model(**batch().target), "source_logits")
    with model.disable_adapter():
        assert not hasattr(model(**batch().both()), "source_logits")


def test_sources_as_embeddings() -> None:
    both, model = batch(), flare(build("bert"))
    words = model.base_model.model.bert.embeddings.word_embeddings
    given = both.target | {
        "source_inputs_embeds": words(both.source["input_ids"]).detach(),
        "source_attention_mask": both.source["attention_mask"],
    }
    torch.testing.assert_close(logits(model, given), logits(model, both.both()), rtol=0, atol=1e-12)


def test_positional_arguments_and_no_masks() -> None:
    targets, sources = pad(rows([5, 5], 1)), pad(rows([4, 4], 2))
    model = flare(build("bert"))
    expected = logits(model, targets | {f"source_{name}": tensor for name, tensor in sources.items()})
    with torch.no_grad():
        positional = model(targets["input_ids"], targets["attention_mask"], source_input_ids=sources["input_ids"])
        bare = model(input_ids=targets["input_ids"], source_input_ids=sources["input_ids"])
    torch.testing.assert_close(positional.logits, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(bare.logits, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows_", [1, 2])
def test_deberta_of_the_length_of_its_table_of_relative_positions(rows_: int) -> None:
    """A batch of one as long as the table looks like the table: which call is which must not be guessed by shape."""
    targets, sources = rows([RELATIVE_POSITIONS] * rows_, 1), rows([RELATIVE_POSITIONS] * rows_, 2)
    model = flare(build("deberta"))
    given = pad(targets) | {f"source_{name}": tensor for name, tensor in pad(sources).items()}
    exact = logits(model, given)
    longer = pad(targets, extra=3) | {f"source_{name}": tensor for name, tensor in pad(sources).items()}
    torch.testing.assert_close(exact, logits(model, longer), rtol=0, atol=1e-12)  # no longer ambiguous


def test_deberta_by_shape_alone_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the note of which call is which, the table of relative positions takes source states."""
    both = batch([RELATIVE_POSITIONS], [RELATIVE_POSITIONS]).both()
    right = logits(flare(build("deberta")), both)
    monkeypatch.setattr(FlareVariant, "note_input", lambda *args: None)
    assert (logits(flare(build("deberta")), both) - right).abs().max() > 1e-4
