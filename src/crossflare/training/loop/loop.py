"""The training loop: one optimizer step after another, each over all its batches.

    rows of the next step -> batches -> forward and backward of each      the gradients add up to the mean loss's
    losses and gradient finite?                                           otherwise the step is refused
    clip -> optimizer -> schedule
    score dev, save, stop                                                 when each is due

Every example of a step counts the same, whichever batch and process computes it: more accumulation or more processes
make the same step. Each of several processes computes its share of every batch; `distributed` has their exchange.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_linear_schedule_with_warmup, set_seed

from crossflare.errors import UserError
from crossflare.progress import Advance
from crossflare.training.loop import checkpoints, distributed
from crossflare.training.loop.batching import rows_of_process, step_rows
from crossflare.training.loop.checkpoints import Checkpoint, Tensors, copy_trained, random_states
from crossflare.training.loop.curves import Tell
from crossflare.training.loop.interrupts import Interrupts
from crossflare.training.loop.memory import autocast
from crossflare.training.loop.settings import Settings
from crossflare.training.loop.state import Plan, Progress


class TrainingLoop:
    """The training of `model`, which is on the plan's device, from the beginning or from a checkpoint.

    Raises:
        UserError: The loss or the gradient of a step is not finite, or a checkpoint cannot be written.
    """

    def __init__(
        self, model: Any, plan: Plan, resumed: Checkpoint | None, advance: Advance, tell: Tell, interrupts: Interrupts
    ) -> None:
        self.model, self.plan, self.interrupts = model, plan, interrupts
        self.advance, self.tell = advance, tell
        self.trained = list(checkpoints.trained(model).values())
        self.optimizer = new_optimizer(model, plan.settings)
        self.schedule = new_schedule(self.optimizer, plan.settings, plan.steps)
        self.step = 0
        """The number of optimizer steps made, including those before a resume."""
        self.progress = Progress()
        self.best: Tensors | None = None
        """The weights of the best score on dev."""
        self.drew = False
        """Whether a step has drawn random numbers, as dropout does: results then depend on the number of processes."""
        set_seed(plan.settings.seed)
        if resumed is not None:
            self._take_up(resumed)
        self._began = time.monotonic() - self.progress.seconds
        self._saved, self._save_took = time.monotonic(), 0.0
        wanted = plan.settings.evaluations
        self._evaluations = {-(-plan.steps * k // wanted) for k in range(1, wanted + 1)}

    def run(self) -> None:
        """Make the remaining steps; a signal ends the run once the current step is saved."""
        plan, settings = self.plan, self.plan.settings
        self.optimizer.zero_grad()
        self.model.train()
        for places in step_rows(plan.rows.lengths, settings, plan.group, self.step, plan.steps, plan.labels):
            rows = [plan.rows[place] for place in places]
            size = settings.batch_size
            late, signal = self.make_step([rows[begin : begin + size] for begin in range(0, len(rows), size)])
            self.advance(1, note=self.progress.note)
            evaluated = self.step in self._evaluations
            if evaluated:
                self._score_dev()
            due = late if settings.save_steps is None else self.step % settings.save_steps == 0
            if distributed.size() == 1:
                signal = self.interrupts.received  # includes a signal that came while dev was scored
            if evaluated or due or signal:
                distributed.from_main(self._save)
                self._saved = time.monotonic()
            if signal:
                self.interrupts.received = signal  # a signal of any process
                self.interrupts.act()
            if self.progress.stopped:
                return

    # One step ----------------------------------------------------------------------------------------------------

    def make_step(self, batches: Sequence[Sequence[Any]]) -> tuple[bool, int]:
        """Make one optimizer step; return whether the first process's clock says to save, and any signal."""
        self._place_random()
        random, total = random_states(), sum(map(len, batches))
        losses = torch.stack([self._backward(batch, total) for batch in batches]).tolist()
        self.drew = self.drew or not all(map(torch.equal, random, random_states()))
        if bad := [batch for batch, loss in zip(batches, losses, strict=True) if not math.isfinite(loss)]:
            value = next(loss for loss in losses if not math.isfinite(loss))
            self._refuse_step(bad, f"the loss is {value}")
        words = distributed.meet(
            {"loss": sum(losses), "drew": self.drew, "late": self._late(), "signal": self.interrupts.received or 0}
        )
        distributed.add_gradients(self.trained)
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(size := norm.item()):
            self._refuse_step(batches, f"the norm of the gradient is {size}")
        torch.nn.utils.clip_grads_with_norm_(self.trained, self.plan.settings.clip, norm)
        self.optimizer.step()
        lr = float(self.schedule.get_last_lr()[0])
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.progress.add_loss(loss := math.fsum(word["loss"] for word in words))
        self.tell(self.step, {"loss": loss, "lr": lr, "gradient_norm": size})
        self.drew = any(word["drew"] for word in words)
        return words[0]["late"], max(word["signal"] for word in words)

    def _place_random(self) -> None:
        """Set the random generators to where this step begins, whichever process makes it, and when."""
        settings = self.plan.settings
        if distributed.size() > 1:
            distributed.seed_step(settings.seed, self.step)
        if self.step % settings.steps(len(self.plan.rows), epochs=1) == 0:
            torch.empty((), dtype=torch.int64).random_()  # DataLoader drew once per epoch: seeds keep their meaning

    def _backward(self, rows: Sequence[Any], total: int) -> Tensor:
        """Add the gradients of this process's share of a batch to the step's; return its share of the loss.

        Args:
            rows: All rows of the batch.
            total: The number of rows of the whole step.
        """
        mine = rows_of_process(rows, distributed.rank(), distributed.size(), self.plan.group)
        # A process without a row of its own still computes one item, with weight 0.
        batch = self.plan.collate(mine or rows[: self.plan.group])
        batch = {name: tensor.to(self.plan.device) for name, tensor in batch.items()}
        with autocast(self.plan.precision, self.plan.device):
            loss = self.plan.loss(self.model, batch, self.step)
        share = loss * (len(mine) / total)
        share.backward()
        return share.detach()

    def _late(self) -> bool:
        # Large models are saved less often: saving takes at most a twentieth of the time.
        return time.monotonic() - self._saved >= max(self.plan.settings.save_seconds, 20 * self._save_took)

    def _refuse_step(self, batches: Sequence[Sequence[Any]], what: str) -> None:
        names = [self.plan.rows.names[int(row.position)] for batch in batches for row in batch]
        shown = ", ".join(names[:64]) + (f" and {len(names) - 64} more" if len(names) > 64 else "")
        found = sorted(path.name for path in self.plan.folder.glob("step-*"))
        last = (
            f"the last good checkpoint is {self.plan.folder / found[-1]}" if found else "no checkpoint was written yet"
        )
        raise UserError(
            f"training stopped before step {self.step + 1}: {what}, on the rows {shown}; {last}; lower "
            "lr, set precision to fp32, or look at these rows",
            "numbers",
        )

    # Between two steps -------------------------------------------------------------------------------------------

    def _score_dev(self) -> None:
        """Score the model on dev, keep the weights if it is the best so far, and check whether patience has run out."""
        measure, settings = self.plan.score, self.plan.settings
        score = distributed.from_main(lambda: measure(self.model, self.plan.precision)) if measure else None
        self.model.train()
        if score is not None:
            self.tell(self.step, {"dev": score})
        if self.progress.add_point(self.step, score) and settings.select == "best":
            self.best = copy_trained(self.model)
        self.progress.stopped = settings.patience is not None and self.progress.without_gain >= settings.patience

    def _save(self) -> None:
        """Write a checkpoint."""
        start = time.monotonic()
        self.progress.seconds = start - self._began
        optimizer, numbers = checkpoints.pack_optimizer(self.optimizer)
        generators, words = checkpoints.pack_random()
        tensors = {
            checkpoints.WEIGHTS: copy_trained(self.model),
            checkpoints.OPTIMIZER: optimizer,
            checkpoints.RANDOM: generators,
        }
        tensors |= {} if self.best is None else {checkpoints.BEST: self.best}
        state = {
            "fingerprint": self.plan.fingerprint | ({checkpoints.PROCESSES: self.plan.processes} if self.drew else {}),
            "progress": self.progress.as_json(),
            "optimizer": numbers,
            "scheduler": self.schedule.state_dict(),
            "random": words,
        }
        checkpoints.write_checkpoint(self.plan.folder, Checkpoint(self.step, tensors, state))
        self._save_took = time.monotonic() - start

    def _take_up(self, resumed: Checkpoint) -> None:
        """Restore everything that `_save` wrote, except the weights."""
        state = resumed.state
        self.step, self.best = resumed.step, resumed.tensors.get(checkpoints.BEST)
        self.progress = Progress.from_json(state["progress"])
        self.drew = checkpoints.PROCESSES in state["fingerprint"]
        checkpoints.unpack_optimizer(self.optimizer, resumed.tensors[checkpoints.OPTIMIZER], state["optimizer"])
        self.schedule.load_state_dict(state["scheduler"])
        checkpoints.unpack_random(resumed.tensors[checkpoints.RANDOM], state["random"])


def new_optimizer(model: Any, settings: Settings) -> AdamW:
    """Return AdamW over the trained parameters; biases and norms, which have one dimension, do not decay."""
    decaying: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in checkpoints.trained(model).items():
        (others if parameter.ndim < 2 or "bias" in name else decaying).append(parameter)
    groups = [{"params": decaying, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return AdamW(groups, lr=settings.lr, fused=True)


def new_schedule(optimizer: torch.optim.Optimizer, settings: Settings, steps: int) -> LambdaLR:
    """Return the learning rate schedule of `steps` optimizer steps: up in the warm-up, then down to 0."""
    # The first step of a warm-up has the rate 0: a run of one step would train nothing.
    warmup = math.ceil(settings.warmup * steps) if steps > 1 else 0
    return get_linear_schedule_with_warmup(optimizer, warmup, steps)
