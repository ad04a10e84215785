"""The curves of a training, told to a tracker that a person watches: TensorBoard, trackio or wandb, through accelerate.

A tracker decides nothing: what is trained, its id and its resuming are the same with any tracker and with none.
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
    """Where the curves of one training go."""

    tracker: Tracker
    project: str
    """The name of the recipe."""
    run: str
    """What a person calls the training: language, method and seed."""
    id: str
    """A training that is resumed has the same id, so that its curves go on."""
    folder: Path
    """Where a tracker may put files."""


_watched: ContextVar[Watched | None] = ContextVar("watched", default=None)


@contextmanager
def watching(watched: Watched) -> Generator[None]:
    """Tell the tracker of each training inside."""
    before = _watched.set(watched)
    try:
        yield
    finally:
        _watched.reset(before)


def missing_tracker(tracker: Tracker) -> str:
    """Return what to say where the package of a tracker is not installed; nothing where it is."""
    if tracker == "none" or find_spec(tracker) is not None:
        return ""
    return f"track: {tracker} needs the package {tracker}; pip install {tracker}, or set track: none"


@contextmanager
def open_curves() -> Generator[Tell]:
    """Yield a function that tells the tracker of a step; it does nothing where none is asked for.

    A tracker that fails later on costs its curves and one warning, never the training.

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
    PartialState()  # its trackers write into its log, which refuses to work without
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
