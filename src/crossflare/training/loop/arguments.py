"""Our settings in the words of transformers' Trainer."""

import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.utils import logging as hf_logging

from crossflare import devices
from crossflare.libraries.guard import fail
from crossflare.training.loop import distributed
from crossflare.training.loop.settings import Settings

CHOICE = "ACCELERATE_TORCH_DEVICE"
"""The environment variable that accelerate takes a device from."""


class _Arguments(TrainingArguments):
    """Trainer's arguments, which keep to our choice of a device."""

    @property
    def device(self) -> torch.device:
        """The device that trains."""
        _ = super().device  # sets up the state that Trainer's helpers share
        return devices.best_device()


def trainer_arguments(settings: Settings, steps: int, folder: Path) -> TrainingArguments:
    """Return `settings` in Trainer's words, with all of Trainer's own logging, scoring and saving off.

    Raises:
        UserError: A launcher started several processes, which have not joined; or see `best_device`.
    """
    distributed.check_joined()
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()  # it warns that processes know of each other and its Trainer does not
    device = devices.best_device()
    with _chosen(device):
        arguments = _Arguments(
            output_dir=str(folder),
            max_steps=max(steps, 1),
            learning_rate=settings.lr,
            lr_scheduler_type="linear",
            # The first step of a warm-up has the rate 0: the only step there is would train nothing.
            warmup_steps=math.ceil(settings.warmup * steps) if steps > 1 else 0,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.clip,
            optim="adamw_torch_fused",
            seed=settings.seed,
            eval_strategy="no",
            save_strategy="no",
            logging_strategy="no",
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )
        shared = arguments.distributed_state
    hf_logging.set_verbosity(verbosity)
    if shared is None or shared.device != device:
        raise fail("accelerate", f"{CHOICE} in the environment")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return arguments


@contextmanager
def _chosen(device: torch.device) -> Generator[None]:
    """Tell accelerate, which moves batches, which device it is."""
    before = os.environ.get(CHOICE)
    os.environ[CHOICE] = str(device)
    try:
        yield
    finally:
        os.environ.pop(CHOICE)
        if before is not None:
            os.environ[CHOICE] = before
