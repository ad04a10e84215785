"""What plain peft and plain transformers read is what crossflare reads; what cannot be so is one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import crossflare
from crossflare.disk.storage import StorageError
from crossflare.errors import UserError
from crossflare.experiment.running.run import run
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base
from tiny_adapters import LABELS, make_chained, with_card
from tiny_experiment import Lab

SLOW = pytest.mark.slow
IDS = torch.tensor([[2, 9, 8, 7, 3], [2, 30, 3, 0, 0], [2, 3, 0, 0, 0]])
GIVEN = {"input_ids": IDS, "attention_mask": (IDS != 0).long()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chained(tmp_path_factory.mktemp("models"))


@torch.no_grad()
def said(model: Any) -> Tensor:
    return model.eval()(**GIVEN).logits


def ours(place: Path, name: str) -> Tensor:
    return said(crossflare.open_adapter(place / name, device="cpu").model)


def plain(folder: Path, **options: Any) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder, **options)


@pytest.mark.parametrize(
    ("name", "rank"),
    [pytest.param("stage1", 2, marks=SLOW), pytest.param("through", 6, marks=SLOW), ("lora", 8), ("add", 6)],
)
def test_plain_peft_says_on_the_base_itself_what_the_adapter_says(
    place: Path, tmp_path: Path, name: str, rank: int
) -> None:
    """Stage 1 and the related language are inside: ranks add up, whatever each one's scale and layers."""
    made = crossflare.export_adapter(place / name, tmp_path / "out", to="lora")
    lora = PeftModel.from_pretrained(plain(place / "base", num_labels=len(LABELS)), str(tmp_path / "out"))
    assert made.card["r"] == lora.peft_config["default"].r == rank
    assert lora.peft_config["default"].peft_type.value == "LORA"
    torch.testing.assert_close(said(lora), ours(place, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "to", "like"),
    [
        ("lora", "model", "lora"),
        ("flare", "base", "stage1"),
        pytest.param("through", "model", "through", marks=SLOW),
        pytest.param("lora", "base", "through", marks=SLOW),
        pytest.param("stage1", "base", "stage1", marks=SLOW),
    ],
)
def test_plain_transformers_says_what_the_adapter_says(
    place: Path, tmp_path: Path, name: str, to: str, like: str
) -> None:
    made = crossflare.export_adapter(place / name, tmp_path / "out", to=to)
    model = plain(tmp_path / "out")
    torch.testing.assert_close(said(model), ours(place, like), rtol=1e-5, atol=1e-5)
    assert list(model.config.id2label.values()) == LABELS == made.card["labels"]
    tokenizers = [AutoTokenizer.from_pretrained(each) for each in (tmp_path / "out", place / "base")]
    assert len({tuple(each("w1 w2")["input_ids"]) for each in tokenizers}) == 1
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == made.card


