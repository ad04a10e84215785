"""Trackers are told each step and each score, and nothing depends on them: not weights, nor whether training ends."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState, tracking
from accelerate.logging import get_logger

from crossflare.errors import UserError
from crossflare.training.loop.curves import Watched, missing_tracker, watching
from crossflare.training.loop.settings import Settings

SETTINGS = Settings(lr=1e-2, epochs=3, batch_size=8, max_length=16, precision="fp32", evaluations=3)


class Recorder:
    """What a tracker of accelerate looks like; it keeps what it is told."""

    refuses: int | None = None
    """The step at which it fails; 0: when it is started."""

    def __init__(self, project: str, **options: Any) -> None:
        self.project, self.options = project, options
        self.told: list[tuple[int, dict[str, float]]] = []
        self.ended = False
        MADE.append(self)

    def start(self) -> None:
        get_logger("recorder").debug("started")  # as accelerate's own do; its log needs accelerate's state
        if self.refuses == 0:
            raise ConnectionError("no\nnetwork")

    def log(self, values: dict[str, float], step: int) -> None:
        if step == self.refuses:
            raise ConnectionError("no\nnetwork")
        self.told.append((step, values))

    def finish(self) -> None:
        self.ended = True


MADE: list[Recorder] = []


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorder]]:
    monkeypatch.setattr(tracking, "TrackioTracker", Recorder)
    monkeypatch.setattr("crossflare.training.loop.curves.find_spec", lambda name: object())
    monkeypatch.setattr(Recorder, "refuses", None)
    PartialState._reset_state()  # pyright: ignore[reportPrivateUsage]
    MADE.clear()
    yield Recorder
    MADE.clear()


def watched(folder: Path, tracker: Any = "trackio") -> Any:
    return watching(Watched(tracker, "nusax", "flare, jv, seed 0", "0123abcd", folder / "curves"))


def test_every_step_and_every_score_is_told_and_the_weights_are_as_without(
    recorder: Any, lab: Any, new_model: Any, tmp_path: Path
) -> None:
    plain, told = new_model(), new_model()
    lab.run(tmp_path / "plain", SETTINGS, model=plain)
    with watched(tmp_path):
        _, outcome = lab.run(tmp_path / "told", SETTINGS, model=told)
    assert lab.weights_of(plain) == lab.weights_of(told)
    (tracker,) = MADE
    steps = [(step, values) for step, values in tracker.told if "loss" in values]
    assert [step for step, _ in steps] == list(range(1, outcome.steps + 1))
    assert steps[0][1]["lr"] == 0.0 < max(values["lr"] for _, values in steps) <= SETTINGS.lr
    scores = {step: values["dev"] for step, values in tracker.told if "dev" in values}
    assert scores == {point.step: point.score for point in outcome.curve}
    first = outcome.curve[0]
    assert first.loss == pytest.approx(sum(values["loss"] for _, values in steps[: first.step]) / first.step)
    assert tracker.ended
    assert (tracker.project, tracker.options) == ("nusax", {"name": "flare, jv, seed 0", "resume": "allow"})


def test_a_tracker_that_fails_costs_one_warning(
    recorder: Any, lab: Any, new_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(recorder, "refuses", 2)
    with watched(tmp_path):
        _, outcome = lab.run(tmp_path / "run", SETTINGS, model=new_model())
    assert outcome.steps > 2
    assert [step for step, _ in MADE[0].told] == [1]
    said = [record.message for record in caplog.records if "trackio" in record.message]
    assert said == ["trackio failed and is told nothing more: no network"]


def test_one_that_cannot_be_started_is_refused_before_a_step(
    recorder: Any, lab: Any, new_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "refuses", 0)
    model = new_model()
    before = lab.weights_of(model)
    with watched(tmp_path), pytest.raises(UserError, match=r"trackio cannot be started \(no network\); .*track: none"):
        lab.run(tmp_path / "run", SETTINGS, model=model)
    assert lab.weights_of(model) == before


def test_a_package_that_is_not_there_is_named(lab: Any, new_model: Any, tmp_path: Path) -> None:
    assert missing_tracker("none") == ""
    name: Any = "no_such_tracker"
    assert missing_tracker(name) == (
        "track: no_such_tracker needs the package no_such_tracker; pip install no_such_tracker, or set track: none"
    )
    with watched(tmp_path, name), pytest.raises(UserError, match="track: no_such_tracker needs the package"):
        lab.run(tmp_path / "run", SETTINGS, model=new_model())


def test_tensorboard_itself_reads_what_was_told(lab: Any, new_model: Any, tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with watched(tmp_path, "tensorboard"):
        _, outcome = lab.run(tmp_path / "run", SETTINGS, model=new_model())
    read = reading.EventAccumulator(str(tmp_path / "curves" / "flare, jv, seed 0"))
    read.Reload()
    assert [event.step for event in read.Scalars("loss")] == list(range(1, outcome.steps + 1))
    told = {event.step: event.value for event in read.Scalars("dev")}
    assert told == {point.step: struct.unpack("f", struct.pack("f", point.score))[0] for point in outcome.curve}
