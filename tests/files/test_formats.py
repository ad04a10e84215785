"""Every kind of file says its format; another one is refused by name, with both formats and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from crossflare.disk.files import CARD, MANIFEST, commit_dir, open_dir, read_json
from crossflare.disk.versions import FORMATS, Kept
from crossflare.errors import UserError
from crossflare.evaluation.folder import RunFiles
from crossflare.evaluation.predictions import PACKED, Predictions, load_predictions, pack, packed_text, rows_file
from crossflare.evaluation.record import Record, load_record, save_record, sealed
from crossflare.fusion.saved.adapter_check import read_base

BASE = {"name": "minilm", "digest": "0" * 64, "hidden_size": 8, "blocks": 2}
SIGNATURE = {
    "task": "nusax", "task_version": "1", "split": "test", "language": "ace", "n": 1, "model": "minilm", "data": "d",
    "model_digest": "5f0c", "source": "none", "method": "lora", "seeds": [1], "version": "0.1.0",
}  # fmt: skip


def a_record(folder: Path) -> Path:
    path = folder / "r.json"
    task = {"name": "nusax", "version": "1", "labels": ["a", "b"]}
    record = Record(
        run_id="r", spec_name="s", method={"name": "lora"}, language="ace", seed=1, task=task,
        scores={"accuracy": 0.5}, signature=SIGNATURE, predictions="predictions/r.jsonl",
    )  # fmt: skip
    save_record(path, record)
    return path


def a_grid(folder: Path) -> Path:
    path = RunFiles(folder).grid
    path.write_text(json.dumps({"format": 1, "name": "g", "axes": ["a"], "cells": []}))
    return path


def results(folder: Path) -> Path:
    path = RunFiles(folder).results
    path.write_text(json.dumps({"format": 1, "scores": []}))
    return path


def a_card(folder: Path) -> Path:
    (folder / CARD).write_text(json.dumps({"format": 1, "base": BASE}))
    return folder / CARD


def a_recipe(folder: Path) -> Path:
    path = RunFiles(folder).spec
    path.write_text(json.dumps({"version": 1, "name": "x"}))  # JSON is YAML too
    return path


def packed_predictions(folder: Path) -> Path:
    found = Predictions(("a", "b"), np.array([0, 1]), np.array([1, -1]), np.zeros((2, 2)))
    rows, said = pack(found, "CC0")
    (folder / rows_file(said)).write_text(packed_text(rows))
    path = folder / f"run{PACKED}"
    path.write_text(packed_text(said))
    return path


def a_manifest(folder: Path) -> Path:
    commit_dir(folder / "saved", lambda place: (place / "x").write_bytes(b"x") and None)
    return folder / "saved" / MANIFEST


KINDS: dict[Kept, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "a record": (a_record, load_record),
    "a grid": (a_grid, lambda path: RunFiles(path.parent).read_grid()),
    "results": (results, lambda path: RunFiles(path.parent).read_results()),
    "a card": (a_card, lambda path: read_base(path.parent)),
    "a recipe": (a_recipe, lambda path: RunFiles(path.parent).read_recipe()),
    "packed predictions": (packed_predictions, load_predictions),
    "a manifest": (a_manifest, lambda path: open_dir(path.parent)),
}
"""Kind of file -> how one is written, and how it is read."""
MAY_BE_MISSING = {"a card", "a recipe"}
"""Kinds that were written without a format at first: such a file is read as one of format 1."""


def change(path: Path, **values: Any) -> None:
    """Write a file's values again with others, as a program that knows another format would; None takes one out."""
    made = {name: value for name, value in {**read_json(path), **values}.items() if value is not None}
    path.write_text(json.dumps(sealed(made) if "sha256" in made and "run_id" in made else made))


def test_every_kind_is_tried() -> None:
    assert KINDS.keys() == FORMATS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_the_format_that_is_written_is_read(kind: Kept, tmp_path: Path) -> None:
    write, read = KINDS[kind]
    path = write(tmp_path)
    assert yaml.safe_load(path.read_text())["version" if kind == "a recipe" else "format"] == FORMATS[kind]
    read(path)


@pytest.mark.parametrize(
    ("found", "shown", "advice"),
    [
        (0, "got 0;", ""),
        (2, "got 2;", "upgrade crossflare, or "),
        ("1", "got '1';", ""),
        (1.0, "got 1.0;", ""),
        (True, "got True;", ""),
        ([], "got [];", ""),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_another_format_is_refused_by_name(kind: Kept, tmp_path: Path, found: Any, shown: str, advice: str) -> None:
    write, read = KINDS[kind]
    path = write(tmp_path)
    change(path, **{"version" if kind == "a recipe" else "format": found})
    with pytest.raises(UserError) as caught:
        read(path)
    said = str(caught.value)
    assert f"{path.name}: expected {kind} of format {FORMATS[kind]}, {shown}" in said
    assert ("upgrade crossflare" in said) == bool(advice)
    assert len(said.partition(shown)[2]) > 10, "what to do"


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_format_is_refused_except_where_it_was_not_written_at_first(kind: Kept, tmp_path: Path) -> None:
    write, read = KINDS[kind]
    path = write(tmp_path)
    change(path, **{"version" if kind == "a recipe" else "format": None})
    if kind in MAY_BE_MISSING:
        read(path)
        return
    with pytest.raises(UserError, match=rf"expected {kind} of format 1, got none; "):
        read(path)
