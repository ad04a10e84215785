"""Rows of many requests in batches at the model: one thread runs it, the event loop gives rows and takes results.

A batch begins with the row that has waited longest. Waiting rows of about its length join it, whatever request and
adapter they belong to, as long as the batch with its padding stays within a budget of tokens. Nothing waits for a batch
to fill: when the model is free it takes what is there, so batches grow with the load.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Condition, Thread

from crossflare.errors import UserError
from crossflare.serving.http.limits import Limits
from crossflare.serving.http.problems import internal, unprocessable
from crossflare.serving.prediction import Prediction
from crossflare.serving.rows import Text

LOOKED_AT = 256
"""How many waiting rows are considered for a batch."""
PADDED = 1.5
"""The most tokens of a batch for each token that is not padding."""
_log = logging.getLogger(__name__)
Result = Prediction | Exception


class Ticket:
    """The rows of one request at the model, and the future of their predictions."""

    def __init__(self, rows: int) -> None:
        """Take the number of rows; there is a running event loop."""
        self.gone = False
        """Whether no one waits any more: its rows are dropped."""
        self.future: asyncio.Future[list[Prediction]] = asyncio.get_running_loop().create_future()
        self._found: list[Prediction | None] = [None] * rows
        self._left = rows

    def put(self, place: int, result: Result) -> None:
        """Put the result of one row; with the last one, or the first that failed, the future is done."""
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.gone = True
            self.future.set_exception(result)
            return
        self._found[place] = result
        self._left -= 1
        if not self._left:
            self.future.set_result([each for each in self._found if each is not None])


@dataclass(eq=False, slots=True)
class WaitingRow:
    """A row that waits for the model."""

    ticket: Ticket
    place: int
    """Its index in its request."""
    name: str
    """The name of its adapter."""
    text: Text
    source: Text | None
    target_tokens: int = -1
    """The tokens of its text; below 0: not counted yet."""
    source_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Its tokens, both sides together."""
        return self.target_tokens + self.source_tokens


Predict = Callable[[Sequence[WaitingRow]], Sequence[Prediction]]
Count = Callable[[Sequence[WaitingRow]], None]
"""Puts the numbers of their tokens into rows."""


def choose_batch(waiting: Sequence[WaitingRow], limits: Limits) -> list[WaitingRow]:
    """Return the rows of the next batch: the first, and those of the others that fit it best, within the limits."""
    first, *others = waiting
    others.sort(key=lambda row: abs(row.tokens - first.tokens))  # stable: of equals, the older
    batch, target, source, real = [first], first.target_tokens, first.source_tokens, first.tokens
    for row in others:
        if len(batch) == limits.batch_rows:
            break
        wider = max(target, row.target_tokens), max(source, row.source_tokens)
        padded = (len(batch) + 1) * sum(wider)
        if padded > limits.batch_tokens or padded > PADDED * (real + row.tokens):
            continue
        batch.append(row)
        target, source = wider
        real += row.tokens
    return batch


class Batches:
    """The thread of the model."""

    def __init__(
        self, predict: Predict, count: Count, limits: Limits, tell: Callable[[Sequence[WaitingRow]], None]
    ) -> None:
        """Take what predicts rows, what counts their tokens, the limits, and what is told of each batch.

        The model's thread calls all three.
        """
        self._predict, self._count, self._limits, self._tell = predict, count, limits, tell
        self._waiting: deque[WaitingRow] = deque()
        self._changed = Condition()
        self._open = True
        self._thread = Thread(target=self._run, name="model", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """Return how many rows wait."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; there is a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """End the thread after its batch; rows that wait are not answered."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def put(self, rows: Iterable[WaitingRow]) -> None:
        """Let rows wait for the model."""
        with self._changed:
            self._waiting.extend(rows)
            self._changed.notify()

    def _take(self) -> list[WaitingRow] | None:
        """Return the next batch, as soon as there is one; None at the end."""
        looked: list[WaitingRow] = []
        with self._changed:
            while not looked:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return None
                # Whose client leaves from here on is predicted for no one.
                self._waiting = deque(row for row in self._waiting if not row.ticket.gone)
                looked = [*islice(self._waiting, LOOKED_AT)]
        self._measure([row for row in looked if row.target_tokens < 0])
        batch = choose_batch(looked, self._limits)
        taken = {*map(id, batch)}
        with self._changed:
            self._waiting = deque(row for row in self._waiting if id(row) not in taken)
        return batch

    def _measure(self, rows: Sequence[WaitingRow]) -> None:
        """Count the tokens of rows."""
        if not rows:
            return
        try:
            self._count(rows)
        except Exception as error:  # whatever it is, the model says it of the one row that it belongs to
            _log.warning("tokens could not be counted: %s", where_of(error))
            for row in rows:
                row.target_tokens = self._limits.batch_tokens

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            self._tell(batch)
            results = self._results(batch)
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(_deliver, results)
            except RuntimeError:  # the loop is closed: no one waits any more
                return

    def _results(self, batch: Sequence[WaitingRow]) -> list[tuple[WaitingRow, Result]]:
        """Return the result of each row; what fails fails alone, not the requests that share its batch."""
        try:
            said = self._predict(batch)
            return [(row, _checked(each)) for row, each in zip(batch, said, strict=True)]
        except Exception as error:  # of any library below: the next batch is tried all the same
            if len(batch) > 1:
                return [result for row in batch for result in self._results([row])]
            if isinstance(error, UserError):
                return [(batch[0], unprocessable("this text cannot be read by its adapter; send another"))]
            _log.warning("the model failed: %s", where_of(error))
            return [(batch[0], internal())]


def _checked(said: Prediction) -> Result:
    """Return a prediction, or a problem in place of one that is not finite."""
    if math.isfinite(said.score) and all(map(math.isfinite, said.probabilities.values())):
        return said
    _log.warning("the model gave a probability that is not finite")
    return internal()


def _deliver(results: Sequence[tuple[WaitingRow, Result]]) -> None:
    for row, result in results:
        row.ticket.put(row.place, result)


def where_of(error: Exception) -> str:
    """Return the kind of an error and the line that raised it, without its message, which may hold a user's text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
    return f"{type(error).__name__}{place}"
