"""`crossflare doctor MODEL` tells of every family what an adapter would then do, without any weights."""

import json
from pathlib import Path
from typing import Any

import pytest
from peft import get_peft_model
from peft.tuners.lora.layer import LoraLayer

import crossflare
from crossflare.cli.main import main
from crossflare.cli.model_examination import _files, examine_model
from crossflare.errors import UserError
from family_models import CELLS, FAMILIES, HIDDEN, TWO_STACKS, Task, configuration, make
from lanes import cover


@pytest.mark.parametrize("name", FAMILIES)
def test_it_tells_what_would_fuse(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    configuration(name).save_pretrained(tmp_path)
    found = examine_model(str(tmp_path))
    assert found["hidden_size"] == HIDDEN
    stacks = found["stacks"]
    assert [stack["blocks"] for stack in stacks] == [2] * (2 if family.kind == "encoder-decoder" else 1)
    for stack in stacks:
        assert {path.rpartition(".")[2] for path in stack["projections"]} == set(family.projections)
        assert stack["one_matrix"] == (family.key_rows is not None)
        assert stack["norm"].startswith("pre-norm" if family.pre_norm else "post-norm")
    kinds = [stack["attention"].split(",")[0] for stack in stacks]
    assert (
        kinds
        == {"decoder": ["causal"], "encoder": ["both ways"], "encoder-decoder": ["both ways", "causal"]}[family.kind]
    )
    assert found["padding"].startswith("left" if family.kind == "decoder" else "right")
    assert set(family.heads) == set(found["heads"])


@pytest.mark.parametrize(("name", "task"), cover(CELLS))
def test_what_it_tells_is_what_an_adapter_does(name: str, task: Task, tmp_path: Path) -> None:
    configuration(name).save_pretrained(tmp_path)
    found = examine_model(str(tmp_path))
    model = get_peft_model(make(name, task), crossflare.FlareConfig(task_type=task))
    fusing = [module for module in model.modules() if isinstance(module, LoraLayer) and fuses(module)]
    one_stack = FAMILIES[name].kind == "encoder-decoder" and (name, task) not in TWO_STACKS
    assert len(fusing) == found["fusing"] // (2 if one_stack else 1)
    kept = {path.split(".")[2] for path, _ in model.named_parameters() if "modules_to_save" in path}
    if task not in ("CAUSAL_LM", "SEQ_2_SEQ_LM"):
        assert kept == set(found["heads"][task])
        assert kept


def fuses(layer: LoraLayer) -> bool:
    variant: Any = layer.lora_variant["default"]
    return variant.phi is not None


def test_particulars(tmp_path: Path) -> None:
    configuration("gemma-2").save_pretrained(tmp_path)
    found = examine_model(str(tmp_path))
    assert found["stacks"][0]["attention"] == (
        "causal, 4 query heads for 2 keys and values, window 4 in 1 blocks, soft caps: eager"
    )
    assert (found["attention_heads"], found["key_value_heads"], found["tied_embeddings"]) == (4, 2, True)


def test_one_line_per_stack_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    configuration("mt5").save_pretrained(tmp_path)
    assert main(["doctor", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert sum("SelfAttention.q" in line for line in shown.splitlines()) == 2
    assert "✓ 8 projections would fuse in 4 blocks" in shown
    assert main(["doctor", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fusing"] == 8


def test_models_without_attention(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import MambaConfig

    MambaConfig(hidden_size=16, num_hidden_layers=2, vocab_size=40, state_size=4).save_pretrained(tmp_path)
    assert main(["doctor", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "the query and value projections are not known by name" in " ".join(said.split())
    assert "in_proj" in said  # the names that were seen
    with pytest.raises(UserError, match="expected a folder"):
        examine_model(str(tmp_path / "nothing"))


def test_weights_that_are_never_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration("bert").save_pretrained(tmp_path)
    assert main(["doctor", str(tmp_path)]) == 0  # a configuration alone says what would fuse
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    capsys.readouterr()
    assert main(["doctor", str(tmp_path)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("✗ ")
    assert "has only pickled weights (pytorch_model.bin)" in last
    assert "only safetensors are read; `crossflare fetch MODEL` converts them" in last
    assert main(["doctor", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["weights"].startswith("has only pickled weights")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert main(["doctor", str(tmp_path)]) == 0


def test_weights_of_models_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: ["config.json", "a.bin", "onnx/b.bin"])
    assert sorted(_files("some/model")) == ["a.bin", "config.json"]
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: 1 / 0)  # no network
    assert _files("some/model") == []
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    cached = str(tmp_path / "config.json")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: cached)
    assert _files("some/model") == ["pytorch_model.bin"]
