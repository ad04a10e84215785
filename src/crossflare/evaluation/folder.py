"""The files of a run: where each one is, and the one place that reads them.

runs/NAME/spec.yaml                  the recipe with all defaults
runs/NAME/records/ID.json            the result of one method in one language with one seed
runs/NAME/parts/ID.json              the same for a run that is only part of another method
runs/NAME/predictions/ID.jsonl       its predictions for the test rows
runs/NAME/examples/LANGUAGE.jsonl    texts of the test rows, for people to read
runs/NAME/inspection.json            the findings of a look at the data
runs/NAME/models/ID/crossflare.json  the card of a model
runs/NAME/results.json               every number of the report
runs/NAME/grid.json                  of a grid: its cells
runs/NAME/cells/CELL/                of a grid: a folder like this one for each cell, without models
"""

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import yaml

from crossflare.disk.files import CARD, read_json
from crossflare.disk.versions import FORMATS, check_format
from crossflare.errors import UserError
from crossflare.evaluation.predictions import AnswerPredictions, Predictions, load_predictions, read_line
from crossflare.evaluation.record import Record, load_record

CELLS, SPEC, MODELS = "cells", "spec.yaml", "models"
_RESTORE, _REPORT = "run the recipe again to restore it", "make the report again with `crossflare report`"
RowTexts = tuple[tuple[str, ...], tuple[str, ...]]
"""The target texts of a row, and its source texts; no source texts where the row has no source."""


class RunFiles:
    """The files in the folder of a run, or of one cell of a grid; the docstring of this module says what each holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec, self.grid = folder / SPEC, folder / "grid.json"
        self.results, self.look = folder / "results.json", folder / "inspection.json"
        self.all_predictions, self.adapters = folder / "predictions", folder / "adapters"

    def record(self, id: str, *, hidden: bool = False) -> Path:
        """Return the record of a prediction; a hidden one is only a part of another's, and no report shows it."""
        return self.folder / ("parts" if hidden else "records") / f"{id}.json"

    def predictions(self, id: str) -> Path:
        """Return the file of predictions that a step writes."""
        return self.all_predictions / f"{id}.jsonl"

    def examples(self, language: str) -> Path:
        """Return the file with the texts of a language's test rows."""
        return self.folder / "examples" / f"{language}.jsonl"

    def cell(self, name: str) -> "RunFiles":
        """Return the files of a grid's cell; those of the run itself where the cell has no name."""
        return RunFiles(self.folder / CELLS / name) if name else self

    @property
    def cells(self) -> "list[RunFiles]":
        """The cells of a grid that have a recipe; empty for a plain run."""
        return [RunFiles(path.parent) for path in sorted(self.folder.glob(f"{CELLS}/*/{SPEC}"))]

    @property
    def records(self) -> list[Path]:
        """The records that a report shows."""
        return sorted((self.folder / "records").glob("*.json"))

    @property
    def all_records(self) -> list[Path]:
        """The records of the run and of its cells, including hidden ones."""
        places = ("records", f"{CELLS}/*/records", "parts", f"{CELLS}/*/parts")
        return [path for place in places for path in sorted(self.folder.glob(f"{place}/*.json"))]

    @property
    def cards(self) -> list[Path]:
        """The cards of the trained models."""
        return sorted(self.folder.glob(f"{MODELS}/*/{CARD}"))

    def read_recipe(self) -> tuple[str, Mapping[str, Any]]:
        """Return the text of the recipe and its values; nothing where there is no recipe.

        A recipe may leave its version out.

        Raises:
            UserError: It is damaged, or of another version.
        """
        if not self.spec.is_file():
            return "", {}
        text = self.spec.read_text(encoding="utf-8")
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"{self.spec}: expected YAML, but it is damaged ({error}); {_RESTORE}") from error
        if not isinstance(values, dict):
            return text, {}
        check_format("a recipe", values.get("version", FORMATS["a recipe"]), self.spec, _RESTORE)
        return text, values

    def read_grid(self) -> dict[str, Any]:
        """Return the description of a grid: `name`, `axes`, and `cells` with their names and values.

        Raises:
            UserError: The folder is not a grid, or its file is damaged or of another format.
        """
        found = read_json(self.grid)
        if not isinstance(found, dict):
            raise UserError(f"{self.grid}: expected a grid, but it is damaged; {_RESTORE}")
        check_format("a grid", found.get("format"), self.grid, _RESTORE)
        return found

    def read_results(self) -> dict[str, Any]:
        """Return every number of the run's report, as the report wrote it.

        Raises:
            UserError: The file is missing, damaged or of another format.
        """
        found = read_json(self.results, _REPORT)
        check_format("results", found.get("format") if isinstance(found, dict) else None, self.results, _REPORT)
        return found

    def read_look(self) -> Any:
        """Return the findings of a look at the data, with the `key` of those data; None where there was no look.

        Raises:
            UserError: The file is damaged.
        """
        return read_json(self.look, "delete it and run the recipe again") if self.look.is_file() else None

    def read_examples(self, language: str) -> dict[str, RowTexts]:
        """Return the texts of a language's test rows by the row's id; nothing where they were not kept.

        Raises:
            UserError: The file is damaged; the message names the line.
        """
        path = self.examples(language)
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n") if path.is_file() else []
        expected = "the texts of a row", "delete the file and run again"
        return dict(read_line(path, number, line, _row_texts, *expected) for number, line in enumerate(lines, 1))

    def read_result(
        self, record: Path, rows: MutableMapping[Path, Any] | None = None
    ) -> tuple[Record, Predictions | AnswerPredictions]:
        """Return a record and the predictions that it names, in the order of their file.

        Args:
            record: The record's file.
            rows: See `load_predictions`.

        Raises:
            UserError: One of the files is missing, damaged or of another format, or the predictions are elsewhere.
        """
        read = load_record(record)
        place = (self.folder / read.predictions).resolve()
        if not place.is_relative_to(self.folder.resolve()):
            raise UserError(
                f"{record}: the predictions '{read.predictions}' lie outside of the run folder; delete the record"
            )
        return read, load_predictions(place, read.predictions_sha256, rows)


def _row_texts(row: dict[str, Any]) -> tuple[str, RowTexts]:
    sides: list[Any] = [row["texts"], row.get("source") or []]
    if not all(isinstance(side, list) and all(isinstance(text, str) for text in side) for side in sides):
        raise TypeError
    return str(row["id"]), (tuple(sides[0]), tuple(sides[1]))
