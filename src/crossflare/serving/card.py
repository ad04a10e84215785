"""The card of an adapter that `crossflare run` trained, with a check of every field that is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from crossflare.disk.files import CARD
from crossflare.disk.untrusted import Schema, check_values, either, line, list_of, none, one_of, text, whole
from crossflare.errors import UserError
from crossflare.evaluation.calibration import Calibration, calibration_from
from crossflare.fusion.saved.adapter_check import WEIGHTS, Opened, check_folder
from crossflare.fusion.saved.hub import folder_of
from crossflare.fusion.saved.tensor_files import MODEL, PROBE, OpenedTensors, check_tensor_folder, tensors_in
from crossflare.recipe.kinds import KINDS, Kind, Learns
from crossflare.recipe.spec import ModelSpec, Training
from crossflare.recipe.task import Answering, Long
from crossflare.tasks.dataset import Task
from crossflare.tasks.kinds import Metric, QuestionTask, TextTask
from crossflare.training.loop.settings import Precision

STAGE1 = "stage1"
"""The kind of an adapter of stage 1; it reads as zero-shot does."""


def _object(value: object) -> bool:
    return isinstance(value, dict)


def _words(value: object) -> bool:
    return isinstance(value, dict) and all(map(text(), cast(dict[str, object], value).values()))


FILES: Mapping[Learns, str] = {"adapter": WEIGHTS, "probe": PROBE, "model": MODEL}
"""What a kind of method trains -> the file of its tensors."""
OBJECT = (either(none, _object), "an object")
NAME = (either(none, line()), "one line of text")
TOKENS = (either(none, whole(4, 65536)), "a whole number from 4 to 65536")
SCHEMAS: dict[tuple[str, ...], Schema] = {
    (): {
        "kind": (either(none, one_of(STAGE1, *KINDS)), f"one of {', '.join((STAGE1, *KINDS))}"),
        "task": OBJECT,
        "model": OBJECT,
        "mixing": OBJECT,
        "settings": OBJECT,
        "calibration": OBJECT,
        "source": NAME,
        "language": NAME,
        "through": NAME,
        "reads": NAME,
        "licence": NAME,
        "train_source": (either(none, line(), _object), "one line of text or an object"),
        "max_length": TOKENS,
        "stride": (either(none, whole(0, 65536)), "a whole number from 0 to 65536"),
        "answer_tokens": (either(none, whole(1, 65536)), "a whole number from 1 to 65536"),
        "seed": (either(none, whole(0, 2**32 - 1)), "a whole number from 0 to 4294967295"),
    },
    ("task",): {
        "name": NAME,
        "labels": (either(none, list_of(text())), "a list of texts of at most 1000 signs"),
        "texts": (either(none, one_of(1, 2)), "1 or 2"),
        "form": (either(none, one_of("head", "text")), "head or text"),
        "words": (either(none, _words), "an object of texts"),
        "long": (either(none, one_of(*get_args(Long))), "cut or windows"),
        "normalisation": (either(none, one_of("squad", "mlqa")), "squad or mlqa"),
        "main_metric": NAME,
    },
    ("model",): {
        "name": NAME,
        "revision": NAME,
        "commit": NAME,
        "hub": NAME,
        "licence": NAME,
        "quantise": (either(none, one_of("none", "nf4", "nf4-single", "int8")), "none, nf4, nf4-single or int8"),
    },
    ("mixing",): {
        "mix_block": (either(none, whole(0, 9999)), "a block's index"),
        "mix_blocks": (either(none, whole(1, 9999)), "a number of blocks"),
    },
    ("settings",): {"precision": (either(none, one_of("auto", "fp32", "bf16")), "auto, fp32 or bf16")},
    ("train_source",): {"engine": NAME, "model": NAME, "revision": NAME},
}
"""A place in the card -> the fields there; any other key is the caller's own, and crossflare does not read it."""


