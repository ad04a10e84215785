"""Target rows that read one and the same source: what repeating the source would give, read once."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossflare.errors import UserError
from crossflare.fusion.frame import ModelStates
from crossflare.libraries.transformers import with_checkpointing
from fusion_models import FAMILIES, PAIRS, batch, build, calls, flare, frame_of, logits, pad, rows
from lanes import cover
from writing_models import DECODERS, ENCODER_DECODERS, adapted, prompts

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-10, "check_dtype": False, "equal_nan": True}
READS = [2, 0, 0, 1, 2]
"""Five target rows over three sources, the last of which is no source at all."""
TARGETS, SOURCES = [7, 4, 5, 6, 3], [5, 8, 0]


def repeated(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same call with its sources repeated."""
    which = given["source_rows"]
    return {
        name: tensor[which] if name.startswith("source_") else tensor
        for name, tensor in given.items()
        if name != "source_rows"
    }


def shared(targets: list[int] = TARGETS, sources: list[int] = SOURCES, reads: list[int] = READS) -> dict[str, Tensor]:
    return batch(targets, sources).both() | {"source_rows": torch.tensor(reads)}


def both_ways(make: Any, given: dict[str, Tensor], labels: Tensor) -> list[tuple[Any, dict[str, Tensor]]]:
    """Return output and gradients with shared sources, then with repeated ones."""
    found: list[tuple[Any, dict[str, Tensor]]] = []
    for call in (given, repeated(given)):
        model = make().train()
        output = model(**call, labels=labels)
        output.loss.backward()
        found.append((output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    return found


def assert_alike(found: list[tuple[Any, dict[str, Tensor]]], **exact: Any) -> None:
    (output, gradients), (expected, expected_gradients) = found
    torch.testing.assert_close(output.logits, expected.logits, **EXACT | exact)
    torch.testing.assert_close(output.source_logits, expected.source_logits, **EXACT | exact)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], msg=name, **EXACT | exact)


@pytest.mark.parametrize(("fusion", "alignment"), cover(PAIRS))
def test_every_fusion(fusion: str, alignment: str) -> None:
    labels = torch.tensor([0, 1, 2, 0, 1])
    assert_alike(both_ways(lambda: flare(build("bert"), fusion=fusion, alignment=alignment), shared(), labels))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family: str) -> None:
    labels = torch.tensor([0, 1, 2, 0, 1])
    assert_alike(both_ways(lambda: flare(build(family)), shared(), labels))


@settings(max_examples=20)
@given(st.data())
def test_any_share(data: st.DataObject) -> None:
    sources = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=4))
    reads = data.draw(st.lists(st.integers(0, len(sources) - 1), min_size=len(sources), max_size=6))
    targets = data.draw(st.lists(st.integers(1, 6), min_size=len(reads), max_size=len(reads)))
    given, model = shared(targets, sources, reads), flare(build("bert"))
    torch.testing.assert_close(logits(model, given), logits(model, repeated(given)), **EXACT)


@pytest.mark.parametrize(
    ("family", "fusion"), cover([*DECODERS[:2], *ENCODER_DECODERS], ["add_relu", "cross_attention"])
)
def test_models_that_write(family: str, fusion: str) -> None:
    given = prompts(family, TARGETS, SOURCES) | {"source_rows": torch.tensor(READS)}
    labels = given["input_ids"] if family in DECODERS else pad(rows([3] * len(TARGETS), 5))["input_ids"]
    cross = {"fuse_cross_attention": True} if family in ENCODER_DECODERS else {}
    # T5 and Llama compute their norms in float32.
    assert_alike(both_ways(lambda: adapted(family, fusion=fusion, **cross), given, labels), atol=1e-4, rtol=1e-4)