@pytest.mark.slow
@pytest.mark.parametrize(("name", "to"), [("add", "lora"), ("lora", "lora"), ("flare", "base"), ("lora", "model")])
def test_no_crossflare_is_needed(place: Path, tmp_path: Path, name: str, to: str) -> None:
    crossflare.export_adapter(place / name, tmp_path / "out", to=to)
    base = place / "base" if to == "lora" else tmp_path / "out"
    code = f"""
import sys
sys.modules["crossflare"] = None
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained({str(base)!r}, num_labels=3)
if {to == "lora"}:
    model = PeftModel.from_pretrained(model, {str(tmp_path / "out")!r})
ids = torch.tensor({IDS.tolist()})
with torch.no_grad():
    print(model.eval()(input_ids=ids, attention_mask=(ids != 0).long()).logits.tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(found, ours(place, "stage1" if to == "base" else name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "to", "said"), [
    ("flare", "lora", r"add_relu without a source is relu\(T\), which no LoRA computes; only add, mul"),
    ("flare", "model", "a FLARE adapter cannot be merged, since its result depends on the source"),
    ("lora", "gguf", r"form 'gguf'"),
])  # fmt: skip
def test_what_no_form_computes_is_refused(place: Path, tmp_path: Path, name: str, to: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        crossflare.export_adapter(place / name, tmp_path / "out", to=to)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_a_stage_1_the_base_is_the_base(place: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    base = plain(place / "base", num_labels=len(LABELS))
    identity = crossflare.identify(base)
    model = get_peft_model(base, LoraConfig(task_type="SEQ_CLS"))
    card = json.loads((place / "lora" / "crossflare.json").read_text())
    crossflare.save_adapter(model, alone, base=identity, card=card)
    with pytest.raises(UserError, match=r"it has no stage 1, so its base is .*base as it is; use that"):
        crossflare.export_adapter(alone, tmp_path / "out", to="base")


@pytest.mark.parametrize("to", ["lora", "base", "model", "onnx"])
def test_a_quantised_base_is_refused_before_it_is_loaded(
    place: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"name": str(place / "base"), "quantise": "nf4"}
    adapter = with_card(place / "stage1", tmp_path / "coarse", model=model)
    monkeypatch.setattr("crossflare.export.graph.NEEDED", ())
    with pytest.raises(UserError, match="its base is in nf4"):
        crossflare.export_adapter(adapter, tmp_path / "out", to=to)


def test_weights_that_the_base_lacks_are_seen(place: Path, tmp_path: Path) -> None:
    """They are random, the same for crossflare by its seed: plain transformers would draw others."""
    shutil.copytree(place / "base", tmp_path / "base")
    weights = load_file(tmp_path / "base" / "model.safetensors")
    kept = {name: each for name, each in weights.items() if "pooler" not in name}
    save_file(kept, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="has no weights for"):
        base = load_base(str(tmp_path / "base"), TextTask("opinions", 1, tuple(LABELS)), seed=0)
    model = {"name": str(tmp_path / "base"), "revision": None}
    adapter = with_card(place / "stage1", tmp_path / "other", base=base.identity.to_dict(), model=model)
    with (
        pytest.warns(UserWarning, match="has no weights for"),
        pytest.raises(UserError, match=r"the logits differ by .*the base may lack weights"),
    ):
        crossflare.export_adapter(adapter, tmp_path / "out", to="lora")
    assert not (tmp_path / "out").exists()


def test_another_place_of_the_base_is_taken(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "base", tmp_path / "moved")
    gone = with_card(place / "stage1", tmp_path / "gone", model={"name": str(tmp_path / "nowhere"), "revision": None})
    crossflare.export_adapter(gone, tmp_path / "out", to="lora", base=str(tmp_path / "moved"))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "moved")


@pytest.mark.parametrize("there", ["adapter", "file", "folder"])
def test_what_is_there_is_kept(place: Path, tmp_path: Path, there: str) -> None:
    out = {"adapter": place / "lora", "file": tmp_path / "file", "folder": tmp_path}[there]
    (tmp_path / "file").write_text("mine")
    before = sorted(place.rglob("*"))
    with pytest.raises(UserError, match="expected a new or an empty folder"):
        crossflare.export_adapter(place / "lora", out, to="model")
    assert sorted(place.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_seen_first(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("crossflare.disk.storage.shutil.disk_usage", lambda _: full)
    with pytest.raises(StorageError, match=r"the model takes \d+ MB, 0 MB are free"):
        crossflare.export_adapter(place / "lora", tmp_path / "deep" / "out", to="model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_method_of_a_run_has_its_form_or_a_line(tmp_path: Path) -> None:
    methods: dict[str, Any] = {"lora": None, "full": None, "probe": None, "xmixup": {"train_source": "machine"}}
    lab = Lab(tmp_path, languages=("sw",), seeds=(0,))
    folder = run(lab.spec({"methods": methods, "stage1.epochs": 1, "stage2.epochs": 1}), tmp_path / "runs", workers=1)
    refused: dict[tuple[str, str], str] = {}
    for method in methods:
        for to in ("lora", "model", "base"):
            adapter = folder / "adapters" / f"{method}-sw-seed0"
            try:
                made = crossflare.export_adapter(adapter, tmp_path / f"{method}-{to}", to=to)
                assert made.card["logits_differ_by"] < 1e-5
            except UserError as error:
                refused[method, to] = str(error)
    wanted = {("full", "lora"), ("full", "base"), ("xmixup", "lora"), ("xmixup", "model")}
    assert refused.keys() == wanted | {("probe", to) for to in ("lora", "model", "base")}
    assert [line for line in refused.values() if "\n" in line] == []
