"""Load hostile folders while an audit hook watches: `python hostile.py CORPUS SOUND`; prints what it saw as JSON."""

import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import crossflare
from crossflare.errors import UserError
from fusion_models import build
from mutating import CARD, CONFIG, WEIGHTS, reseal

corpus, sound = Path(sys.argv[1]), Path(sys.argv[2])
side_effect = corpus / "side effect"

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


SOURCE = f"open({str(side_effect)!r}, 'w').write('ran')\n".encode()


def config(**values):
    return lambda place: edit(place / CONFIG, values)


def card(**values):
    return lambda place: edit(place / CARD, values)


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
folders["a zip behind the safetensors"] = lambda place: (place / WEIGHTS).write_bytes(
    (place / WEIGHTS).read_bytes() + zipped()
)
for name in ("__init__.py", "modeling_evil.py", "setup.py", "conftest.py", "torch.py", "sitecustomize.py"):
    folders[f"code in {name}"] = beside(name, SOURCE)
for key, value in {
    "auto_map": {"AutoModel": "modeling_evil.Evil"},
    "auto_mapping": {"parent_library": "modeling_evil", "base_model_class": "Evil"},
    "megatron_core": "modeling_evil",
    "trust_remote_code": True,
    "_attn_implementation": "someone/kernels",
    "kernels": ["someone/kernel"],
    "custom_pipelines": {"x": {"impl": "modeling_evil.Evil"}},
    "base_model_name_or_path": "../../evil",
    "target_modules": "(([a-z._0-9])+)+!",
    "exclude_modules": "(a+)+$",
    "layers_pattern": "(a|a)*$",
    "modules_to_save": ["(a+)+$"],
    "rank_pattern": {"(a+)+$": 8},
    "peft_type": "EVIL",
    "task_type": "__import__('os')",
    "runtime_config": {"x": 1},
    "r": 10**12,
    "lora_alpha": 1e308,
    "init_lora_weights": "pissa",
    "corda_config": {"x": 1},
    "eva_config": {"x": 1},
}.items():
    folders[f"configuration {key}"] = config(**{key: value})
for key in ("auto_map", "trust_remote_code", "model", "task", "base"):
    folders[f"card {key}"] = card(**{key: {"name": "../../evil", "auto_map": "modeling_evil.Evil"}})
for name in ("../x", "/etc/passwd", "C:\\x", "\\\\host\\x", "nul\0", "x" * 300, "a/../../x", ".."):
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

watched, events = [], []
free = (sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(crossflare.__file__)))
NEVER = (".bin", ".pt", ".pkl", ".ckpt", ".py", "passwd")
BAD = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "socket.getaddrinfo",
    "pickle.find_class",
    "ctypes.dlopen",
    "urllib.Request",
)


def hook(event, args):
    if not watched:
        return
    if event in BAD:
        events.append([watched[0], event])
    elif event == "open" and str(args[0]).endswith(NEVER) and not str(args[0]).startswith(free):
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
        outcomes[name] = "refused" if "\n" not in str(error) else "refused in several lines"
        after = base.state_dict()
        assert all(torch.equal(after[key], kept[key]) for key in kept), name
    finally:
        watched.clear()
print(
    json.dumps(
        {
            "outcomes": outcomes,
            "events": events,
            "effect": side_effect.exists(),
            "modules": [m for m in sys.modules.keys() - before if "evil" in m],
        }
    )
)
