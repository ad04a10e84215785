"""The application on Ray Serve: what it is given, who may ask, and what clients see when a replica is killed."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from fastapi.testclient import TestClient

from crossflare.errors import UserError
from crossflare.serving.http.keys import VARIABLE
from crossflare.serving.http.limits import Limits
from crossflare.serving.http.on_ray import Deployed, Replica, app_of
from crossflare.serving.several import TrainedAdapters

KEY = "a-key-for-the-tests"
CLIENTS = 4
SECONDS = 120.0
"""The longest time that a step of the cluster may take; a replica imports torch before it answers."""


def test_arguments_come_from_a_command_line_as_from_python(places, tmp_path, monkeypatch):
    monkeypatch.chdir(places["sw"].parent)
    said = Deployed.of({"adapters": "sw=sw owner/name", "replicas": "2", "cpus": "0.5", "without_keys": "true"})
    assert said == Deployed([f"sw={places['sw'].resolve()}", "owner/name"], replicas=2, cpus=0.5, without_keys=True)
    said = Deployed.of({"adapters": ["sw"], "limits": {"drain_seconds": 3}})
    assert said == Deployed([str(places["sw"].resolve())], limits=Limits(drain_seconds=3.0))


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ({}, "adapters: expected at least one, as in adapters=sw=/models/sw"),
        ({"adapters": "sw=x", "replica": "2"}, "unknown argument 'replica': .*replicas.*"),
        ({"adapters": "sw=x", "limits": {"text": 2}}, "unknown limit 'text': .*texts.*"),
        ({"adapters": "sw=x", "replicas": "two"}, "replicas: .*integer.*; got two"),
        ({"adapters": "sw=x", "limits": {"texts": 0}}, "texts: expected a number above 0, got 0"),
    ],
)
def test_a_wrong_argument_is_refused_in_a_line(args, line):
    with pytest.raises(UserError, match=f"^{line}$"):
        Deployed.of(args)


def test_without_ray_serve_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"^Ray Serve is not installed; .*crossflare\[serve-ray\]'$"):
        app_of({"adapters": "sw=x"})


def test_a_replica_without_keys_starts_only_if_it_is_said(places, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UserError, match=f"^{VARIABLE} is not set where a replica runs"):
        Replica(Deployed([f"sw={places['sw']}"]))


def test_a_replica_asks_for_its_keys_and_is_well_while_its_model_runs(places, monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    replica = Replica(Deployed([f"sw={places['sw']}"]))
    with TestClient(replica.__serve_build_asgi_app__()) as client:
        assert client.post("/predict", json={"text": "w1"}).status_code == 401
        said = client.post("/predict", json={"text": "w1"}, headers={"Authorization": f"Bearer {KEY}"})
        assert said.status_code == 200
        replica.check_health()
    with pytest.raises(RuntimeError, match="the model's thread has ended"):
        replica.check_health()


def processes() -> dict[int, tuple[int, str]]:
    """Return pid -> (parent, command) of the processes that run."""
    found: dict[int, tuple[int, str]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_text()  # empty once it has ended, until its parent has looked
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        if command:
            found[int(place.name)] = parent, command
    return found


def replicas() -> set[int]:
    """Return the processes of Ray Serve's replicas in the cluster that this process started."""
    known = processes()
    return {
        pid
        for pid, (parent, command) in known.items()
        if command.startswith("ray::ServeReplica") and known.get(parent, (0, ""))[0] == os.getpid()
    }


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_replica_that_is_killed_under_load_costs_what_it_had_and_no_wrong_answer(
    places: dict[str, Path], adapters: TrainedAdapters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are the offline ones, the dead replica's requests fail, the other one goes on, and a new one comes."""
    try:
        from ray import serve
    except ImportError as error:
        pytest.skip(f"Ray Serve is not installed: {error}")
    import ray

    monkeypatch.setenv(VARIABLE, KEY)
    lexicon = tmp_path / "lexicon.tsv"
    lexicon.write_text("".join(f"w{number}\tw{(number + 17) % 40}\n" for number in range(40)))
    rows = [(number * 7 % 40, number % 40, number * 3 % 40) for number in range(300)]
    texts = [" ".join(f"w{word}" for word in row) for row in rows]
    sources = [" ".join(f"w{(word + 17) % 40}" for word in row) for row in rows]
    names = ["sw" if number % 3 else "jv" for number in range(300)]
    offline = adapters.predict(texts, sources, languages=names)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said: list[tuple[float, int]] = []
    wrong: list[Any] = []
    stop = threading.Event()

    def ask(number: int) -> int:
        body = json.dumps({"text": texts[number], "language": names[number]}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        try:
            with urlopen(Request(f"http://127.0.0.1:{port}/predict", body, headers), timeout=SECONDS) as response:
                found = json.load(response)["predictions"][0]
        except HTTPError as error:
            return error.code
        except (URLError, ConnectionError):
            return 0
        if found["source"]["text"] != sources[number] or abs(found["probability"] - offline[number].score) > 1e-5:
            wrong.append((texts[number], found, offline[number]))
        return 200

    def load(client: int) -> None:
        number = client
        while not stop.is_set():
            number = (number + CLIENTS) % len(texts)
            status = ask(number)
            said.append((time.monotonic(), status))

    def right() -> int:
        return sum(status == 200 for _, status in said)

    threads = [threading.Thread(target=load, args=(client,)) for client in range(CLIENTS)]
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        engine = f"dictionary:lexicon={lexicon},licence=ours"
        given = [f"{name}={places[name]}" for name in ("sw", "jv")]
        serve.run(app_of({"adapters": given, "translate": [engine], "replicas": 2, "cpus": 0.5}))
        first = replicas()
        assert len(first) == 2
        for thread in threads:
            thread.start()
        until(lambda: right() >= 100)
        victim = min(first)
        engines = {pid for pid, (parent, line) in processes().items() if parent == victim and "spawn_main" in line}
        assert len(engines) == 2  # one for each pair of languages
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        before = right()
        until(lambda: right() >= before + 100)
        until(lambda: not engines & {*processes()})
        until(lambda: len(replicas() - first) == 1)
        until(lambda: serve.status().applications["default"].deployments["crossflare"].replica_states == {"RUNNING": 2})
        back = time.monotonic()
        before = right()
        until(lambda: right() >= before + 100)
        (survivor,) = first - {victim}
        assert survivor in replicas()
    finally:
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        serve.shutdown()
        ray.shutdown()
    statuses = Counter(status for _, status in said)
    at = [moment for moment, status in said if status == 200]
    gap = max(later - earlier for earlier, later in pairwise(at))
    print(f"{statuses} longest gap {gap:.2f} s, two replicas again after {back - killed:.1f} s")
    assert wrong == []
    assert {status for status in statuses if status != 200} <= {0, 500, 502, 503, 504}
    assert len(said) - statuses[200] <= 2 * CLIENTS
