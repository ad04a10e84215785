"""Scheduled sampling of the source: at first mostly the labelled text is read, later mostly the machine-made one."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crossflare.errors import UserError
from crossflare.training.loop.state import Batch
from crossflare.training.text.collators import CLEAN, CLEAN_ROWS


@dataclass(frozen=True, slots=True)
class Annealing:
    """The schedule of X-Mixup (Yang et al., ICLR 2022): probability p = k / (k + exp(step / k)) of the labelled text.

    Raises:
        UserError: k is not above 0.
    """

    k: float = 1000.0
    """Steps; the paper takes 1000 for classification and 2000 for questions."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k) and self.k > 0):
            raise UserError(f"annealed source: expected k above 0, got {self.k:g}")

    def probability(self, step: int) -> float:
        """Return p after so many optimizer steps."""
        return 1 / (1 + math.exp(min(step / self.k - math.log(self.k), 700.0)))

    def draws(self, step: int, rows: Tensor) -> Tensor:
        """Return which of some rows [B] read the labelled text in a step, [B] bool.

        It depends on seed, step and row alone: not on the batch's other rows, nor on what was drawn before.
        """
        chances = [np.random.default_rng([self.seed, step, row]).random() for row in rows.tolist()]
        return torch.tensor([chance < self.probability(step) for chance in chances], device=rows.device)

    def pick(self, batch: Batch, step: int) -> Batch:
        """Return a batch with one source for each row; one whose rows have no choice comes back as it is."""
        if CLEAN_ROWS not in batch:
            return batch
        clean = self.draws(step, batch[CLEAN_ROWS])[:, None]
        rest = machine_made(batch)
        return {n: torch.where(clean, batch[CLEAN + n], t) if CLEAN + n in batch else t for n, t in rest.items()}


def machine_made(batch: Batch) -> Batch:
    """Return a batch whose rows read `source`, as they do at test time."""
    return {name: tensor for name, tensor in batch.items() if not name.startswith(CLEAN)}
