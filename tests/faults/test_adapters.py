"""Adapters from strangers: cut at every byte, every bit flipped, and a corpus that would run code if anything did."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import crossflare
from crossflare.disk.files import open_dir
from crossflare.errors import UserError
from fusion_models import batch, build, logits
from lanes import only
from mutating import CONFIG, WEIGHTS, fuzz_adapter, make_adapter, one_line, reseal

OLD = Path(__file__).with_name("format-1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    return folder, make_adapter(folder)


@pytest.fixture
def folder(saved: tuple[Path, Any], tmp_path: Path) -> Path:
    place = tmp_path / "adapter"
    place.mkdir()
    for path in saved[0].iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


def refused(folder: Path, identity: Any) -> str:
    with pytest.raises(UserError) as caught:
        crossflare.load_adapter(build("bert"), folder, base=identity)
    one_line(caught.value, folder)
    return str(caught.value)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stride", only([1, 97], [97]))
def test_weights_cut_at_every_byte_of_the_header_and_anywhere_behind(
    folder: Path, saved: tuple[Path, Any], stride: int
) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    behind = random.Random(0).sample(range(header, len(whole)), 1000 // stride)
    for length in (*range(0, header, stride), *behind):
        (folder / WEIGHTS).write_bytes(whole[:length])
        reseal(folder)
        assert f"{WEIGHTS}: expected a whole safetensors file, but it is damaged" in refused(folder, saved[1])


def test_one_flipped_bit_anywhere_is_refused(folder: Path) -> None:
    draw = random.Random(0)
    paths = sorted(folder.iterdir())
    for _ in range(300):
        path = draw.choice(paths)
        content = path.read_bytes()
        bad = bytearray(content)
        bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(UserError) as caught:
            open_dir(folder)
        one_line(caught.value, folder)
        path.write_bytes(content)
    open_dir(folder)


@pytest.mark.parametrize("start", only(range(0, 400, 40), [0]))
def test_mutated_folders_load_or_are_refused_and_the_base_stays(
    tmp_path: Path, saved: tuple[Path, Any], start: int
) -> None:
    for seed in range(start, start + 40):
        fuzz_adapter(saved[0], tmp_path / "adapter", build("bert"), saved[1], seed)


def test_an_adapter_of_the_first_format_loads_bit_for_bit() -> None:
    """Files that were written once and are never written again."""
    base = build("bert", dtype=torch.float32)
    base.load_state_dict(load_file(OLD / "base.safetensors"))
    model = crossflare.load_adapter(base, OLD / "adapter")
    there = load_file(OLD / "adapter" / WEIGHTS)
    now = crossflare.fusion.saved.adapter_files.adapter_tensors(model)
    assert now.keys() == there.keys()
    assert all(torch.equal(now[name], there[name]) for name in there)
    expected = torch.tensor(json.loads((OLD / "logits.json").read_text(encoding="utf-8")))
    torch.testing.assert_close(logits(model, batch().both()), expected, rtol=1e-4, atol=1e-4)


def test_the_next_format_is_refused_with_both_numbers(folder: Path, saved: tuple[Path, Any]) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps(config | {"flare_format": 3}), encoding="utf-8")
    reseal(folder)
    assert "adapter format 3 is newer than this crossflare's 2" in refused(folder, saved[1])


# Nothing runs --------------------------------------------------------------------------------------------------------

HARMLESS = (
    "beside", "code in ", "card model", "card task", "card auto_map", "card trust_remote_code",
    *(f"configuration {key}" for key in
      ("auto_mapping", "runtime_config", "megatron_core", "init_lora_weights", "base_model_name_or_path")),
)  # fmt: skip
"""What may load: files and words that nothing reads."""


@pytest.mark.timeout(900)
def test_a_hostile_corpus_runs_nothing(tmp_path: Path, saved: tuple[Path, Any]) -> None:
    (tmp_path / "corpus").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("hostile.py")),
         str(tmp_path / "corpus"), str(saved[0])],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["outcomes"]) >= 40
    assert found["events"] == []
    assert not found["effect"]
    assert found["modules"] == []
    loaded = [name for name, outcome in found["outcomes"].items() if outcome == "loaded"]
    loaded = [name for name in loaded if not any(word in name for word in HARMLESS)]
    assert loaded == []


def test_control_the_same_pickle_runs_where_pickles_are_opened(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(tmp_path / 'side effect')!r}, 'w').write('ran')",)

    pickle.loads(pickle.dumps(Evil()))
    assert (tmp_path / "side effect").exists()
