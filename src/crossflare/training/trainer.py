"""transformers' Trainer, made to stop before a bad step, to weigh every example alike, and to save without pickle.

What is overridden here are methods that `Trainer` does not promise to keep; `tests/training/test_trainer.py` names
the version they were read in and fails when one is gone.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from crossflare.errors import UserError
from crossflare.progress import Advance
from crossflare.training import batching, checkpoints, distributed
from crossflare.training.batching import GroupedSampler
from crossflare.training.checkpoints import (
    BEST,
    OPTIMIZER,
    PROCESSES,
    RANDOM,
    WEIGHTS,
    Checkpoint,
    Fingerprint,
    random_states,
)
from crossflare.training.flow import Flow
from crossflare.training.interrupts import Interrupts
from crossflare.training.precision import Number, autocast
from crossflare.training.progress_state import Progress
from crossflare.training.settings import Settings
from crossflare.training.weights import Tensors, copy_trained, put_trained

Batch = dict[str, Tensor]
Loss = Callable[[Any, Batch, int], Tensor]
"""(model, batch, optimizer steps made so far) -> mean loss over the batch's examples."""
Score = Callable[[Any, Number], float]
"""(model, precision) -> score on dev, higher is better."""


class Rows(Protocol):
    """N training rows, each with its own `position`, as `collators.Encoded` has them."""

    @property
    def names(self) -> Sequence[str]:
        """[N] ids, for messages."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] tokens."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All that a run is made of, beside the model."""

    rows: Rows
    collate: Callable[[Sequence[Any]], Batch]
    loss: Loss
    score: Score | None
    settings: Settings
    precision: Number
    steps: int
    folder: Path
    """Of the checkpoints."""
    fingerprint: Fingerprint
    arguments: TrainingArguments
    group: int = 1
    """Consecutive rows that stay together in a batch."""
    processes: int = 1


