"""The learning curves of a training, sent to a tracker: TensorBoard, trackio or wandb, through accelerate.

A tracker changes nothing: the training, its id and its resuming are the same with any tracker and with none.
"""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.recipe.spec import Tracker

_log = logging.getLogger(__name__)

Tell = Callable[[int, Mapping[str, float]], None]
"""(optimizer step, values by name) -> None."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The destination of one training's curves."""

    tracker: Tracker
    project: str
    """The name of the recipe."""
    run: str
    """The name of the training for people: language, method and seed."""
    id: str
    """The id; a resumed training has the same one, so that its curves go on."""
    folder: Path
    """The folder for a tracker's files."""


_watched: ContextVar[Watched | None] = ContextVar("watched", default=None)


@contextmanager
def watching(watched: Watched) -> Generator[None]:
    """Send the curves of each training inside to the tracker."""
    before = _watched.set(watched)
    try:
        yield
    finally:
        _watched.reset(before)


def missing_tracker(tracker: Tracker) -> str:
    """Return the message for a tracker whose package is not installed; empty if it is installed."""
    if tracker == "none" or find_spec(tracker) is not None:
        return ""
    return f"track: {tracker} needs the package {tracker}; pip install {tracker}, or set track: none"


@contextmanager
def open_curves() -> Generator[Tell]:
    """Yield a function that sends a step's values to the tracker; without a tracker it does nothing.

    If a tracker fails later, its curves end with one warning; the training goes on.

    Raises:
        UserError: The tracker cannot be started.
    """
    from crossflare.training.loop import distributed

    watched = _watched.get()
    if watched is None or watched.tracker == "none" or not distributed.is_main():
        yield lambda step, values: None
        return
    tracker: Any = _start(watched)

    def tell(step: int, values: Mapping[str, float]) -> None:
        nonlocal tracker
        try:
            if tracker is not None:
                tracker.log(dict(values), step=step)
        except Exception as error:  # whatever the tracker's package raises
            _log.warning("%s", f"{watched.tracker} failed and is told nothing more: {_line(error)}")
            tracker = None

    try:
        yield tell
    finally:
        if tracker is not None:
            _finish(tracker, watched)


def _start(watched: Watched) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    if said := missing_tracker(watched.tracker):
        raise UserError(said)
    watched.folder.mkdir(parents=True, exist_ok=True)
    PartialState()  # accelerate's trackers write to its log, which needs this state
    try:
        match watched.tracker:
            case "tensorboard":
                tracker = TensorBoardTracker(watched.run, logging_dir=watched.folder)
            case "wandb":
                place = {"id": watched.id, "dir": str(watched.folder)}
                tracker = WandBTracker(watched.project, name=watched.run, resume="allow", **place)
            case _:
                tracker = TrackioTracker(watched.project, name=watched.run, resume="allow")
        tracker.start()
    except Exception as error:  # whatever the tracker's package raises
        said = f"{watched.tracker} cannot be started ({_line(error)}); set it up, or set track: none"
        raise UserError(said) from error
    return tracker


def _finish(tracker: Any, watched: Watched) -> None:
    try:
        tracker.finish()
    except Exception as error:  # whatever the tracker's package raises
        _log.warning("%s", f"{watched.tracker} could not end its curves: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
