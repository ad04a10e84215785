"""Tiny adapters behind a service, an engine whose failures a test chooses, and a client."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from fastapi.testclient import TestClient

from crossflare.service.app import create_app
from crossflare.service.keys import Keys
from crossflare.service.limits import Limits
from crossflare.service.service import Service
from crossflare.service.translations import Translations
from crossflare.serving.several import TrainedAdapters, open_adapters
from service_engines import Obedient
from tiny_adapters import make_adapters, with_card

FP32 = {"settings": {"precision": "fp32"}}  # in bf16 a batch's width changes the last of few digits
CALIBRATED = {"sw": {"temperature": 2.0, "rows": 9, "ece_before": 0.2, "ece": 0.1}}


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
        translations = Translations("obedient", engine, chosen)
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
