"""What is done between two steps: when to evaluate and to save, and that a signal waits for the checkpoint."""

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from transformers import TrainerCallback

from crossflare.progress import Advance
from crossflare.training.loop.state import Plan, Progress

_HANG_UP = getattr(signal, "SIGHUP", None)
"""What a process gets whose terminal was closed; Windows knows no such thing."""


_ENDING = [number for number in (signal.SIGINT, signal.SIGTERM, _HANG_UP) if number is not None]


class Interrupts:
    """While entered, remembers the first signal; a second one acts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set handlers
            for number in _ENDING:
                if number != _HANG_UP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if error is None:  # a signal after the last look is not forgotten
            self.act()

    def act(self) -> None:
        """Raise what the signal stands for, if there was one."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = number
        if again:
            self.act()


class TrainingRun(Protocol):
    """The training run that a flow looks after."""

    plan: Plan
    progress: Progress
    save_took: float
    """Seconds that the last checkpoint took."""

    @property
    def step(self) -> int:
        """Optimizer steps made so far."""
        ...

    def take_up(self) -> None:
        """Give optimizer and schedule the state of the checkpoint."""
        ...

    def score_dev(self) -> None:
        """Close a point of the learning curve."""
        ...

    def save(self) -> None:
        """Write a checkpoint."""
        ...


class Flow(TrainerCallback):
    """Decides after each step whether to evaluate and to save, and passes a signal on once all is saved."""

    def __init__(self, trainer: TrainingRun, advance: Advance, interrupts: Interrupts) -> None:
        self.trainer, self.advance, self.interrupts = trainer, advance, interrupts
        plan = trainer.plan
        self.saved = time.monotonic()
        self.late: bool | None = None
        """Whether a checkpoint is due, as several processes have agreed."""
        self.evaluations = {
            -(-plan.steps * k // plan.settings.evaluations) for k in range(1, plan.settings.evaluations + 1)
        }

    def local_requests(self) -> dict[str, Any]:
        """Return what this process asks for after the step: its clock and its signals are its own."""
        return {"late": self._late(), "signal": self.interrupts.received or 0}

    def apply_agreed(self, words: Sequence[dict[str, Any]]) -> None:
        """Follow the first process's clock, and any process's signal."""
        self.late = words[0]["late"]
        self.interrupts.received = max(word["signal"] for word in words) or None

    def _late(self) -> bool:
        # Large models are saved less often: at most a twentieth of the time goes into it.
        settings = self.trainer.plan.settings
        return time.monotonic() - self.saved >= max(settings.save_seconds, 20 * self.trainer.save_took)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Give optimizer and schedule, which are new, the state of the checkpoint."""
        self.trainer.take_up()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar and do what is due; once all is saved, do what a signal asked for."""
        trainer, settings = self.trainer, self.trainer.plan.settings
        self.advance(1, note=trainer.progress.note)
        evaluated = trainer.step in self.evaluations
        if evaluated:
            trainer.score_dev()
        if settings.save_steps is not None:
            due = trainer.step % settings.save_steps == 0
        else:
            due = self._late() if self.late is None else self.late
        if evaluated or due or self.interrupts.received is not None:
            trainer.save()
            self.saved = time.monotonic()
            self.interrupts.act()
        if trainer.step >= trainer.plan.steps or trainer.progress.stopped:
            control.should_training_stop = True
