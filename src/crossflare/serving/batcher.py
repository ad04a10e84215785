"""Chunks of rows through a trained adapter, in stages that overlap: each works on the chunk after that of the next.

Every stage has a thread of its own, so that it never works on two chunks at once. Translation engines in processes of
their own, CTranslate2, tokenizers and torch leave Python to the other threads while they work.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from crossflare.progress import quietly
from crossflare.recipe.kinds import Reads
from crossflare.serving.adapter import Prepared, TrainedAdapter
from crossflare.serving.languages import languages_of
from crossflare.serving.prediction import Prediction
from crossflare.serving.rows import states_of
from crossflare.tasks.example import Example
from crossflare.translation.engines.protocol import Translator
from crossflare.translation.store import Shelf, Store
from crossflare.translation.translate import for_long_texts, translate_block

AT_ONCE = 64
"""Texts in the first call of a translation engine; what a call returned is kept at once."""
AHEAD = 1
"""Chunks beyond one for each stage: one is then always ready when a stage ends its own."""
Stage = Callable[[Any], Any]


class StoppedError(Exception):
    """A stage ended early because another one failed, or because no one waits for the result any more."""


def overlapped(items: Iterable[Any], stages: Sequence[Stage], ahead: int = AHEAD) -> Generator[Any]:
    """Yield each item after all stages, in the items' order; close the generator to stop the stages.

    An item is only taken from `items`, in the caller's thread, when there is room for it.

    Args:
        items: The chunks.
        stages: At least one function, each of what the function before it returned.
        ahead: See `AHEAD`.

    Raises:
        Exception: Whatever the oldest chunk that failed raised in its stage. The stages then end where a bar of theirs
            would move, or with their chunk; no thread is left.
    """
    stop = Event()

    def check() -> None:
        if stop.is_set():
            raise StoppedError

    def work(stage: Stage, before: Future[Any]) -> Any:
        item = before.result()
        check()
        with quietly(check):
            return stage(item)

    workers = [ThreadPoolExecutor(1, f"stage {number}") for number in range(1, len(stages) + 1)]
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            result: Future[Any] = Future()
            result.set_result(item)
            for worker, stage in zip(workers, stages, strict=True):
                result = worker.submit(work, stage, result)
            waiting.append(result)
            del item, result
            if len(waiting) >= len(stages) + ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        for worker in workers:
            worker.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that go through the stages together."""

    examples: Sequence[Example]
    """N rows; the first stage adds their sources."""
    about: Any = None
    """Whatever the caller wants to have beside the predictions."""
    states: Any = None
    """For FLARE MT, the states of the translation encoder."""
    prepared: Prepared | None = None
    said: Sequence[Prediction] = ()
    """N predictions, after the last stage."""


class Batcher:
    """The stages of one adapter: translate, make tokens, run the model."""

    def __init__(
        self,
        adapter: TrainedAdapter,
        reads: Reads,
        *,
        engine: Any = None,
        store: Path | None = None,
        coverage: float | None = None,
        language: str | None = None,
        batch_size: int = 64,
    ) -> None:
        """Take the adapter and the options of `TrainedAdapter.predict`.

        Args:
            adapter: The adapter.
            reads: See `reads_of`.
            engine: The engine that translates the rows, or gives FLARE MT its states; None: the rows have sources, or
                are read alone.
            store: A folder in which translations are kept: each text is translated once, and never again after a kill.
            coverage: See `TrainedAdapter.predict`.
            language: The tag that `language_of` returns.
            batch_size: Rows in one forward pass; rows of one length in a chunk come together.
        """
        self._adapter, self._engine, self._store = adapter, engine, store
        self._reads: Reads = reads
        self._asked: dict[str, Any] = {"coverage": coverage, "language": language, "batch_size": batch_size}
        self._language = language
        self._shelf: Shelf | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, which take and return a `Batch`."""
        first = () if self._engine is None else (self.translate,)
        return (*first, self.prepare, self.answer)

    def translate(self, batch: Batch) -> Batch:
        """Return the rows with the engine's translations, or with its states."""
        if not batch.examples:
            return batch
        if self._reads == "latents":
            return replace(batch, states=states_of(self._adapter, batch.examples, self._engine))
        known = self._translations([text for example in batch.examples for text in example.texts])
        sources = [tuple(known.get(text, text) for text in example.texts) for example in batch.examples]
        made = [example.with_source(source) for example, source in zip(batch.examples, sources, strict=True)]
        return replace(batch, examples=made)

    def _translations(self, texts: Sequence[str]) -> dict[str, str]:
        engine: Translator = for_long_texts(self._engine)
        source, target = languages_of(self._adapter, self._language)
        if self._store is None:
            wanted = list(dict.fromkeys(texts))
            return dict(zip(wanted, engine.translate(wanted, source=source, target=target), strict=True))
        if self._shelf is None:
            self._shelf = Store(self._store).shelf(engine.identity, source, target)
        return translate_block(self._shelf, engine, texts, source, target, AT_ONCE)

    def prepare(self, batch: Batch) -> Batch:
        """Return the rows with their tokens."""
        if not batch.examples:
            return batch
        return replace(batch, prepared=self._adapter.prepare(batch.examples, self._reads, states=batch.states))

    def answer(self, batch: Batch) -> Batch:
        """Return the rows with their predictions, and without what was only needed to make them."""
        if batch.prepared is None:
            return batch
        said = self._adapter.answer(batch.prepared, **self._asked)
        return Batch(batch.examples, batch.about, said=said)

    def close(self) -> None:
        """Release the store."""
        if self._shelf is not None:
            self._shelf.close()
