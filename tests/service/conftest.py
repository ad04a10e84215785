"""Tiny adapters behind a service, an engine whose failures a test chooses, and a client."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from fastapi.testclient import TestClient

from crossflare.serving.http.app import create_app
from crossflare.serving.http.keys import Keys
from crossflare.serving.http.limits import Limits
from crossflare.serving.http.service import Service
from crossflare.serving.http.supervised import SupervisedEngine
from crossflare.serving.several import TrainedAdapters, open_adapters
from service_engines import Obedient
from tiny_adapters import make_adapters, with_card

FP32 = {"settings": {"precision": "fp32"}}  # in bf16 a batch's width changes the last of few digits
CALIBRATED = {"sw": {"temperature": 2.0, "rows": 9, "ece_before": 0.2, "ece": 0.1}}


@pytest.fixture(autouse=True)
def the_log_as_it_was() -> Generator[None]:
    """Undo what a test that starts a service in this process does to the service's log."""
    ours = logging.getLogger("crossflare.serving.http")
    level, propagate, handlers = ours.level, ours.propagate, [*ours.handlers]
    yield
    ours.setLevel(level)
    ours.propagate, ours.handlers = propagate, handlers


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = make_adapters(tmp_path_factory.mktemp("served"))
    return {
        "sw": with_card(folder / "flare", folder / "sw", language="sw", **FP32),
        "jv": with_card(folder / "flare", folder / "jv", language="jv", **FP32),
        "id": with_card(folder / "lora", folder / "id", language="id", **FP32),
        "pairs": with_card(folder / "pairs", folder / "two", language="ha", **FP32),
    }


@pytest.fixture(scope="session")
def adapters(places: dict[str, Path]) -> TrainedAdapters:
    return open_adapters(places)


@pytest.fixture
def engine() -> Obedient:
    return Obedient()


Serving = Callable[..., Any]


@pytest.fixture
def serving(adapters: TrainedAdapters, engine: Obedient) -> Serving:
    """Return a context: a client of a service with the engine for sw, and any limits and keys."""

    @contextmanager
    def serve(keys: tuple[str, ...] = (), only: str | None = None, **limits: Any) -> Generator[TestClient]:
        chosen = Limits(**limits)
        translations = SupervisedEngine("obedient", engine, chosen)
        translations.start()
        service = Service(adapters, {"sw": translations}, {}, chosen)
        with TestClient(create_app(service, Keys(keys)), raise_server_exceptions=False) as client:
            client.service = service
            yield client

    return serve


@pytest.fixture
def client(serving: Serving) -> Generator[TestClient]:
    with serving() as made:
        yield made
