"""What `crossflare.evaluate` says of an adapter, held against the scores of the run that trained it."""

from typing import Any

import pytest

import crossflare
from crossflare.api import FinishedRun


def check_against_report(done: FinishedRun, method: str, language: str, rows: list[dict[str, Any]]) -> None:
    """Compare scores and intervals over the test rows of a run with a single seed."""
    scores = crossflare.evaluate(done.adapter(method, language, 0), rows)
    table = done.scores()
    table = table[(table.method == method) & (table.language == language)]
    for metric, found in scores.items():
        (row,) = table[table.metric == metric].itertuples()
        assert (found.score, found.low, found.high) == pytest.approx((row.score, row.low, row.high), abs=1e-6), metric
