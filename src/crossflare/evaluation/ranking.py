"""The average rank of each method over languages, with its interval by the resamples that the scores met.

Shapes: M methods, L languages, R resamples.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.significance import LEVEL, Interval, Sample, resampled_means

Name = TypeVar("Name")


def average_ranks(
    samples: Mapping[Name, Sequence[Sample]], *, level: float = LEVEL, random_seed: int = 0
) -> dict[Name, Interval]:
    """Rank methods in every language, 1 the best and ties shared, and return each one's mean rank over languages.

    The interval is of the ranks in each resample of examples and seeds. Resampling can only mix ranks up: the best of
    many close methods has an interval that reaches up to its rank, and seldom below.

    Args:
        samples: Method to its samples, the same languages in the same order.
        level: Of the interval.
        random_seed: Chooses the seeds' resamples.

    Raises:
        UserError: Two methods were measured in other languages, on other examples or with other seeds.
    """
    from scipy.stats import rankdata

    first = next(iter(samples.values()))
    for each in samples.values():
        if [(one.items, one.seeds) for one in each] != [(one.items, one.seeds) for one in first]:
            raise UserError("expected all methods on the same examples with the same seeds to rank them; run the rest")
    observed = [[one.observed.mean() for one in each] for each in samples.values()]
    resampled = [[resampled_means(one, random_seed) for one in each] for each in samples.values()]
    # means that differ by rounding alone are ties
    ranks = rankdata(-np.round(observed, 9), axis=0).mean(1)
    drawn = rankdata(-np.round(resampled, 9), axis=0).mean(1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return {
        name: Interval(float(rank), float(a), float(b))
        for name, rank, a, b in zip(samples, ranks, low, high, strict=True)
    }
