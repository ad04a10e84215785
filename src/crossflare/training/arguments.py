"""Our settings in the words of transformers' Trainer."""

import math
from pathlib import Path

from transformers import TrainingArguments
from transformers.utils import logging as hf_logging

from crossflare.training import distributed
from crossflare.training.settings import Settings


def trainer_arguments(settings: Settings, steps: int, folder: Path) -> TrainingArguments:
    """Return `settings` in Trainer's words, with all of Trainer's own logging, scoring and saving off.

    Raises:
        UserError: A launcher started several processes, which have not joined.
    """
    distributed.check_joined()
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()  # it warns that processes know of each other and its Trainer does not
    arguments = TrainingArguments(
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
    hf_logging.set_verbosity(verbosity)
    return arguments
