"""Whatever is wrong with what a user gives: one line that says what and where, exit code 2, and nothing lost."""

import gc
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crossflare.cli import main
from crossflare.disk.files import open_dir, read_json
from crossflare.experiment.running.run import run
from crossflare.translation.engines import apertium
from tiny_experiment import Lab, make_base, read_jsonl, results

METHODS = ("zero-shot", "lora", "flare")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with a finished run; tests that change anything work on a copy."""
    made = Lab(tmp_path_factory.mktemp("trained") / "lab", languages=("es",), seeds=(0,))
    gc.collect()
    gc.freeze()
    run(made.spec(methods=METHODS), made.folder / "runs", workers=1)
    return made.folder


@pytest.fixture
def lab(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A copy of the lab and its run, whose files may be damaged."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "lab", symlinks=True)
    return Lab(tmp_path / "lab", languages=("es",), seeds=(0,))


PROGRESS = ("tiny: ", "step ", "failed: ", "time of the steps: ")
"""How the lines begin that say what is to be run, and how far it is."""


@pytest.fixture
def complaints(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run the command line; return its lines of error once the exit code is that of a user's mistake."""

    def run_it(*words: object) -> list[str]:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err + shown.out
        lines = shown.err.splitlines()
        if words[0] == "run":
            lines = [line for line in lines if not line.startswith(PROGRESS)]
        return lines

    return run_it


def only(lines: list[str]) -> str:
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def recipe(lab: Lab, changes: dict[str, Any] | None = None, methods: tuple[str, ...] = ("zero-shot",)) -> list[str]:
    return ["run", str(lab.write(changes, methods)), "--runs", str(lab.folder / "new"), "--workers", "1"]


def again(lab: Lab, changes: dict[str, Any] | None = None) -> list[str]:
    """Return the command that goes on in the folder of the finished run."""
    return ["run", str(lab.write(changes, METHODS)), "--runs", str(lab.folder / "runs"), "--workers", "1"]


def prediction(lab: Lab, method: str = "lora", *more: str) -> list[str]:
    adapter = lab.folder / "runs" / "tiny" / "adapters" / f"{method}-es-seed0"
    paths = {"--adapter": adapter, "--input": lab.data("es", "test"), "--output": lab.folder / "out.csv"}
    return ["predict", *(str(word) for pair in paths.items() for word in pair), *more]


# Data ----------------------------------------------------------------------------------------------------------------


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing column": (
        rewritten(lambda data: data.replace(b"text", b"txt", 1)),
        "{file}:2: expected a column 'text': did you mean 'txt'? (found columns: id, label, txt)",
    ),
    "unknown label": (
        rewritten(lambda data: data.replace(b",good\n", b",godo\n", 1)),
        "{file}:3: unknown label 'godo': did you mean 'good'? (known: bad, good); correct it or declare an alias",
    ),
    "no label": (
        rewritten(lambda data: data.replace(b",good\n", b",\n", 1)),
        "{file}:3: expected a label, found none; known: bad, good; label the row or take it out",
    ),
    "empty file": (
        rewritten(lambda data: b""),
        "{file}: expected at least one row, found an empty file",
    ),
    "header alone": (
        rewritten(lambda data: data.partition(b"\n")[0] + b"\n"),
        "{file}: expected at least one row, found only a header line",
    ),
    "Latin 1": (
        rewritten(lambda data: data.replace(b"cine", "ciné".encode("latin-1"), 1)),
        "not UTF-8: byte 0xe9 at offset",
    ),
    "UTF-16": (
        rewritten(lambda data: data.decode().encode("utf-16")),
        "{file}:1: not UTF-8: byte 0xff at offset 0 (it starts as UTF-16 does); save the file as UTF-8",
    ),
    "open quote": (
        rewritten(lambda data: data.replace(b"\ntest 2,", b'\n"test 2,', 1).replace(b"\ntrain 2,", b'\n"train 2,', 1)),
        "{file}:4: damaged CSV (unexpected end of data); look for a quote that is not doubled",
    ),
    "a field too many": (
        rewritten(lambda data: data.replace(b",good\n", b",good,\n", 1)),
        "{file}:3: expected 3 fields (id, text, label), found 4",
    ),
    "an id twice": (
        rewritten(lambda data: data.replace(b" 1,", b" 0,", 1)),
        "0' is taken by {file}:2; make ids unique",
    ),
    "gone": (
        Path.unlink,
        "task.files.es.{part}: expected a file or folder at {file}, found none",
    ),
}


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_data_is_named_before_anything_is_made(
    lab: Lab, complaints: Callable[..., list[str]], damage: str, part: str
) -> None:
    change, said = DAMAGE[damage]
    change(lab.data("es", part))
    message = only(complaints(*recipe(lab, methods=METHODS)))
    assert said.format(file=lab.data("es", part), part=part) in message
    assert not (lab.folder / "new").exists()
    before = results(lab.folder / "runs" / "tiny")
    only(complaints(*again(lab)))
    assert results(lab.folder / "runs" / "tiny") == before
    assert len(list((lab.folder / "runs" / "tiny" / "records").glob("*.json"))) == len(METHODS)


