"""Every way in which the package puts something on a disk, as two saves and a look at what stands afterwards."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

import crossflare
from crossflare.disk.files import commit_dir, digest_file, open_dir, point_to, read_json, write_atomic, write_json
from crossflare.disk.growing import Growing, opened_growing
from crossflare.errors import UserError
from crossflare.evaluation.predictions import load_predictions
from crossflare.evaluation.record import Record, load_record, save_record
from crossflare.experiment.running.board import Failure, load_failures, save_failure
from crossflare.training.loop import checkpoints
from crossflare.training.loop.checkpoints import OPTIMIZER, RANDOM, WEIGHTS, Checkpoint
from crossflare.translation.states import States
from crossflare.translation.store import Store
from fusion_models import build, flare


@dataclass(frozen=True)
class SavePath:
    """One way of saving."""

    old: Callable[[Path], None]
    """Saves something into an empty folder."""
    new: Callable[[Path], None]
    """Saves what follows, or replaces it."""
    state: Callable[[Path], str]
    """Reads as the package does: `old` or `new`; fails when it is neither."""


@cache
def _base() -> tuple[Any, Any]:
    base = build("bert")
    return crossflare.identify(base, "tiny"), flare(base)


def _adapter(scale: float) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        identity, model = _base()
        with torch.no_grad():
            bias = next(p for name, p in model.named_parameters() if "classifier" in name and p.requires_grad)
            bias.fill_(scale)
        crossflare.save_adapter(model, folder / "adapter", base=identity, card={"scale": scale})

    return save


def _adapter_state(folder: Path) -> str:
    base = build("bert")
    model = crossflare.load_adapter(base, folder / "adapter", base=_base()[0])
    bias = next(p for name, p in model.named_parameters() if "classifier" in name and "modules_to_save" in name)
    card = read_json(folder / "adapter" / "crossflare.json")["scale"]
    assert (bias == card).all()
    return {1.0: "old", 2.0: "new"}[card]


def _checkpoint(step: int) -> Checkpoint:
    tensors = {name: {"x": torch.full((8,), float(step))} for name in (WEIGHTS, OPTIMIZER, RANDOM)}
    return Checkpoint(step, tensors, {"step": step})


def _old_checkpoints(folder: Path) -> None:
    for step in (1, 2):
        checkpoints.write_checkpoint(folder, _checkpoint(step))


def _checkpoint_state(folder: Path) -> str:
    with checkpoints.locked(folder):
        found = checkpoints.newest(folder)
    assert found is not None
    step = found[1].step
    assert found[1].state == {"step": step}
    assert all((tensors["x"] == step).all() for tensors in found[1].tensors.values())
    assert not list(folder.glob(".step-*"))
    return {2: "old", 3: "new"}[step]


ENGINE = {"engine": "reverse", "licence": "none"}
FIRST, SECOND = [("ab\u2028", "ba"), ("cd", "dc")], [("ef", "fe"), ("gh", "hg")]


def _translations(rows: Sequence[tuple[str, str]]) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        with Store(folder).shelf(ENGINE, "sw", "en") as shelf:
            shelf.append(rows)

    return save


def _translations_state(folder: Path) -> str:
    with Store(folder).shelf(ENGINE, "sw", "en") as shelf:
        found = shelf.find([text for text, _ in FIRST + SECOND])
        assert found.items() <= dict(FIRST + SECOND).items()
        assert dict(FIRST).items() <= found.items()
        shelf.append([("next", "txen")])  # the next writer is not disturbed by what was cut off
        assert shelf.find(["next"]) == {"next": "txen"}
        assert shelf.damaged == 0
    return "new" if len(found) == 4 else "old"  # each row stands for itself


class _Encoder:
    identity = {"engine": "fake", "model": "fake"}  # noqa: RUF012

    def encode(self, texts: Sequence[str], language: str) -> list[torch.Tensor]:
        return [torch.full((len(text), 3), float(len(text))) for text in texts]


def _states(texts: Sequence[str]) -> Callable[[Path], None]:
    return lambda folder: States(folder, _Encoder(), "sw").add(texts) and None  # type: ignore[arg-type]


def _states_state(folder: Path) -> str:
    states = States(folder, _Encoder(), "sw")  # type: ignore[arg-type]
    (found,) = states.read(["ab"])
    assert found.tolist() == [[2.0] * 3] * 2
    state = "new" if len(states) == 2 else "old"
    states.add(["abc"])
    assert len(states) == 2
    return state


def _result(gold: int) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        row = {"id": "0", "gold": gold, "prediction": gold, "logits": [0.0, 1.0]}
        write_atomic(folder / "predictions" / f"{gold}.jsonl", json.dumps(row) + "\n")
        record = Record(
            run_id="run", spec_name="tiny", method={"name": "lora", "kind": "lora"}, language="sw", seed=gold,
            task={"name": "tiny", "version": "1", "labels": ["bad", "good"]}, scores={}, signature={},
            predictions=f"predictions/{gold}.jsonl",
            predictions_sha256=digest_file(folder / "predictions" / f"{gold}.jsonl"),
        )  # fmt: skip
        save_record(folder / "records" / "run.json", record)

    return save


def _result_state(folder: Path) -> str:
    record = load_record(folder / "records" / "run.json")
    load_predictions(folder / record.predictions, record.predictions_sha256)
    return ["old", "new"][record.seed]


def _mark(said: str) -> Callable[[Path], None]:
    return lambda folder: save_failure(folder, Failure("step", "stage 2", "lora", said, "2026-01-01T00:00:00"))


def _file_state(name: str) -> Callable[[Path], str]:
    return lambda folder: read_json(folder / name)["value"]


def _folder(text: str) -> Callable[[Path], None]:
    def fill(place: Path) -> None:
        (place / "deep").mkdir()
        (place / "deep" / "a.txt").write_text(text, encoding="utf-8")
        (place / "b.txt").write_text(text, encoding="utf-8")

    return lambda folder: commit_dir(folder / "made", fill)


def _folder_state(folder: Path) -> str:
    (text,) = {(folder / "made" / name).read_text(encoding="utf-8") for name in open_dir(folder / "made")}
    return text


def _opened(folder: Path) -> AbstractContextManager[Growing]:
    return opened_growing(folder / "out.part", {"of": "tests"}, ("rows", "rejected"), "saves there")


def _piece(text: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        with _opened(folder) as growing:
            if growing.state.get("last") != text:  # a call that goes on adds what is missing
                growing.add({"rows": text.encode(), "rejected": bytes(9000)}, {"last": text})

    return save


def _last_piece(folder: Path) -> str:
    with _opened(folder) as growing:
        state: str = growing.state["last"]
        assert (folder / "out.part" / "rows").read_text() == {"old": "old", "new": "oldnew"}[state]
        assert (folder / "out.part" / "rejected").stat().st_size == {"old": 9000, "new": 18000}[state]
        return state


def _name_large(folder: Path) -> None:
    if (folder / "out.part").is_dir():
        with _opened(folder) as growing:
            growing.name_files({"rejected": folder / "out.rejected", "rows": folder / "out"})


PATHS: dict[str, SavePath] = {
    "adapter": SavePath(_adapter(1.0), _adapter(2.0), _adapter_state),
    "checkpoint, with the oldest dropped": SavePath(
        _old_checkpoints,
        lambda folder: checkpoints.write_checkpoint(folder, _checkpoint(3)) and None,
        _checkpoint_state,
    ),
    "translations": SavePath(_translations(FIRST), _translations(SECOND), _translations_state),
    "encoder states": SavePath(_states(["ab"]), _states(["abc"]), _states_state),
    "record and predictions": SavePath(_result(0), _result(1), _result_state),
    "mark of a failure": SavePath(_mark("old"), _mark("new"), lambda folder: load_failures(folder)["step"].error),
    "file": SavePath(
        lambda folder: write_json(folder / "file.json", {"value": "old"}),
        lambda folder: write_json(folder / "file.json", {"value": "new", "more": "x" * 9000}),
        _file_state("file.json"),
    ),
    "folder": SavePath(_folder("old"), _folder("new"), _folder_state),
    "piece of a large file": SavePath(_piece("old"), _piece("new"), _last_piece),
    "large file that is whole": SavePath(
        lambda folder: (_piece("new")(folder), write_atomic(folder / "out", "old"))[1],
        _name_large,
        lambda folder: (folder / "out").read_text(),
    ),
    "link": SavePath(
        lambda folder: point_to(folder / "link", Path("old")),
        lambda folder: point_to(folder / "link", Path("new")),
        lambda folder: str((folder / "link").readlink()),
    ),
}


def check_state(path: SavePath, folder: Path, done: bool) -> None:
    """See that old or new stands, the new one when the save said that it is done; then that the next save works.

    Raises:
        AssertionError: Neither stands.
    """
    try:
        state = path.state(folder)
    except UserError as error:
        raise AssertionError(f"what was there is lost: {error}") from error
    assert state in (("new",) if done else ("old", "new")), state
    path.new(folder)
    assert path.state(folder) == "new"
