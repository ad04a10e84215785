"""Requests to predictions: checked, translated where they have no source, and batched with others at the model."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from math import exp
from typing import Literal

from crossflare.errors import UserError, listed
from crossflare.languages import tag_of
from crossflare.languages.identify import chooser
from crossflare.serving.http.batches import Batches, Ticket, WaitingRow
from crossflare.serving.http.limits import Limits
from crossflare.serving.http.messages import Predicted, PredictRequest, Source, TextOrTexts
from crossflare.serving.http.metrics import Metrics
from crossflare.serving.http.problems import ProblemError, unavailable, unprocessable
from crossflare.serving.http.supervised import SupervisedEngine
from crossflare.serving.prediction import Prediction, threshold_of
from crossflare.serving.rows import Text, text_columns
from crossflare.serving.several import TrainedAdapters
from crossflare.translation.engines.protocol import Translator

How = Literal["given", "translated", "none"]


@dataclass(slots=True)
class Asked:
    """A row of a request."""

    name: str
    text: tuple[str, ...]
    source: tuple[str, ...] | None
    how: How


@dataclass(eq=False)
class Service:
    """Trained adapters, the engines of their languages, and the rows that wait."""

    adapters: TrainedAdapters
    engines: Mapping[str, SupervisedEngine] = field(default_factory=dict[str, SupervisedEngine])
    """Name of an adapter -> the engine that translates its texts."""
    encoders: Mapping[str, Translator] = field(default_factory=dict[str, Translator])
    """Name of an adapter that reads the states of a translation model -> that model."""
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    stopping: bool = False
    """Whether the service ends soon: `/ready` then says no, and what is in flight is finished."""
    open_rows: int = 0
    """The rows of all requests that are not answered yet."""

    def __post_init__(self) -> None:
        self.batches = Batches(self._predict, self._count, self.limits, self.metrics.batch)
        self.metrics.watch(lambda: len(self.batches), lambda: self.open_rows, self.engines)

    def close(self) -> None:
        """End the model's thread and the engines."""
        self.batches.close()
        for engine in {*self.engines.values()}:
            engine.close()

    async def predict(self, request: PredictRequest) -> list[Predicted]:
        """Return the answers to a request.

        Raises:
            ProblemError: The request is refused, or cannot be answered now or in time.
        """
        rows = await self.rows(request)
        thresholds = {row.name: self._threshold(row.name, request.coverage) for row in rows}
        self._admit(len(rows))
        ticket = Ticket(len(rows))
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                await self._translate(rows)
                self.batches.put(
                    WaitingRow(
                        ticket, place, row.name, _shaped(row.text), None if row.source is None else _shaped(row.source)
                    )
                    for place, row in enumerate(rows)
                )
                said = await ticket.future
        except TimeoutError as error:
            seconds = f"{self.limits.request_seconds:.0f} seconds"
            raise ProblemError(
                HTTPStatus.GATEWAY_TIMEOUT, f"no answer within {seconds}; send fewer texts, or try again later"
            ) from error
        finally:
            ticket.gone = True
            self.open_rows -= len(rows)
        for row in rows:
            self.metrics.answered(row.name, row.how)
        return [predicted_of(row, each, thresholds[row.name]) for row, each in zip(rows, said, strict=True)]

    async def rows(self, request: PredictRequest) -> list[Asked]:
        """Return the rows of a request, checked against the limits and their adapters.

        Raises:
            ProblemError: With the status 404 or 422.
        """
        if (request.text is None) == (request.texts is None):
            raise unprocessable("expected either `text` or `texts`; give one of them")
        if request.text is not None:
            if request.sources is not None:
                raise unprocessable("`sources` belong to `texts`; give `source`")
            texts, sources, where = [request.text], [request.source], "text"
        else:
            texts = request.texts or []
            sources = [None] * len(texts) if request.sources is None else request.sources
            where = "texts[{}]"
            if request.source is not None:
                raise unprocessable("`source` belongs to `text`; give `sources`")
        if not texts or len(texts) > self.limits.texts:
            raise unprocessable(f"expected 1 to {self.limits.texts} texts, got {len(texts)}; send them in parts")
        if len(sources) != len(texts):
            raise unprocessable(f"{len(texts)} texts but {len(sources)} sources; give each text a source, or null")
        parts = [self._parts(text, where.format(place)) for place, text in enumerate(texts)]
        names = await self._names(parts, request.language)
        beside = where.replace("text", "source")
        return [
            self._row(name, part, source, where.format(place), beside.format(place))
            for place, (name, part, source) in enumerate(zip(names, parts, sources, strict=True))
        ]

    def _parts(self, text: TextOrTexts, where: str) -> tuple[str, ...]:
        parts = (text,) if isinstance(text, str) else tuple(text)
        for part in parts:
            if len(part) > self.limits.characters:
                raise unprocessable(
                    f"{where}: expected at most {self.limits.characters} characters, got {len(part)}; send it in parts"
                )
        return parts

    async def _names(self, texts: Sequence[tuple[str, ...]], language: str | None) -> list[str]:
        """Return the name of each text's adapter."""
        known = self.adapters.saved
        if language is not None:
            name = language if language in known else tag_of(language)
            if name not in known:
                raise ProblemError(
                    HTTPStatus.NOT_FOUND, f"no adapter for this language; the service has {listed(known)}"
                )
            return [name] * len(texts)
        if len(known) == 1:
            return [*known] * len(texts)
        try:
            look = chooser(known)
        except UserError as error:
            raise unprocessable(f"languages cannot be detected here; name one: {listed(known)}") from error
        return await asyncio.to_thread(lambda: [look("\n".join(text)) for text in texts])

    def _row(self, name: str, text: tuple[str, ...], source: TextOrTexts | None, where: str, beside: str) -> Asked:
        """Return a row; its source is filled in later if the service translates it."""
        saved = self.adapters.saved[name]
        count = saved.task.text_count
        if len(text) != count:
            wanted = "a text" if count == 1 else f"a list of two texts ({' and '.join(text_columns(saved.task))})"
            raise unprocessable(f"{where}: expected {wanted} for '{name}', got {len(text)} text(s)")
        for part in text:
            if not part.strip():
                raise unprocessable(f"{where}: the text is empty; write one, or leave it out")
        if source is None:
            return Asked(name, text, None, "translated" if name in self.engines else "none")
        if saved.kind.reads != "both":
            raise unprocessable(f"{beside}: the adapter of '{name}' takes no source; leave it out")
        given = self._parts(source, beside)
        if not any(part.strip() for part in given):
            return Asked(name, text, None, "none")
        if len(given) != count:
            raise unprocessable(f"{beside}: expected as many texts as in the row, {count}, got {len(given)}")
        return Asked(name, text, given, "given")

    def _threshold(self, name: str, coverage: float | None) -> float:
        if coverage is None:
            return 0.0
        try:
            return threshold_of(self.adapters.saved[name], coverage)
        except UserError as error:
            raise unprocessable(f"coverage: the adapter of '{name}' has no calibration; leave it out") from error

    def _admit(self, rows: int) -> None:
        if self.stopping:
            raise unavailable("the service is stopping; try again", 5.0)
        most = self.limits.waiting_rows
        if self.open_rows + rows > most:
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS, f"more than {most} rows would wait; try again later", retry_after=1.0
            )
        self.open_rows += rows

    async def _translate(self, rows: Sequence[Asked]) -> None:
        """Give the rows without a source their translations; the engines of several languages work at once."""
        wanted: dict[SupervisedEngine, list[Asked]] = {}
        for row in rows:
            if row.how == "translated":
                wanted.setdefault(self.engines[row.name], []).append(row)
        calls = [engine.translate([text for row in part for text in row.text]) for engine, part in wanted.items()]
        done = await asyncio.gather(*calls)
        for part, known in zip(wanted.values(), done, strict=True):
            for row in part:
                row.source = tuple(known[text] for text in row.text)

    def _predict(self, rows: Sequence[WaitingRow]) -> list[Prediction]:
        """Predict the rows of a batch; in the model's thread."""
        found: dict[int, Prediction] = {}
        for with_states in (False, True):
            some = [place for place, row in enumerate(rows) if (row.name in self.encoders) is with_states]
            if not some:
                continue
            said = self.adapters.predict(
                [rows[place].text for place in some],
                None if with_states else [rows[place].source for place in some],
                languages=[rows[place].name for place in some],
                translators=self.encoders if with_states else None,
                batch_size=len(some),
            )
            found |= dict(zip(some, said, strict=True))
        return [found[place] for place in range(len(rows))]

    def _count(self, rows: Sequence[WaitingRow]) -> None:
        """Count the tokens of rows; in the model's thread."""
        for name in {row.name for row in rows}:
            own = [row for row in rows if row.name == name]
            targets = self.adapters.token_counts(name, [row.text for row in own])
            beside = [row for row in own if row.source is not None]
            sources = self.adapters.token_counts(name, [row.source for row in beside if row.source is not None])
            for row, count in zip(beside, sources, strict=True):
                row.source_tokens = count
            for row, count in zip(own, targets, strict=True):
                row.target_tokens = count


def _shaped(texts: tuple[str, ...]) -> Text:
    return texts[0] if len(texts) == 1 else texts


def predicted_of(row: Asked, said: Prediction, threshold: float) -> Predicted:
    """Return a prediction as JSON has it."""
    labelled = bool(said.probabilities)
    abstained = labelled and said.score < threshold
    read = said.source if isinstance(said.source, str | None) else [*said.source]
    return Predicted(
        label=said.label if labelled and not abstained else None,
        answer=None if labelled else said.label,
        probability=said.score if labelled else exp(said.score),  # an answer's score is a log-probability
        probabilities=dict(said.probabilities),
        calibrated=said.calibrated,
        abstained=abstained,
        language=row.name,
        source=Source(text=read, how="none" if said.source is None else row.how),
        cut=said.truncated,
        windows=said.windows,
    )