def test_counts_of_source_and_target_differ(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    lab.edit("es", "train", list.pop)
    by_id = lab.write(methods=METHODS)
    assert main(["validate", str(by_id)]) == 0  # by their ids the rest correspond
    del lab.recipe["task"]["id"]
    message = only(complaints(*recipe(lab, methods=METHODS)))
    there, here = lab.data("es", "train"), lab.data("en", "train")
    assert message == (
        f"{there} and {here}: 11 rows against 12 in the source language; say translation.to_target: none to learn from "
        "these labels as they are, or make rows correspond one to one, or say align: none "
        "where they are not translations of each other"
    )
    assert not (lab.folder / "new").exists()


def test_files_that_do_not_correspond(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    lab.edit("es", "train", lambda rows: rows[4].update(id="other"))
    assert "the id 'other' and 0 more have no partner in" in only(complaints(*recipe(lab, methods=METHODS)))
    lab.edit("es", "train", lambda rows: rows[4].update(id="train 4", label="good"))
    assert "a text and its source must have the same label" in only(complaints(*recipe(lab, methods=METHODS)))


def test_empty_and_overlong_texts_are_predicted_and_counted(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for number, text in enumerate(("", " ", "el " * 99)):
        lab.edit("es", "test", lambda rows, number=number, text=text: rows[number].update(text=text))
    assert main(again(lab)) == 0
    folder = lab.folder / "runs" / "tiny"
    found = {record["method"]["name"]: record for record in map(read_json, (folder / "records").glob("*.json"))}
    assert set(found) == set(METHODS)
    for name, record in found.items():
        assert len(read_jsonl(folder / record["predictions"])) == 7
        assert record["counts"]["empty"] == 2
        assert record["counts"]["truncated"] == {"target": 1, "source": 1 if name == "flare" else 0}
        assert record["scores"]["accuracy"] * 7 == pytest.approx(round(record["scores"]["accuracy"] * 7))  # of all rows
    report = capsys.readouterr().out + "".join(path.read_text() for path in folder.rglob("report.md"))
    assert "cut at the window" in report
    assert main(prediction(lab)) == 3
    assert "2 rows could not be read -> " in capsys.readouterr().out
    assert len((lab.folder / "out.csv").read_text().splitlines()) == 6


# Languages and engines -----------------------------------------------------------------------------------------------


def test_an_unknown_language(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    text = lab.text().replace('"es"', '"spanisch"')
    (lab.folder / "recipe.yaml").write_text(text)
    lines = complaints("run", lab.folder / "recipe.yaml")
    assert "unknown language 'spanisch': did you mean 'Spanish'?" in lines[0]
    assert lines[0].startswith(f"error: {lab.folder / 'recipe.yaml'}:")


def test_a_language_without_a_package(
    lab: Lab, complaints: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(apertium.shutil, "which", lambda name: name)
    (tmp_path / "modes").mkdir()
    modes = tmp_path / "modes"
    given = {"translation.to_source": {"engine": "apertium", "modes": str(modes)}}
    message = only(complaints(*recipe(lab, given, ("translate-test",))))
    assert message.startswith(
        f"Apertium's es to en is not in {modes}; install the package: apt install apertium-eng-spa"
    )
    files = lab.recipe["task"]["files"]
    other = {**given, "targets": ["sw"], "task.files": {"en": files["en"], "sw": files["es"]}}
    message = only(complaints(*recipe(lab, other, ("translate-test",))))
    assert message.startswith("Debian has no Apertium package for sw to en")
    assert not (lab.folder / "new").exists()


def test_apertium_is_not_installed(
    lab: Lab, complaints: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apertium.shutil, "which", lambda name: None)
    engine = {"translation.to_source": {"engine": "apertium"}}
    message = only(complaints(*recipe(lab, engine, ("translate-test",))))
    assert message == "the engine apertium needs the program apertium; install the package: apt install apertium"


def test_an_unknown_option_of_an_engine(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    lines = complaints(*recipe(lab, {"translation.to_source.lexicn": "words.tsv"}))
    assert "translation.to_source.lexicn: unknown key: did you mean 'lexicon'?" in only(lines)


def test_a_lexicon_that_is_not_there(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    (lab.folder / "words.tsv").unlink()
    message = only(complaints(*recipe(lab, methods=("translate-test",))))
    assert message.startswith(f"{lab.folder / 'words.tsv'}: expected a text file with one text per line, found none")


# Recipes -------------------------------------------------------------------------------------------------------------


def test_typos_are_told_all_at_once_with_their_lines(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    text = lab.text().replace('"stage1"', '"stgae1"').replace('"batch_size": 4', '"batch_size": "four"')
    (lab.folder / "recipe.yaml").write_text(text.replace('"flare-no-source"', '"flare-no-sorce"'))
    *lines, last = complaints("run", lab.folder / "recipe.yaml", "--runs", lab.folder / "new")
    assert last == f"{len(lines)} mistakes; nothing was run"
    assert all(line.startswith(f"error: {lab.folder / 'recipe.yaml'}:") for line in lines)
    said = " ".join(lines)
    assert "stgae1: unknown key: did you mean 'stage1'?" in said
    assert "stage2.batch_size: expected a whole number, got 'four'" in said
    assert "flare-no-sorce" in said
    numbers = [int(line.split(":")[2]) for line in lines]
    assert numbers == sorted(numbers)
    assert not (lab.folder / "new").exists()


def test_a_recipe_that_is_no_recipe(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    for content, said in (("a: [", "not YAML"), ("", "missing"), ("[1]", "expected")):
        (lab.folder / "recipe.yaml").write_text(content)
        lines = complaints("validate", lab.folder / "recipe.yaml")
        assert said in lines[0]
        assert str(lab.folder / "recipe.yaml") in lines[0]


# Models and adapters -------------------------------------------------------------------------------------------------


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (only_pickles, "base: has only pickled weights (pytorch_model.bin), which can run code and are never opened"),
        (lambda folder: cut(folder / "model.safetensors"), "could not be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json; expected the folder of a transf"),
        (shutil.rmtree, "model.name: expected a file or folder at"),
    ],
)
def test_a_base_model_that_cannot_be_read(
    lab: Lab, complaints: Callable[..., list[str]], change: Callable[[Path], Any], said: str
) -> None:
    change(lab.folder / "base")
    message = only(complaints(*recipe(lab)))
    assert said in message
    assert not (lab.folder / "new").exists()
    there = (lab.folder / "base").is_dir()
    assert (said if there else "there is no such folder; check the path") in only(complaints(*prediction_here(lab)))
    assert not (lab.folder / "out.csv").exists()


def prediction_here(lab: Lab) -> list[str]:
    """Return the command with an adapter whose card names the base model of this copy."""
    for card in lab.folder.glob("runs/tiny/models/*/crossflare.json"):
        content = read_json(card)
        content["model"]["name"] = str(lab.folder / "base")
        reseal(card, json.dumps(content).encode())
    return prediction(lab)


def reseal(path: Path, content: bytes) -> None:
    """Change a file of an adapter, and its manifest with it."""
    path.write_bytes(content)
    manifest = path.parent / "manifest.json"
    listed = read_json(manifest)
    listed["sha256"][path.name] = hashlib.sha256(content).hexdigest()
    manifest.write_text(json.dumps(listed))


@pytest.mark.parametrize(("hidden", "seed"), [(16, 1), (24, 0)])
def test_an_adapter_of_another_base(lab: Lab, complaints: Callable[..., list[str]], hidden: int, seed: int) -> None:
    words = prediction_here(lab)
    shutil.rmtree(lab.folder / "base")
    make_base(lab.folder / "base", hidden=hidden, seed=seed)
    message = only(complaints(*words))
    assert "the adapter was trained on" in message
    assert "(d=16, 2 blocks, " in message
    assert f"this base is {lab.folder / 'base'} (d={hidden}, 2 blocks, " in message
    assert message.endswith("load it on its own base")
    assert not (lab.folder / "out.csv").exists()


def test_a_truncated_adapter(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    (lab.folder / "out.csv").write_text("old")
    weights = (lab.folder / "runs/tiny/adapters/lora-es-seed0").resolve() / "adapter_model.safetensors"
    cut(weights)
    said = "'adapter_model.safetensors' is not the file that was saved (its sha256 differs); fetch again"
    assert said in only(complaints(*prediction(lab)))
    assert said in only(complaints("validate", weights.parent))
    reseal(weights, weights.read_bytes())  # even when the manifest agrees
    words = prediction_here(lab)
    assert "expected a whole safetensors file, but it is damaged" in only(complaints(*words))
    assert (lab.folder / "out.csv").read_text() == "old"


def test_a_truncated_adapter_in_a_run_stops_only_its_readers(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    folder = lab.folder / "runs" / "tiny"
    records = {read_json(path)["method"]["name"]: path for path in (folder / "records").glob("*.json")}
    for name in ("lora", "flare"):
        records[name].unlink()
    cut((folder / "adapters" / "lora-es-seed0").resolve() / "adapter_model.safetensors")
    # The run of the copy names its base by another path; its ids are the same.
    message = only(complaints(*again(lab)))
    assert message.startswith("1 of 6 steps failed: predict lora, es, seed 0: ")
    assert "sha256 differs" in message
    assert {name for name, path in records.items() if path.is_file()} == {"zero-shot", "flare"}


@pytest.mark.parametrize("verb", ["predict", "validate"])
def test_a_pickled_adapter_is_never_opened(lab: Lab, complaints: Callable[..., list[str]], verb: str) -> None:
    pickled = lab.folder / "pickled"
    pickled.mkdir()
    (pickled / "adapter_config.json").write_text("{}")
    (pickled / "adapter_model.bin").write_bytes(b"\x80\x04.")
    words = ["validate", str(pickled)]
    if verb == "predict":
        words = prediction(lab)
        words[words.index("--adapter") + 1] = str(pickled)
    assert "no manifest.json: not saved by crossflare" in only(complaints(*words))
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pickled.iterdir()}
    (pickled / "manifest.json").write_text(json.dumps({"format": 1, "sha256": hashes}))
    assert "adapter_model.safetensors is missing; expected an adapter saved by crossflare (safetensors only)" in only(
        complaints(*words)
    )


# Training, disk and rights -------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    growing = {"lr": 1, "weight_decay": 1e3, "warmup": 0, "epochs": 9, "evaluations": 9}
    message = only(complaints(*again(lab, {"stage2": {**lab.recipe["stage2"], **growing}})))
    assert "stage 2 lora, es, seed 0: training stopped before step " in message
    assert "the last good checkpoint is" in message
    checkpoint = Path(message.partition("the last good checkpoint is ")[2].partition(";")[0])
    assert open_dir(checkpoint)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a disk that is full."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_in_training_keeps_what_was_there(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    folder = lab.folder / "runs" / "tiny"
    before = results(folder)
    with files_of_at_most(6000):
        message = only(complaints(*again(lab, {"stage1.lr": 0.01})))
    assert "could not be written (File too large)" in message
    assert "stage 1 en, seed 0: " in message
    assert results(folder) == before
    assert all(open_dir(path) for path in (folder / "models").iterdir())
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
    assert main(again(lab, {"stage1.lr": 0.01})) == 0  # once there is room


def test_a_full_disk_in_prediction_keeps_the_old_output(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    (lab.folder / "out.csv").write_text("old")
    with files_of_at_most(100):
        message = only(complaints(*prediction(lab)))
    assert message == (
        f"{lab.folder / 'out.csv.part'}: could not be written (File too large); "
        "free space or choose another folder; nothing was lost"
    )
    assert (lab.folder / "out.csv").read_text() == "old"
    assert not list(lab.folder.glob(".*"))


def test_a_file_in_place_of_a_folder(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    (lab.folder / "new").write_text("mine")
    message = only(complaints(*recipe(lab)))
    assert "new" in message
    assert "could not be written" in message
    assert (lab.folder / "new").read_text() == "mine"
    words = prediction(lab)
    words[words.index("--output") + 1] = str(lab.folder / "new" / "out.csv")
    assert "could not be written" in only(complaints(*words))
    assert "expected a run folder" in only(complaints("report", lab.folder / "new"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(lab: Lab, complaints: Callable[..., list[str]]) -> None:
    (lab.folder / "new").mkdir(mode=0o555)
    assert "could not be written (Permission denied)" in only(complaints(*recipe(lab)))
