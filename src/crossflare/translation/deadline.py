"""A limit of time for engines that compute in this process."""

import time

from crossflare.errors import UserError

PATIENCE = 3600.0
"""Seconds that one batch may take: far more than a slow machine needs, so that nothing waits for ever."""


class Deadline:
    """The end of the time that one batch of an engine has."""

    def __init__(self, engine: str) -> None:
        """Start to count for a batch of an engine, which is named if it is late."""
        self._engine, self._end = engine, time.monotonic() + PATIENCE

    def check(self) -> None:
        """Raise `UserError` if the time is over."""
        if time.monotonic() > self._end:
            raise UserError(
                f"{self._engine} took more than {PATIENCE:.0f} seconds for one batch; take a smaller model, fewer "
                "beams or a smaller tokens_per_batch"
            )