class SafeTrainer(Trainer):
    """Trains `plan`; whatever must outlive a kill is in `progress` and in `best`."""

    def __init__(
        self, model: Any, plan: Plan, resumed: Checkpoint | None, advance: Advance, interrupts: Interrupts
    ) -> None:
        self.plan, self.resumed = plan, resumed
        self.progress = Progress.from_json(resumed.state["progress"]) if resumed else Progress()
        self.best: Tensors | None = resumed.tensors.get(BEST) if resumed else None
        self._began = time.monotonic() - self.progress.seconds
        self.save_took = 0.0
        self.drew = resumed is not None and PROCESSES in resumed.state["fingerprint"]
        """Whether a step has drawn random numbers, as dropout does: results then depend on how many processes draw."""
        self._random: list[Tensor] = []
        self._batches: list[Tensor] = []
        self._shares: list[int] = []
        self._losses: list[Tensor] = []
        super().__init__(
            model=model,
            args=plan.arguments,
            train_dataset=plan.rows,  # type: ignore[arg-type]  # a torch Dataset in all but name
            data_collator=self._collate,
            # Tells Trainer that the loss is already divided by the examples of the whole optimizer step.
            compute_loss_func=_never_called,
        )
        self.model_accepts_loss_kwargs = False  # else the model is handed a `num_items_in_batch`, and may ignore it
        self.remove_callback(PrinterCallback)
        self._flow = Flow(self, advance, interrupts)
        self.add_callback(self._flow)

    # Batches -----------------------------------------------------------------------------------------------------

    def _collate(self, rows: Sequence[Any]) -> Batch:
        """Return this process's share of a batch, and the positions of all its rows."""
        mine = batching.share(rows, distributed.rank(), distributed.size(), self.plan.group)
        # Without a row of its own a process computes one all the same, and counts it as none.
        made = self.plan.collate(mine or rows[: self.plan.group])
        return {**made, "positions": torch.tensor([row.position for row in rows]), "share": torch.tensor(len(mine))}

    def _get_train_sampler(self, train_dataset: Any = None) -> GroupedSampler:
        settings = self.plan.settings
        return GroupedSampler(self.plan.rows.lengths, settings.batch_size, settings.seed, self.plan.group)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Take the batches of one optimizer step; note which rows they hold, and count them."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._batches = [batch.pop("positions") for batch in batches]
        self._shares = [int(batch.pop("share")) for batch in batches]
        self._losses = []
        if distributed.size() > 1:
            distributed.seed_step(self.plan.settings.seed, self.state.global_step)
        self._random = random_states()
        return batches, sum(len(positions) for positions in self._batches)

    # One step ----------------------------------------------------------------------------------------------------

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the batch's share of the mean loss over the optimizer step's examples: each counts the same."""
        examples = self._shares[len(self._losses)]
        with autocast(self.plan.precision, self.args.device):
            loss = self.plan.loss(model, inputs, self.state.global_step)
        share = loss * (examples / int(num_items_in_batch))
        self._losses.append(share.detach())
        return share

    def _clip_grad_norm(self, model: Any) -> Any:
        self.drew = self.drew or not all(map(torch.equal, self._random, random_states()))
        loss = self._agreed_loss()
        distributed.add_gradients([p for p in model.parameters() if p.requires_grad])
        norm = super()._clip_grad_norm(model)
        *losses, size = torch.stack([*self._losses, torch.as_tensor(norm, device=self.args.device)]).tolist()
        if not all(math.isfinite(value) for value in (*losses, size)):
            self._refuse_step(losses, size)
        self.progress.add_loss(sum(losses) if loss is None else loss)
        return norm

    def _agreed_loss(self) -> float | None:
        """Meet the other processes: return the loss of all, and agree on what is to be done after the step."""
        if distributed.size() == 1:
            return None
        losses = torch.stack(self._losses).tolist()
        if not all(map(math.isfinite, losses)):
            self._refuse_step(losses, math.nan)
        words = distributed.meet({"loss": sum(losses), "drew": self.drew, **self._flow.wishes()})
        self.drew = any(word["drew"] for word in words)
        self._flow.heed(words)
        return math.fsum(word["loss"] for word in words)

    def _refuse_step(self, losses: list[float], norm: float) -> None:
        bad = [i for i, loss in enumerate(losses) if not math.isfinite(loss)]
        what = f"the loss is {losses[bad[0]]}" if bad else f"the norm of the gradient is {norm}"
        guilty = [self._batches[i] for i in bad] or self._batches
        names: list[str] = [self.plan.rows.names[int(i)] for positions in guilty for i in positions.tolist()]
        shown = ", ".join(names[:64]) + (f" and {len(names) - 64} more" if len(names) > 64 else "")
        found = sorted(path.name for path in self.plan.folder.glob("step-*"))
        last = (
            f"the last good checkpoint is {self.plan.folder / found[-1]}" if found else "no checkpoint was written yet"
        )
        raise UserError(
            f"training stopped before step {self.state.global_step + 1}: {what}, on the rows {shown}; {last}; lower "
            "lr, set precision to fp32, or look at these rows",
            "numbers",
        )

    # Evaluation and checkpoints ----------------------------------------------------------------------------------

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the model on dev, keep the weights if it is the best so far, and stop when patience has run out."""
        measure = self.plan.score
        score = distributed.from_main(lambda: measure(self.model, self.plan.precision)) if measure else None
        settings = self.plan.settings
        if self.progress.add_point(self.state.global_step, score) and settings.select == "best":
            self.best = copy_trained(self.model)
        if settings.patience is not None and self.progress.without_gain >= settings.patience:
            self.progress.stopped = self.control.should_training_stop = True
        self.control.should_evaluate, self.control.should_save = False, True
        return {} if score is None else {"eval_score": score}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        distributed.from_main(self._write_checkpoint)

    def _write_checkpoint(self) -> None:
        start = time.monotonic()
        self.progress.seconds = start - self._began
        optimizer, numbers = checkpoints.pack_optimizer(self.optimizer)
        generators, words = checkpoints.pack_random()
        tensors = {WEIGHTS: copy_trained(self.model), OPTIMIZER: optimizer, RANDOM: generators}
        state = {
            "fingerprint": self.plan.fingerprint | ({PROCESSES: self.plan.processes} if self.drew else {}),
            "progress": self.progress.as_json(),
            "optimizer": numbers,
            "scheduler": self.lr_scheduler.state_dict(),  # type: ignore[union-attr]
            "random": words,
        }
        checkpoints.write(
            self.plan.folder,
            Checkpoint(
                self.state.global_step,
                tensors if self.best is None else {**tensors, BEST: self.best},
                state,
                json.loads(json.dumps(dataclasses.asdict(self.state))),
            ),
        )
        self.save_took = time.monotonic() - start

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        put_trained(self.model, self._resumed.tensors[WEIGHTS])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            read = self._resumed
            checkpoints.unpack_optimizer(self.optimizer, read.tensors[OPTIMIZER], read.state["optimizer"])
            self.lr_scheduler.load_state_dict(read.state["scheduler"])  # type: ignore[union-attr]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        # Several processes seed themselves at every step, and come here when that is done.
        if checkpoint is not None and distributed.size() == 1:
            checkpoints.unpack_random(self._resumed.tensors[RANDOM], self._resumed.state["random"])

    def _load_scaler(self, checkpoint: str | None) -> None:
        """bfloat16 needs no loss scaling: there is nothing to load."""

    @property
    def _resumed(self) -> Checkpoint:
        assert self.resumed is not None
        return self.resumed


def _never_called(*_: Any, **__: Any) -> Tensor:
    raise AssertionError("SafeTrainer.compute_loss computes the loss")
