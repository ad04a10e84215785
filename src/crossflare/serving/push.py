"""Pushing a trained adapter to the model hub: checked first, with a README that has its scores, all in one commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossflare.disk.files import MANIFEST, read_manifest
from crossflare.evaluation.folder import MODELS, RunFiles
from crossflare.evaluation.predictions import AnswerPredictions, Predictions, run_intervals
from crossflare.evaluation.record import Record
from crossflare.fusion.saved.adapter_check import README, Opened
from crossflare.fusion.saved.adapter_files import adapter_about
from crossflare.fusion.saved.hub import upload
from crossflare.fusion.saved.readme import About, Score, readme
from crossflare.fusion.saved.tensor_files import WHAT
from crossflare.recipe.kinds import KINDS
from crossflare.serving.card import STAGE1, check_card, open_trained, read_saved


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is uploaded of a folder."""

    folder: Path
    readme: str
    """The text of its README, for the name that it is pushed to."""
    files: tuple[str, ...]
    scores: tuple[Score, ...]

    def push(self, name: str, **options: Any) -> str:
        """Upload it, and return the commit's address; see `upload` for the options."""
        return upload(name, self.folder, {README: self.readme}, **options)


def parcel_of(folder: Path, name: str, licence: str | None = None) -> Parcel:
    """Check a folder as far as no model is needed, and write the README that it is pushed with.

    Args:
        folder: What `crossflare run` or `save_adapter` saved. In a run's `models`, the run's test scores of it are in
            the README.
        name: The name on the hub.
        licence: The licence of the adapter, as the hub writes it, such as `apache-2.0`; None: the one on its card.

    Raises:
        UserError: The folder is not whole, or its card or a record of its run is damaged.
    """
    opened = open_trained(folder)
    card, tests = check_card(opened.card, folder), _tests_of(folder)
    scores = tuple(score for test in tests for score in _scores(*test))
    made = [(record.language, record.translation.get("to_source")) for record, _ in tests]
    engines = {f"test sources by ({language})": engine for language, engine in made if isinstance(engine, Mapping)}
    licence = licence or card.get("licence")
    if card.get("kind"):
        read_saved(folder)  # card and files go together
        reads = KINDS["zero-shot" if card["kind"] == STAGE1 else card["kind"]].reads
        what = "adapter" if isinstance(opened, Opened) else WHAT[opened.name]
        about = About(what, name, licence, reads, scores=scores, engines=engines)
    else:
        assert isinstance(opened, Opened), "whatever else is saved has a kind"
        said = adapter_about(opened.config, card)
        about = About("adapter", name, licence, said.reads, said.task_type, scores)
    files = (*sorted({*read_manifest(folder), README}), MANIFEST)
    return Parcel(folder, readme(opened.base, card, about), files, scores)


def _tests_of(folder: Path) -> list[tuple[Record, Predictions | AnswerPredictions]]:
    """Return what a run's model says of the run's test rows, alone; nothing outside of a run.

    Raises:
        UserError: A record of the run is damaged.
    """
    place = folder.resolve()
    top = RunFiles(place.parent.parent)
    if place.parent.name != MODELS:
        return []
    read = [files.read_result(path) for files in (top, *top.cells) for path in files.records]
    kinds = {record.run_id: KINDS.get(str(record.method["kind"])) for record, _ in read}
    return [
        (record, said)
        for record, said in sorted(read, key=lambda each: (each[0].language, str(each[0].method["name"])))
        if record.model.get("id") == place.name and (kind := kinds[record.run_id]) is not None and not kind.combines
    ]


def _scores(record: Record, said: Predictions | AnswerPredictions) -> list[Score]:
    """Return the scores of one record, with their intervals."""
    how, found = f"{record.method['name']}, source {record.signature['source']}", len(said.ids)
    intervals = run_intervals(said, len(record.task["labels"]))
    return [
        Score(metric, record.language, each.score, each.low, each.high, found, how)
        for metric, each in intervals.items()
        if metric in record.scores
    ]
