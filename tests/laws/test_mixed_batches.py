"""A batch that mixes adapters: each row gets what its adapter alone would give it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

import crossflare
from crossflare.errors import UserError
from crossflare.fusion.reading import SourceReader
from crossflare.fusion.saved.adapter_files import save_adapter
from fusion_models import FAMILIES, PAIRS, batch, build, calls, flare, randomise
from lanes import cover
from writing_models import DECODERS, ENCODER_DECODERS, adapted, prompts, write

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-10, "check_dtype": False, "equal_nan": True}
TARGETS, SOURCES = [7, 4, 5, 6, 3], [5, 8, 3, 0, 4]
ROWS = ["second", "default", "__base__", "second", "third"]
MIXED = tuple(family for family in FAMILIES if family != "deberta")  # see test_relative_positions


@torch.no_grad()
def stir(model: PeftModel, adapter: str, seed: int) -> None:
    """Give an adapter and its heads random weights."""
    randomise(model, 0.5, seed, adapter)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if f"modules_to_save.{adapter}." in name:
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))


def three(base: Any, **options: Any) -> PeftModel:
    """Return a model with three adapters that fuse in different ways."""
    model = flare(base, **options)
    ways = {"second": {"r": 2, "alignment": "proportional"}, "third": {"r": 3, "fusion": "cross_attention"}}
    for adapter, way in ways.items():
        model.add_adapter(adapter, crossflare.FlareConfig(**{"task_type": "SEQ_CLS", "lora_alpha": 8} | way))
    for seed, adapter in enumerate(model.peft_config):
        stir(model, adapter, seed)
    return model.to(next(base.parameters()).dtype).eval()


def alone(model: PeftModel, inputs: dict[str, Tensor], adapter: str) -> Any:
    """Return what one adapter gives the whole batch."""
    if adapter == "__base__":
        with model.disable_adapter():
            return model(**inputs)
    active = model.active_adapter
    model.set_adapter(adapter)
    try:
        return model(**inputs)
    finally:
        model.set_adapter(active)


def assert_rows(model: PeftModel, inputs: dict[str, Tensor], names: list[str]) -> None:
    with torch.no_grad():
        mixed = model(**inputs, adapter_names=names)
        for row, name in enumerate(names):
            one = alone(model, inputs, name)
            torch.testing.assert_close(mixed.logits[row], one.logits[row], **EXACT)
            if name != "__base__":
                torch.testing.assert_close(mixed.source_logits[row], one.source_logits[row], **EXACT)


@pytest.mark.parametrize("family", cover(MIXED))
def test_every_row_by_its_own_adapter(family: str) -> None:
    model = three(build(family))
    assert_rows(model, batch(TARGETS, SOURCES).both(), ROWS)
    assert calls(model).frame is None
    assert calls(model).mixed.get() is None


@pytest.mark.parametrize(("fusion", "alignment"), cover(PAIRS))
def test_every_fusion(fusion: str, alignment: str) -> None:
    model = three(build("xlm-r"), fusion=fusion, alignment=alignment)
    assert_rows(model, batch(TARGETS, SOURCES).both(), ["default", "second", "default", "default", "third"])


@given(st.lists(st.tuples(st.sampled_from(sorted({*ROWS})), st.integers(0, 3)), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_rows_that_share_sources(rows: list[tuple[str, int]]) -> None:
    reads = sorted({source for _, source in rows})
    inputs = batch([5] * len(rows), [(5, 0, 7, 3)[source] for source in reads]).both()
    inputs["source_rows"] = torch.tensor([reads.index(source) for _, source in rows])
    assert_rows(SHARED, inputs, [name for name, _ in rows])


SHARED = three(build("bert"))


def test_latents() -> None:
    model = flare(build("bert"), mt_dim=5)
    model.add_adapter("second", crossflare.FlareConfig(task_type="SEQ_CLS", r=2, mt_dim=5))
    stir(model, "second", 5)
    inputs = batch(TARGETS, SOURCES).target | {"source_latents": torch.randn(5, 4, 5, dtype=torch.float64)}
    with torch.no_grad():
        mixed = model.double()(**inputs, adapter_names=["second", "default", "second", "default", "default"])
        for row, name in enumerate(["second", "default", "second", "default", "default"]):
            torch.testing.assert_close(mixed.logits[row], alone(model, inputs, name).logits[row], **EXACT)


def test_the_source_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = three(build("bert")), list[int]()
    own = SourceReader.read

    def read(self: SourceReader, inputs: dict[str, Any]) -> Any:
        passes.append(len(inputs["input_ids"]))
        return own(self, inputs)

    monkeypatch.setattr(SourceReader, "read", read)
    with torch.no_grad():
        model(**batch(TARGETS, SOURCES).both(), adapter_names=ROWS)
    assert passes == [len(ROWS)]


def test_without_a_source() -> None:
    model, target = three(build("xlm-r")), batch(TARGETS, SOURCES).target
    with torch.no_grad():
        mixed = model(**target, adapter_names=ROWS)
        for row, name in enumerate(ROWS):
            torch.testing.assert_close(mixed.logits[row], alone(model, target, name).logits[row], **EXACT)


@pytest.mark.parametrize("family", cover((*DECODERS, *ENCODER_DECODERS)))
@pytest.mark.parametrize("beams", [1, 2])
def test_writing(family: str, beams: int) -> None:
    model = adapted(family)
    model.add_adapter("second", crossflare.FlareConfig(task_type=model.peft_config["default"].task_type, r=2))
    randomise(model, 0.3, 11, "second")
    model.to(next(model.get_base_model().parameters()).dtype).eval()
    inputs = prompts(family, [7, 4, 6], [5, 8, 3])
    names = ["second", "default", "second"]
    mixed = write(model, inputs, num_beams=beams, adapter_names=names)
    for row, name in enumerate(names):
        model.set_adapter(name)
        assert torch.equal(mixed[row], write(model, inputs, num_beams=beams)[row])


def test_two_threads_with_other_names() -> None:
    model, inputs, barrier = three(build("xlm-r")), batch(TARGETS, SOURCES).both(), Barrier(3)
    ways = [ROWS, ROWS[::-1], None]

    def call(names: list[str] | None) -> Tensor:
        barrier.wait()
        return call_alone(model, inputs, names)

    expected = [call_alone(model, inputs, names) for names in ways]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(5):
            for found, wanted in zip(pool.map(call, ways), expected, strict=True):
                torch.testing.assert_close(found, wanted, **EXACT)


def call_alone(model: PeftModel, inputs: dict[str, Tensor], names: list[str] | None) -> Tensor:
    with torch.no_grad():
        return model(**inputs, **{} if names is None else {"adapter_names": names}).logits


def saved(place: Path, name: str, *, labels: int = 3, seed: int = 0, lora: bool = False) -> Path:
    """Save an adapter of the same base, with a head of its own."""
    base = build("xlm-r", num_labels=labels)
    backbone = build("xlm-r").roberta.state_dict()
    base.roberta.load_state_dict(backbone)
    identity = crossflare.identify(base)
    shared = {"task_type": "SEQ_CLS", "r": 2 + seed, "target_modules": ["query", "value"]}
    model = get_peft_model(
        base, LoraConfig(**shared, modules_to_save=["classifier"]) if lora else crossflare.FlareConfig(**shared)
    )
    stir(model, "default", seed)
    save_adapter(model, place / name, base=identity)
    return place / name


@pytest.mark.parametrize("fusing", [True, False])
def test_saved_adapters_with_heads_of_their_own(tmp_path: Path, fusing: bool) -> None:
    sizes = {"three": 3, "two": 2, "five": 5, "plain": 4}
    folders = {
        name: saved(tmp_path, name, labels=size, seed=seed, lora=name == "plain" or not fusing)
        for seed, (name, size) in enumerate(sizes.items())
    }
    loaded = crossflare.load_adapters(build("xlm-r"), folders).double()
    inputs, names = batch(TARGETS, SOURCES).both(), ["two", "five", "plain", "three", "two"]
    inputs = inputs if fusing else batch(TARGETS, SOURCES).target
    with torch.no_grad():
        mixed = loaded(**inputs, adapter_names=names).logits
    assert mixed.shape == (5, 5)
    for row, name in enumerate(names):
        base = build("xlm-r", num_labels=sizes[name])
        base.roberta.load_state_dict(build("xlm-r").roberta.state_dict())
        one = crossflare.load_adapter(base, folders[name]).double()
        given = {key: value for key, value in inputs.items() if name != "plain" or not key.startswith("source")}
        with torch.no_grad():
            torch.testing.assert_close(mixed[row, : sizes[name]], one(**given).logits[row], **EXACT)
        assert bool((mixed[row, sizes[name] :] == float("-inf")).all())


def test_adapters_of_other_bases_are_not_put_together(tmp_path: Path) -> None:
    here = saved(tmp_path, "here")
    other = build("xlm-r", seed=5)
    identity = crossflare.identify(other)
    save_adapter(flare(other, target_modules=["query", "value"]), tmp_path / "there", base=identity)
    model = build("xlm-r")
    before = {name: type(module) for name, module in model.named_modules()}
    with pytest.raises(UserError, match="load each on its own"):
        crossflare.load_adapters(model, {"one": here, "two": tmp_path / "there"})
    assert {name: type(module) for name, module in model.named_modules()} == before


@pytest.mark.parametrize("name", ["", "a.b", "lo", "__base__"])
def test_names_that_peft_would_mistake(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be an adapter's name"):
        crossflare.load_adapters(build("xlm-r"), {name: saved(tmp_path, "one")})


REFUSED: list[tuple[Any, str]] = [
    (["default"], "got 1 names for 5 rows; give one for each row"),
    (["default"] * 10, "got 10 names for 5 rows"),
    (["default", "secnd"] + ["default"] * 3, "no adapter 'secnd'; expected default, second, third, or __base__"),
    ("default", "expected one name for each row"),
    ([], "expected one name for each row"),
    ([None] * 5, "expected one name for each row"),
]


@pytest.mark.parametrize(("names", "message"), REFUSED)
def test_wrong_names(names: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        SHARED(**batch(TARGETS, SOURCES).both(), adapter_names=names)
    assert "\n" not in str(caught.value)
    assert calls(SHARED).frame is None
    assert calls(SHARED).mixed.get() is None


def test_not_in_training() -> None:
    model = three(build("bert")).train()
    with pytest.raises(UserError, match=r"call model.eval\(\)"):
        model(**batch(TARGETS, SOURCES).both(), adapter_names=ROWS)


def test_relative_positions() -> None:
    """DeBERTa's projections read positions, too, which belong to no row: a batch of one adapter's rows each."""
    with pytest.raises(UserError, match="5 names, but a layer has 1 rows"):
        three(build("deberta"))(**batch(TARGETS, SOURCES).both(), adapter_names=ROWS)


def test_unloading_removes_the_hooks() -> None:
    base = build("bert")
    before = {name: len(module._forward_pre_hooks) for name, module in base.named_modules()}
    model = three(base)
    with torch.no_grad():
        model(**batch(TARGETS, SOURCES).both(), adapter_names=ROWS)
    plain = model.unload()
    assert {name: len(module._forward_pre_hooks) for name, module in plain.named_modules()} == before
