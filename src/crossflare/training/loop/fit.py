"""One way of training for every stage, method and task: a loss, rows, and a run that can be resumed."""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from crossflare import devices
from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.libraries.transformers import checkpoint_activations, without_cache
from crossflare.progress import bar
from crossflare.training.loop import checkpoints, distributed
from crossflare.training.loop.balance import label_weights, weighing
from crossflare.training.loop.batching import check_groups
from crossflare.training.loop.checkpoints import (
    BEST,
    PROCESSES,
    Checkpoint,
    Fingerprint,
    put_trained,
    tensors_digest,
    trained,
)
from crossflare.training.loop.curves import open_curves
from crossflare.training.loop.interrupts import Interrupts
from crossflare.training.loop.loop import TrainingLoop
from crossflare.training.loop.memory import free_memory, ran_out, resolve
from crossflare.training.loop.settings import Settings, few_steps
from crossflare.training.loop.state import Batch, Loss, Plan, Point, Progress, Rows, Score

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a run, besides the model itself."""

    best_score: float | None
    """The best score on dev; None without dev rows."""
    chosen: int
    """The step whose weights the model now has."""
    steps: int
    """The number of optimizer steps made."""
    curve: tuple[Point, ...]
    seconds: float
    """The wall time of all parts of a resumed run, without loading."""
    resumed_from: int | None
    """The step of the checkpoint that the run was resumed from."""
    precision: str


def fit(
    model: Any,
    rows: Rows,
    collate: Callable[[Sequence[Any]], Batch],
    loss: Loss,
    score: Score | None,
    settings: Settings,
    folder: Path,
    identity: Fingerprint,
    *,
    base_digest: str | None = None,
    group: int = 1,
    labels: Sequence[int | None] | None = None,
) -> Outcome:
    """Train the parameters of `model` that require a gradient, from the newest checkpoint in `folder` if there is one.

    A run that was killed at any moment and started again ends with exactly the weights of an undisturbed one (on a CPU,
    with the same number of threads). Afterwards the model is on the best device, in evaluation mode, with the chosen
    weights. The checkpoints stay until the caller deletes the folder, so that running again costs nothing.

    Args:
        model: Any model with a loss.
        rows: Training rows.
        collate: A function that turns rows into a batch with `input_ids`.
        loss: The mean loss of a batch.
        score: The model's score on dev, higher is better; None: the weights of the last step are kept.
        settings: The settings.
        folder: The folder of the checkpoints.
        identity: What else the result depends on, as JSON: the data's digests, the task, the tokenizer.
        base_digest: The base's digest if known; computed from the frozen parameters otherwise.
        group: The number of consecutive rows that are one item and stay together in a batch.
        labels: The rows' labels [N]; only `settings.balance` needs them.

    Raises:
        UserError: There are no rows or no parameters to train, a loss or gradient is not finite, the disk or memory is
            full, the checkpoint is of another run, all checkpoints are damaged, another process trains in the folder,
            or the number of rows or batch_size is not a multiple of `group`.
    """
    if not trained(model):
        raise UserError("the model has nothing to train: no parameter requires a gradient; add an adapter or unfreeze")
    if not len(rows):
        raise UserError("there are no training rows; check the split and what was filtered out")
    if score is None and settings.patience is not None:
        raise UserError("patience needs dev rows to score; give some, or leave patience out")
    if settings.balance != "none" and not labels:
        raise UserError(f"balance: {settings.balance} is for labels, and these rows have none; leave it out")
    known = np.array(labels) if labels and settings.balance != "none" else None
    if known is not None and settings.balance == "weights":
        collate = weighing(collate, label_weights(known))
    distributed.check_joined()
    check_groups(len(rows), settings.batch_size, group, distributed.size())
    steps = settings.steps(len(rows))
    if caution := few_steps(steps):
        _log.warning("%s", caution)
    with checkpoints.locked(folder) if distributed.is_main() else nullcontext():
        device = devices.best_device()
        if device.type == "cuda":
            torch.cuda.set_device(device)  # its random generator is part of a checkpoint
        precision = resolve(settings.precision, device)
        whole = {**identity, **({"group": group} if group > 1 else {})}
        fingerprint = _fingerprint(model, settings, whole, base_digest, precision, device)
        _check_alike(fingerprint)
        found = _newest(folder, fingerprint)
        plan = Plan(
            rows, collate, loss, score, settings, precision, steps, folder, fingerprint, device, group,
            distributed.size(), known if settings.balance == "sampling" else None,
        )  # fmt: skip
        return _run(model, plan, found)


def _check_alike(fingerprint: Fingerprint) -> None:
    """Refuse processes that would train differently, for example on different machines or from different files.

    Raises:
        UserError: Their fingerprints differ; the message names the fields.
    """
    first, *others = distributed.meet({name: content_id([value])[:8] for name, value in fingerprint.items()})
    for place, other in enumerate(others, 1):
        if unlike := sorted(name for name in first if first[name] != other.get(name)):
            raise UserError(
                f"processes 0 and {place} of the run differ in {', '.join(unlike)}; start them alike, on machines that "
                "share the files"
            )


def _newest(folder: Path, fingerprint: Fingerprint) -> tuple[Path, Checkpoint] | None:
    """Return the checkpoint to go on from; the first process chooses it, and deletes damaged ones."""
    processes, found = distributed.size(), None

    def choose() -> str | None:
        nonlocal found
        if (found := checkpoints.newest(folder)) is None:
            return None
        stored = found[1].state["fingerprint"]
        now = fingerprint | ({PROCESSES: processes} if PROCESSES in stored else {})
        checkpoints.compare(stored, now, found[0])
        return found[0].name

    name = distributed.from_main(choose)
    return found if name is None or found else (folder / name, checkpoints.read_checkpoint(folder / name))


def _run(model: Any, plan: Plan, found: tuple[Path, Checkpoint] | None) -> Outcome:
    resumed = found[1] if found else None
    progress = Progress.from_json(resumed.state["progress"]) if resumed else Progress()
    step, best = (resumed.step, resumed.tensors.get(BEST)) if resumed else (0, None)
    devices.to_device(model)  # before it scores or trains
    if resumed is not None:
        put_trained(model, resumed.tensors[checkpoints.WEIGHTS])
    if plan.steps == 0 and (measure := plan.score) is not None:
        progress.add_point(0, distributed.from_main(lambda: measure(model, plan.precision)))
    if step < plan.steps and not progress.stopped:
        free_memory()
        if plan.settings.activation_checkpointing:
            checkpoint_activations(model)
        try:
            with (
                without_cache(model.config),
                bar("training", plan.steps, step) as advance,
                open_curves() as tell,
                Interrupts() as interrupts,
            ):
                loop = TrainingLoop(model, plan, resumed, advance, tell, interrupts)
                loop.run()
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            half = max(1, plan.settings.batch_size // 2)
            raise UserError(
                f"the device has too little memory for batch_size {plan.settings.batch_size}; set batch_size: {half} "
                f"and accumulation: {plan.settings.accumulation * 2}, or activation_checkpointing: true, in the "
                "stage of the recipe that failed"
            ) from error
        step, best, progress = loop.step, loop.best, loop.progress
    chosen = step
    if best is not None and plan.settings.select == "best":
        put_trained(model, best)
        chosen = progress.best_step
    model.eval()
    return Outcome(
        progress.best_score,
        chosen,
        step,
        tuple(progress.curve),
        progress.seconds,
        None if resumed is None else resumed.step,
        plan.precision,
    )


def _fingerprint(
    model: Any, settings: Settings, identity: Fingerprint, base_digest: str | None, precision: str, device: torch.device
) -> Fingerprint:
    ours = trained(model)
    frozen = {name: p for name, p in model.named_parameters() if name not in ours} | dict(model.named_buffers())
    adapters = {
        name: config.to_dict() for name, config in (model.peft_config if isinstance(model, PeftModel) else {}).items()
    }
    return {
        **identity,
        **settings.deciding(),
        "precision": precision,
        "base": base_digest or tensors_digest(frozen),
        "start": tensors_digest(dict(ours)),
        "adapter": content_id(json.loads(json.dumps(adapters, default=_plain))),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "peft": version("peft"),
        "device": devices.name_of(device),
        "threads": torch.get_num_threads(),
    }


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
