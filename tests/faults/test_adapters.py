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
from crossflare.errors import UserError
from crossflare.files import open_dir
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
    now = crossflare.fusion.adapter_files.adapter_tensors(model)
    assert now.keys() == there.keys()
    assert all(torch.equal(now[name], there[name]) for name in there)
    expected = torch.tensor(json.loads((OLD / "logits.json").read_text(encoding="utf-8")))
    torch.testing.assert_close(logits(model, batch().both()), expected, rtol=1e-4, atol=1e-4)


def test_the_next_format_is_refused_with_both_numbers(folder: Path, saved: tuple[Path, Any]) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps(config | {"flare_format": 2}), encoding="utf-8")
    reseal(folder)
    assert "adapter format 2 is newer than this crossflare's 1" in refused(folder, saved[1])


# Nothing runs --------------------------------------------------------------------------------------------------------

PROGRAM = '''
"""Load hostile folders while an audit hook watches: `python - TESTS CORPUS SOUND`."""
import io, json, os, pickle, shutil, sys, zipfile
from pathlib import Path

sys.path.insert(0, sys.argv[1])
corpus, sound = Path(sys.argv[2]), Path(sys.argv[3])
side_effect = corpus / "side effect"
import torch
import crossflare
from crossflare.errors import UserError
from fusion_models import build
from mutating import CARD, CONFIG, WEIGHTS, reseal

identity = crossflare.identify(build("bert"), "tiny")
crossflare.load_adapter(build("bert"), sound, base=identity)  # imports what a load needs

class Evil:
    def __reduce__(self):
        return exec, (f"open({str(side_effect)!r}, 'w').write('ran')",)

def zipped():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Evil()))
        file.writestr("../../outside", b"x")
    return content.getvalue()

SOURCE = f"open({str(side_effect)!r}, 'w').write('ran')\\n".encode()
config = lambda **values: lambda place: edit(place / CONFIG, values)
card = lambda **values: lambda place: edit(place / CARD, values)

def edit(path, values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))

def beside(name, content):
    return lambda place: (place / name).write_bytes(content)

def instead(name, content):
    def change(place):
        (place / WEIGHTS).unlink()
        (place / name).write_bytes(content)
    return change

def listed(name):
    def change(place):
        reseal(place)
        manifest = json.loads((place / "manifest.json").read_text())
        manifest["sha256"][name] = "0" * 64
        (place / "manifest.json").write_text(json.dumps(manifest))
        return True
    return change

folders = {}
for name in ("adapter_model.bin", "adapter_model.pt", "pytorch_model.bin", "model.pkl", "last.ckpt"):
    folders[f"{name} alone"] = instead(name, pickle.dumps(Evil()))
    folders[f"{name} beside"] = beside(name, pickle.dumps(Evil()))
    folders[f"{name} as a zip"] = instead(name, zipped())
folders["a pickle under the name of safetensors"] = beside(WEIGHTS, pickle.dumps(Evil()))
folders["a zip under the name of safetensors"] = beside(WEIGHTS, zipped())
folders["a zip behind the safetensors"] = lambda place: (place / WEIGHTS).write_bytes((place / WEIGHTS).read_bytes() + zipped())
for name in ("__init__.py", "modeling_evil.py", "setup.py", "conftest.py", "torch.py", "configuration.py", "sitecustomize.py"):
    folders[f"code in {name}"] = beside(name, SOURCE)
for key, value in {
    "auto_map": {"AutoModel": "modeling_evil.Evil"}, "auto_mapping": {"parent_library": "modeling_evil", "base_model_class": "Evil"},
    "megatron_core": "modeling_evil", "trust_remote_code": True, "_attn_implementation": "someone/kernels",
    "kernels": ["someone/kernel"], "custom_pipelines": {"x": {"impl": "modeling_evil.Evil"}}, "base_model_name_or_path": "../../evil",
    "target_modules": "(([a-z._0-9])+)+!", "exclude_modules": "(a+)+$", "layers_pattern": "(a|a)*$", "modules_to_save": ["(a+)+$"],
    "rank_pattern": {"(a+)+$": 8}, "peft_type": "EVIL", "task_type": "__import__('os')", "runtime_config": {"x": 1},
    "r": 10**12, "lora_alpha": 1e308, "init_lora_weights": "pissa", "corda_config": {"x": 1}, "eva_config": {"x": 1},
}.items():
    folders[f"configuration {key}"] = config(**{key: value})
for key in ("auto_map", "trust_remote_code", "model", "task", "base"):
    folders[f"card {key}"] = card(**{key: {"name": "../../evil", "auto_map": "modeling_evil.Evil"}})
for name in ("../x", "/etc/passwd", "C:\\\\x", "\\\\\\\\host\\\\x", "nul\\0", "x" * 300, "a/../../x", ".."):
    folders[f"name {name!a:.20}"] = listed(name)
folders["a link out"] = lambda place: ((place / WEIGHTS).unlink(), (place / WEIGHTS).symlink_to("/etc/passwd"))
folders["10 MB of text"] = config(target_modules=["x" * 10_000_000])
folders["deep"] = beside(CONFIG, b"[" * 10_000 + b"]" * 10_000)

made = {}
for number, (name, change) in enumerate(folders.items()):
    place = corpus / f"folder{number}"
    shutil.copytree(sound, place)
    if change(place) is not True:
        reseal(place)
    made[name] = place

watched, events, free = [], [], tuple({sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(crossflare.__file__))})
BAD = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.getaddrinfo",
       "pickle.find_class", "ctypes.dlopen", "urllib.Request")

def hook(event, args):
    if not watched:
        return
    if event in BAD:
        events.append([watched[0], event])
    elif event == "open" and str(args[0]).endswith((".bin", ".pt", ".pkl", ".ckpt", ".py", "passwd")) and not str(args[0]).startswith(free):
        # hashing what the manifest names reads bytes and runs nothing
        frame, names = sys._getframe(1), []
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        if "digest_file" not in names and "file_digest" not in names:
            events.append([watched[0], f"open {args[0]}"])
    elif event in ("exec", "compile"):
        where = args[0].co_filename if event == "exec" else str(args[1])
        if str(corpus) in where or where == "<string>":
            events.append([watched[0], f"{event} {where}"])

sys.addaudithook(hook)
before = set(sys.modules)
outcomes = {}
for name, place in made.items():
    base = build("bert")
    kept = {key: value.clone() for key, value in base.state_dict().items()}
    watched[:] = [name]
    try:
        crossflare.load_adapter(base, place, base=identity)
        outcomes[name] = "loaded"
    except UserError as error:
        outcomes[name] = "refused"
        assert "\\n" not in str(error), name
        after = base.state_dict()
        assert all(torch.equal(after[key], kept[key]) for key in kept), name
    finally:
        watched.clear()
print(json.dumps({"outcomes": outcomes, "events": events, "effect": side_effect.exists(),
                  "modules": [m for m in sys.modules.keys() - before if "evil" in m]}))
'''
HARMLESS = (
    "beside", "code in ", "card model", "card task", "card auto_map", "card trust_remote_code",
    *(f"configuration {key}" for key in
      ("auto_mapping", "runtime_config", "megatron_core", "init_lora_weights", "base_model_name_or_path")),
)  # fmt: skip
"""What may load: files and words that nothing reads."""


@pytest.mark.timeout(900)
def test_a_hostile_corpus_runs_nothing(tmp_path: Path, saved: tuple[Path, Any]) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(tmp_path / "program.py"), str(Path(__file__).parents[1]),
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
