"""Combine what several methods say by a regression that is fitted on dev rows."""

from collections.abc import Sequence

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.metrics import FloatArray


def stack(fitted_on: Sequence[FloatArray], gold: Sequence[int], read: Sequence[FloatArray]) -> FloatArray:
    """Fit a logistic regression on what M methods say of dev rows, and return what it says of other rows [N,K].

    Its features are the methods' log-probabilities side by side; scikit-learn's defaults (L2, C = 1) keep it tame on
    the hundred rows that a dev part has.

    Args:
        fitted_on: M log-probabilities [D,K] of dev rows.
        gold: D label indices.
        read: M log-probabilities [N,K] of the rows to label.

    Raises:
        UserError: A label has no dev row, so that nothing can be learnt of it.
    """
    from sklearn.linear_model import LogisticRegression

    labels = fitted_on[0].shape[1]
    absent = sorted(set(range(labels)) - set(gold))
    if absent:
        raise UserError(
            f"stack: no dev row has label {absent[0]}, so nothing can be fitted for it; give more dev rows, or use "
            "ensemble"
        )
    fitted = LogisticRegression(max_iter=10_000).fit(np.concatenate(fitted_on, axis=1), np.asarray(gold))
    return fitted.predict_log_proba(np.concatenate(read, axis=1))


FOLDS = 5


def held_out(said: Sequence[FloatArray], gold: Sequence[int]) -> FloatArray:
    """Return what the regression says of each dev row [D,K] when it is fitted on the rows of the other folds.

    A label with a single row leaves none to the other folds: then it is fitted on all rows.

    Args:
        said: M log-probabilities [D,K] of dev rows.
        gold: D label indices.
    """
    labels = np.array(gold, dtype=np.int64)
    if np.bincount(labels, minlength=said[0].shape[1]).min() < 2:
        return stack(said, labels.tolist(), said)
    fold = np.empty_like(labels)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    made = np.empty_like(said[0])
    for each in range(min(FOLDS, len(labels))):
        here = fold == each
        made[here] = stack([s[~here] for s in said], labels[~here].tolist(), [s[here] for s in said])
    return made