def check_card(card: Mapping[str, Any], adapter: Path) -> Mapping[str, Any]:
    """Check the fields of a card, and return it without those that are null.

    Raises:
        UserError: A field's value is not allowed; the message names the field and says what is allowed.
    """
    for place, schema in SCHEMAS.items():
        values: Any = card
        for key in place:
            values = values.get(key)
        if isinstance(values, dict):
            check_values(".".join((str(adapter / CARD), *place)), cast(dict[str, Any], values), schema)
    return {key: value for key, value in card.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """The longest row that is read, and the precision of the numbers."""

    max_length: int = Training.max_length
    """The most tokens of a text, a pair or a prompt; for questions, of a window. The number of the model's positions
    limits it, too."""
    stride: int = Training.stride
    """Tokens that a window of a question's context, or of a long text, repeats from the one before it."""
    answer_tokens: int = Training.answer_tokens
    """The most tokens of an answer to a question."""
    precision: Precision = "auto"


@dataclass(frozen=True)
class Saved:
    """The checked folder of a trained adapter, and what its card says; no model is loaded."""

    folder: Path
    card: Mapping[str, Any] = field(repr=False)
    """The card's fields that are not null, checked; those that crossflare does not read are the caller's own."""
    task: Task
    kind: Kind
    """The kind of the method; that of zero-shot for an adapter of stage 1."""
    base: ModelSpec = field(repr=False)
    """The model that it was trained on."""
    stage1: Path | None = field(repr=False)
    """The folder of the adapter that is merged into the base first."""

    @property
    def name(self) -> str:
        """The name of the kind of method on the card."""
        return str(self.card["kind"])

    @property
    def answering(self) -> Answering:
        """Whether a head answers, or the model in its own words."""
        said: Answering | None = self.card["task"].get("form")
        return said or "head"

    @property
    def long(self) -> Long:
        """The way to read a text that is longer than the window."""
        said: Long | None = self.card["task"].get("long")
        return said or "cut"

    @property
    def train_source(self) -> Mapping[str, Any]:
        """The identity of the engine that translated the training sources; empty if no engine did."""
        said = self.card.get("train_source")
        return said if isinstance(said, dict) else {}

    @property
    def calibration(self) -> Calibration | None:
        """The calibration if the language of the texts is not known; see `calibration_in`."""
        return self.calibration_in(None)

    def calibration_in(self, language: str | None) -> Calibration | None:
        """Return the calibration that was fitted on dev rows.

        Args:
            language: The language of the texts, as a tag; None: the only one that the adapter was trained in.

        Returns:
            The calibration; None if it is not known: there were no dev rows in this language, or none is named and
            there are several, or the only one is the source language. Such a model is used for other languages, where
            this temperature does harm.
        """
        found: dict[str, Any] = self.card.get("calibration") or {}
        alone = language is None and len(found) == 1 and self.card.get("source") not in found
        known = next(iter(found)) if alone else language
        if known not in found or not self.task.labels:
            return None
        return calibration_from(found[known], f"{self.folder / CARD}: calibration")

    def reading_in_training(self) -> ReadSettings:
        """Return the settings with which the adapter's own training read its rows."""
        names = ("max_length", "stride", "answer_tokens")
        lengths: dict[str, Any] = {name: self.card[name] for name in names if name in self.card}
        settings: dict[str, Any] = self.card.get("settings") or {}
        return ReadSettings(**lengths, precision=settings.get("precision") or "auto")


def read_saved(folder: Path) -> Saved:
    """Check the folder of a trained adapter, and read its card.

    Raises:
        UserError: The folder is incomplete, or its card does not say what it was trained for.
    """
    opened = open_trained(folder)
    card = check_card(opened.card, folder)
    task, kind = _task_of(card, folder), _kind_of(card, folder)
    name = opened.name if isinstance(opened, OpenedTensors) else WEIGHTS
    if name != FILES[kind.learns]:
        raise UserError(
            f"{folder}: what is trained as {card['kind']} is in {FILES[kind.learns]}, found {name}; not ours"
        )
    said = card.get("model") or {}
    base = ModelSpec(said.get("name") or opened.base.name, said.get("revision"), said.get("quantise") or "none")
    saved = Saved(folder, card, task, kind, base, opened.stage1 if isinstance(opened, Opened) else None)
    for language in (card.get("calibration") or {}) if task.labels else ():
        saved.calibration_in(language)  # refused here, before a model is loaded
    return saved


def open_saved(place: str | Path, revision: str | None = None) -> Saved:
    """Check the folder of a trained adapter, which may be a name on the hub, and read its card.

    Raises:
        UserError: See `folder_of` and `read_saved`.
    """
    return read_saved(saved_folder(place, revision))


def saved_folder(place: str | Path, revision: str | None = None) -> Path:
    """Return the folder of anything that crossflare saves; see `folder_of`."""
    whole = [name for name, kind in KINDS.items() if FILES[kind.learns] == MODEL]
    return folder_of(place, revision, whole_models=whole)


def other_base(saved: Saved, name: str | None) -> ModelSpec | None:
    """Return the base that a caller names in place of the adapter's, at the adapter's revision if it is the same."""
    if name is None:
        return None
    return saved.base if name == saved.base.name else ModelSpec(name, quantise=saved.base.quantise)


def open_trained(folder: Path) -> Opened | OpenedTensors:
    """Check the files of a folder, of an adapter or of other tensors, as far as no model is needed.

    Raises:
        UserError: See `check_folder`.
    """
    name = tensors_in(folder)
    return check_folder(folder) if name is None else check_tensor_folder(folder, name)


def _task_of(card: Mapping[str, Any], adapter: Path) -> Task:
    task: dict[str, Any] = card.get("task") or {}
    name, labels = str(task.get("name")), task.get("labels")
    if labels is not None and task.get("texts") is not None:
        if (rules := task.get("normalisation")) is not None:
            return QuestionTask(name, 1, rules)
        if len(labels) > 1:
            said = TextTask(name, 1, tuple(labels), text_count=task["texts"])
            # An unknown metric may come from a later version: nothing is chosen by it here.
            main = str(task.get("main_metric"))
            return said.chosen_by(main) if main in get_args(Metric) else said
    raise UserError(f"{adapter}: its card does not say which labels it predicts; train it with `crossflare run`")


def _kind_of(card: Mapping[str, Any], adapter: Path) -> Kind:
    name = card.get("kind")
    if name is None:
        raise UserError(f"{adapter / CARD}: expected a kind of method, found none; train it with `crossflare run`")
    return KINDS["zero-shot" if name == STAGE1 else name]
