"""Threads and coroutines may call opened adapters at the same time; texts come from lists, generators and data sets."""

import asyncio
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread, current_thread
from typing import Any

import datasets
import pytest

import crossflare
from crossflare.fusion import mixing
from crossflare.libraries.peft import LoraLayer
from crossflare.serving.prediction import Prediction
from crossflare.serving.several import TrainedAdapters
from crossflare.translation.engines.dictionary import Dictionary
from crossflare.translation.engines.lexicon import Lexicon
from several_adapters import assert_alike, make_several

THREADS, ROUNDS = 4, 3
TEXTS = ["w1 w2 w3 " * length for length in range(1, 13)]
"""Most are longer than the windows of 16 and 24 tokens."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_several(tmp_path_factory.mktemp("models"))


@pytest.fixture
def often() -> Iterator[None]:
    """Let Python change threads after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def rows(number: int) -> tuple[list[str], list[str | None], list[str]]:
    """Return texts, sources and names that differ from thread to thread."""
    texts = TEXTS[number:] + TEXTS[:number]
    names = [("sw", "jv", "ha")[(row + number) % 3] for row in range(len(texts))]
    return texts, [None if name == "ha" else f"w2{number} w31" for name in names], names


def said_by(adapters: TrainedAdapters, number: int) -> list[Prediction]:
    texts, sources, names = rows(number)
    return adapters.predict(texts, sources, languages=names, batch_size=7)


@pytest.mark.usefixtures("often")
def test_threads_get_what_they_get_alone(places: dict[str, Path]) -> None:
    """The first calls of a fresh model meet, too: each puts hooks on it."""
    used = {name: places[name] for name in ("sw", "jv", "ha")}
    alone = [said_by(crossflare.open_adapters(used), number) for number in range(THREADS)]
    adapters, together = crossflare.open_adapters(used), Barrier(THREADS)

    def work(number: int) -> list[list[Prediction]]:
        together.wait()
        return [said_by(adapters, number) for _ in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as pool:
        for number, found in enumerate(pool.map(work, range(THREADS))):
            for said in found:
                assert_alike(said, alone[number])


@pytest.mark.usefixtures("often")
def test_one_adapter_in_threads(places: dict[str, Path]) -> None:
    adapter = crossflare.open_adapter(places["sw"])
    alone = adapter.predict(TEXTS, TEXTS)
    with ThreadPoolExecutor(THREADS) as pool:
        for said in pool.map(lambda _: adapter.predict(TEXTS, TEXTS), range(12)):
            assert_alike(said, alone)


@pytest.mark.usefixtures("often")
def test_an_engine_has_one_thread_at_a_time(places: dict[str, Path]) -> None:
    inside: set[Thread] = set()
    most: list[int] = []

    class Watched(Dictionary):
        def translate(self, texts: list[str], *, source: str, target: str) -> list[str]:
            inside.add(current_thread())
            most.append(len(inside))
            done = [super(Watched, self).translate([text], source=source, target=target)[0] for text in texts * 9]
            inside.discard(current_thread())
            return done[: len(texts)]

    engine = Watched({("jv", "en"): Lexicon({"w1": "w21"})})
    adapters = crossflare.open_adapters({"sw": places["sw"], "jv": places["jv"]})
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(adapters.predict, TEXTS, languages="jv", translators={"jv": engine}) for _ in range(12)]
        assert all(call.result()[0].source == "w21 w2 w3 " for call in calls)
    assert max(most) == 1


def test_coroutines_call_it_in_threads(places: dict[str, Path]) -> None:
    adapters = crossflare.open_adapters({name: places[name] for name in ("sw", "jv", "ha")})

    async def all_at_once() -> list[list[Prediction]]:
        calls = (asyncio.to_thread(said_by, adapters, number) for number in range(THREADS))
        return await asyncio.gather(*calls)

    for number, said in enumerate(asyncio.run(all_at_once())):
        assert_alike(said, said_by(adapters, number))


def test_generators_and_columns(places: dict[str, Path]) -> None:
    adapters = crossflare.open_adapters({name: places[name] for name in ("sw", "jv", "ha")})
    texts, sources, names = rows(0)
    alone = adapters.predict(texts, sources, languages=names)
    made = adapters.predict((text for text in texts), iter(sources), languages=(name for name in names))
    assert_alike(made, alone)
    table = datasets.Dataset.from_dict({"text": texts, "english": sources, "language": names})
    columns = adapters.predict(table["text"], table["english"], languages=table["language"])
    assert_alike(columns, alone)
    streamed = table.to_iterable_dataset()
    assert_alike(adapters.predict(streamed["text"], streamed["english"], languages=streamed["language"]), alone)


def test_first_calls_that_meet_put_one_hook_on_each_layer(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = crossflare.open_adapters({name: places[name] for name in ("sw", "jv", "ha")})
    own, together = mixing.forward_pre_hooks, Barrier(2)

    def slow(module: Any) -> list[Any]:
        found = list(own(module))
        time.sleep(0.0002)
        return found

    monkeypatch.setattr(mixing, "forward_pre_hooks", slow)

    def work(number: int) -> list[Prediction]:
        together.wait()
        return said_by(adapters, 0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    layers = [each for each in adapters._members["sw"].model.modules() if isinstance(each, LoraLayer)]
    hooks = [sum(isinstance(getattr(hook, "__self__", None), mixing.Mixing) for hook in own(each)) for each in layers]
    assert hooks == [1] * len(layers)