def test_classifiers_whose_decoder_reads_the_text_itself() -> None:
    from transformers import T5Config, T5ForSequenceClassification

    def make() -> Any:
        torch.manual_seed(0)
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
        special = {"vocab_size": 40, "pad_token_id": 1, "eos_token_id": 3, "decoder_start_token_id": 1, "num_labels": 3}
        config = T5Config(**sizes, **special, dropout_rate=0.0, classifier_dropout=0.0)
        return flare(T5ForSequenceClassification(config).double().eval())

    ends = [[*row, 3] for row in rows([4, 2, 5], 1)], [[*row, 3] for row in rows([3, 4], 2)]
    given = pad(ends[0]) | {f"source_{name}": tensor for name, tensor in pad(ends[1]).items()}
    given["source_rows"] = torch.tensor([1, 0, 1])
    assert_alike(both_ways(make, given, torch.tensor([0, 1, 2])), atol=1e-5, rtol=1e-4)


def test_latents_of_a_translation_encoder() -> None:
    given = shared()
    latents = torch.randn(3, given.pop("source_input_ids").shape[1], 5, dtype=torch.float64)
    given |= {"source_latents": latents}
    model = flare(build("bert"), mt_dim=5)
    torch.testing.assert_close(logits(model, given), logits(model, repeated(given)), **EXACT)


@pytest.mark.parametrize("reentrant", [True, False])
def test_under_activation_checkpointing(reentrant: bool) -> None:
    def make() -> Any:
        return with_checkpointing(flare(build("bert")), reentrant=reentrant)

    assert_alike(both_ways(make, shared(), torch.tensor([0, 1, 2, 0, 1])))


def test_each_source_is_read_once_and_kept_once() -> None:
    """The point of it: one pass over U rows, whose states are not copied out to B."""
    model, seen = flare(build("bert")), []
    embeddings = model.base_model.model.bert.embeddings
    embeddings.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    frame = frame_of(model, shared([3] * 6, [4], [0] * 6))
    assert seen == [1, 6]
    (side,) = frame.sides.values()
    assert isinstance(side.source, ModelStates)
    assert {len(state) for state in side.source.states} == {1}


def test_source_dropout_is_drawn_for_each_target_row() -> None:
    given = shared([6] * 40, [6], [0] * 40)
    given["input_ids"], given["attention_mask"] = given["input_ids"][:1].repeat(40, 1), given["attention_mask"]
    model = flare(build("bert"), source_dropout=0.5).train()
    torch.manual_seed(0)
    found = logits(model, given)
    assert 10 < int((found - found[0]).abs().amax(1).lt(1e-9).sum()) < 30  # some rows as the first, some not


WRONG: list[tuple[Tensor, list[int], str]] = [
    (torch.tensor([0, 1]), [4, 3, 2], r"source_rows has shape \(2,\) of torch.int64, expected one int64 for each of 3"),
    (torch.tensor([0.0, 1.0, 1.0]), [4, 3], r"source_rows has shape \(3,\) of torch.float32, expected one int64"),
    (torch.tensor([0, 2, 1]), [4, 3], "source_rows names row 2 of 2 source rows; expected 0 to 1"),
    (torch.tensor([0, -1, 1]), [4, 3], "source_rows names row -1 of 2 source rows; expected 0 to 1"),
    (torch.tensor([0, 1, 2]), [4, 3, 2, 2], "4 source rows for 3 target rows; give each source once"),
]


@pytest.mark.parametrize(("which", "sources", "message"), WRONG)
def test_wrong_rows(which: Tensor, sources: list[int], message: str) -> None:
    model = flare(build("bert"))
    with pytest.raises(UserError, match=message):
        model(**batch([4, 3, 2], sources).both(), source_rows=which)
    assert calls(model).frame is None


def test_rows_of_no_source_at_all() -> None:
    with pytest.raises(UserError, match="got source_rows and no source: expected source_input_ids"):
        flare(build("bert"))(**batch().target, source_rows=torch.tensor([0, 0, 0]))


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_generate_refuses_them(family: str) -> None:
    given = prompts(family, [4, 3], [5]) | {"source_rows": torch.tensor([0, 0])}
    with pytest.raises(UserError, match="generate reads one source row for each prompt; leave source_rows out"):
        adapted(family).generate(**given, max_new_tokens=2)
