"""transformers' Trainer, made to stop before a bad step, to weigh every example alike, and to save without pickle.

To Trainer a batch is all of an optimizer step, and a run that goes on one that begins with the steps still to be made:
it needs to know nothing of accumulation, of processes and of checkpoints. Only documented methods are overridden.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer

from crossflare.errors import UserError
from crossflare.libraries.transformers import checkpoint_activations
from crossflare.progress import Advance
from crossflare.training.loop import batching, checkpoints, distributed
from crossflare.training.loop.batching import StepSampler
from crossflare.training.loop.checkpoints import (
    BEST,
    OPTIMIZER,
    PROCESSES,
    RANDOM,
    WEIGHTS,
    Checkpoint,
    Tensors,
    copy_trained,
    random_states,
)
from crossflare.training.loop.flow import Flow, Interrupts
from crossflare.training.loop.memory import autocast
from crossflare.training.loop.state import Batch, Plan, Progress


class BatchPart(NamedTuple):
    """What this process computes of one batch."""

    positions: list[int]
    """Of all rows of the batch."""
    share: int
    """How many of them count here."""
    batch: Batch


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
        if plan.settings.activation_checkpointing:
            checkpoint_activations(model)
        super().__init__(model=model, args=plan.arguments)
        self.remove_callback(PrinterCallback)
        self._flow = Flow(self, advance, interrupts)
        self.add_callback(self._flow)

    @property
    def step(self) -> int:
        """How many optimizer steps were made, in all sittings."""
        return self.state.global_step + (self.resumed.step if self.resumed else 0)

    # Batches -----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the optimizer steps that are still to be made, as `training_step` takes them."""
        plan, settings = self.plan, self.plan.settings
        steps = StepSampler(
            plan.rows.lengths, settings.batch_size, settings.accumulation, settings.seed, plan.group,
            first=self.step, steps=plan.steps,
        )  # fmt: skip
        rows: Any = plan.rows  # a torch Dataset in all but name
        pinned, own = self.args.device.type == "cuda", torch.Generator()
        return DataLoader(rows, batch_sampler=steps, collate_fn=self._collate, pin_memory=pinned, generator=own)

    def _collate(self, rows: Sequence[Any]) -> dict[str, list[BatchPart]]:
        size = self.plan.settings.batch_size
        return {"parts": [self._part(rows[begin : begin + size]) for begin in range(0, len(rows), size)]}

    def _part(self, rows: Sequence[Any]) -> BatchPart:
        mine = batching.rows_of_process(rows, distributed.rank(), distributed.size(), self.plan.group)
        # Without a row of its own a process computes one all the same, and counts it as none.
        made = self.plan.collate(mine or rows[: self.plan.group])
        return BatchPart([row.position for row in rows], len(mine), made)

    # One step ----------------------------------------------------------------------------------------------------

    def take_up(self) -> None:
        """Give optimizer and schedule, once they are made, the state of the checkpoint."""
        if self.resumed is not None:
            state = self.resumed.state
            checkpoints.unpack_optimizer(self.optimizer, self.resumed.tensors[OPTIMIZER], state["optimizer"])
            self.lr_scheduler.load_state_dict(state["scheduler"])  # type: ignore[union-attr]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Add the gradients of the mean loss over the step's examples, each counting the same; return that loss.

        Raises:
            UserError: The loss or the gradient is not finite.
        """
        del model  # ours, which Trainer wraps where it sees several GPUs
        parts: list[BatchPart] = inputs["parts"]
        total = sum(len(part.positions) for part in parts)
        self.model.train()  # type: ignore[union-attr]
        if distributed.size() > 1:
            distributed.seed_step(self.plan.settings.seed, self.step)
        elif self.resumed is not None and self.step == self.resumed.step:
            checkpoints.unpack_random(self.resumed.tensors[RANDOM], self.resumed.state["random"])
        if self.step % self.plan.settings.steps(len(self.plan.rows), epochs=1) == 0:
            torch.empty((), dtype=torch.int64).random_()  # as a loader for each epoch drew: seeds mean what they meant
        random, losses = random_states(), [self._share_of(part, total) for part in parts]
        self.drew = self.drew or not all(map(torch.equal, random, random_states()))
        loss = self._agreed_loss(parts, losses)
        trained = [p for p in self.model.parameters() if p.requires_grad]  # type: ignore[union-attr]
        distributed.add_gradients(trained)
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        *values, size = torch.stack([*losses, norm.to(losses[0])]).tolist()
        if not all(math.isfinite(value) for value in (*values, size)):
            self._refuse_step(parts, values, size)
        self.progress.add_loss(sum(values) if loss is None else loss)
        return torch.stack(losses).sum()

    def _share_of(self, part: BatchPart, total: int) -> Tensor:
        """Return a part's share of the mean loss over the step's `total` examples; its gradients are added."""
        batch = {name: tensor.to(self.args.device) for name, tensor in part.batch.items()}
        with autocast(self.plan.precision, self.args.device):
            loss = self.plan.loss(self.model, batch, self.step)
        share = loss * (part.share / total)
        share.backward()
        return share.detach()

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: nobody asks."""
        return 0

    def _agreed_loss(self, parts: Sequence[BatchPart], losses: list[Tensor]) -> float | None:
        """Meet the other processes: return the loss of all, and agree on what is to be done after the step."""
        if distributed.size() == 1:
            return None
        values = torch.stack(losses).tolist()
        if not all(map(math.isfinite, values)):
            self._refuse_step(parts, values, math.nan)
        words = distributed.meet({"loss": sum(values), "drew": self.drew, **self._flow.local_requests()})
        self.drew = any(word["drew"] for word in words)
        self._flow.apply_agreed(words)
        return math.fsum(word["loss"] for word in words)

    def _refuse_step(self, parts: Sequence[BatchPart], losses: Sequence[float], norm: float) -> None:
        bad = [i for i, loss in enumerate(losses) if not math.isfinite(loss)]
        what = f"the loss is {losses[bad[0]]}" if bad else f"the norm of the gradient is {norm}"
        guilty = [parts[i] for i in bad] or parts
        names = [self.plan.rows.names[i] for part in guilty for i in part.positions]
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

    # Evaluation and checkpoints ----------------------------------------------------------------------------------

    def score_dev(self) -> None:
        """Score the model on dev, keep the weights if it is the best so far, and note when patience has run out."""
        measure, settings = self.plan.score, self.plan.settings
        score = distributed.from_main(lambda: measure(self.model, self.plan.precision)) if measure else None
        if self.progress.add_point(self.step, score) and settings.select == "best":
            self.best = copy_trained(self.model)
        if settings.patience is not None and self.progress.without_gain >= settings.patience:
            self.progress.stopped = True

    def save(self) -> None:
        """Write a checkpoint; the first process does."""
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
        tensors |= {} if self.best is None else {BEST: self.best}
        checkpoints.write_checkpoint(self.plan.folder, Checkpoint(self.step, tensors, state))
        self.save_took = time.monotonic() - start
