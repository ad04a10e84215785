"""The service as a process: slow and broken connections, an engine that is killed, and a stop (fault test 40)."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from crossflare.serving.several import TrainedAdapters
from service_engines import reversed_words

HERE = Path(__file__).parents[1]
LIMITS = {"header_seconds": 0.5, "body_seconds": 0.5, "translate_seconds": 60, "body_bytes": 100_000}
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
pytestmark = [pytest.mark.slow, pytest.mark.faults]


class Running(NamedTuple):
    process: "subprocess.Popen[str]"
    port: int
    engine: int
    """The number of the engine's process."""
    folder: Path
    """Where a file `hang` lets the engine hang."""


def post(port: int, text: str, **more: Any) -> tuple[int, Any]:
    body = json.dumps({"text": text, "language": "sw", **more}).encode()
    asked = Request(f"http://127.0.0.1:{port}/predict", body, {"content-type": "application/json"})
    try:
        with urlopen(asked, timeout=60) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)


def get(port: int, path: str) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
            return response.status
    except HTTPError as error:
        return error.code


def started(adapter: Path, folder: Path) -> Running:
    command = [sys.executable, str(HERE / "service_process.py"), str(adapter), str(folder), json.dumps(LIMITS)]
    with (folder / "log").open("w") as log:  # a pipe that no one reads would stop the service once it is full
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    address, engine = process.stdout.readline().split()
    return Running(process, int(address.rpartition(":")[2]), int(engine), folder)


@pytest.fixture(scope="module")
def running(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    made = started(places["sw"], tmp_path_factory.mktemp("running"))
    yield made
    made.process.kill()
    made.process.communicate()


def connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=60)
    return made


def to_the_end(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def test_40e_slow_heads_and_idle_connections_are_closed(running):
    idle, slow, later = (connected(running.port) for _ in range(3))
    slow.sendall(HEAD[:20])
    later.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
    assert get(running.port, "/health") == 200
    assert [to_the_end(each) for each in (idle, slow, later)] == [b"", b"", b""]


def test_40e_a_slow_body_gets_408_and_a_half_open_connection_does_no_harm(running):
    slow, half = connected(running.port), connected(running.port)
    for each in (slow, half):
        each.sendall(HEAD + b'Content-Length: 1000\r\n\r\n{"te')
    half.shutdown(socket.SHUT_WR)
    assert get(running.port, "/health") == 200
    assert to_the_end(slow).startswith(b"HTTP/1.1 408 ")
    to_the_end(half)
    assert post(running.port, "w1", source="w2")[0] == 200


def test_40a_a_body_without_an_end_is_refused_at_the_limit(running):
    connection = connected(running.port)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    sent = 0
    try:
        while sent < 400_000:
            connection.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
            sent += 0x1000
        connection.sendall(b"0\r\n\r\n")
    except ConnectionError:
        pass
    assert to_the_end(connection).startswith(b"HTTP/1.1 413 ")


def test_what_is_no_http_gets_400(running):
    connection = connected(running.port)
    connection.sendall(b"\x16\x03\x01 not HTTP\r\n\r\n")
    assert to_the_end(connection).startswith(b"HTTP/1.1 400 ")
    long = connected(running.port)
    long.sendall(HEAD + b"X: " + b"x" * 100_000)
    assert to_the_end(long).startswith(b"HTTP/1.1 400 ")
    assert get(running.port, "/health") == 200


def test_40f_a_client_that_leaves_frees_its_rows(running):
    (running.folder / "hang").touch()
    connection = connected(running.port)
    body = json.dumps({"text": "w1 w2 gone", "language": "sw"}).encode()
    connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    waits_for(running.port, "crossflare_rows_open 1.0")
    connection.close()
    waits_for(running.port, "crossflare_rows_open 0.0")
    (running.folder / "hang").unlink()
    assert post(running.port, "w1 w2")[0] == 200


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def waits_for(port: int, line: str) -> None:
    """Wait until a line is among the metrics."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
            if line in response.read().decode().splitlines():
                return
        time.sleep(0.02)
    pytest.fail(f"no line {line}")


def test_an_engine_that_is_killed_under_load_gives_503_and_comes_back(running, adapters: TrainedAdapters):
    """Every request gets an answer: the offline prediction, or 503 while the engine starts."""
    texts = [f"w{number % 30} w{number % 7} w{number}" for number in range(300)]
    offline = adapters.predict(texts, [reversed_words(text) for text in texts], languages="sw")
    statuses: list[int] = []
    wrong: list[Any] = []
    stop = threading.Event()

    def load(client: int) -> None:
        number = client
        while not stop.is_set():
            number = (number + 7) % len(texts)
            try:
                status, said = post(running.port, texts[number])
                close = status != 200 or abs(said["predictions"][0]["probability"] - offline[number].score) < 1e-5
            except OSError as error:
                status, said, close = 0, error, False
            statuses.append(status)
            if not close:
                wrong.append((status, said))
            time.sleep(0.05 if status == 503 else 0)

    threads = [threading.Thread(target=load, args=(client,)) for client in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: statuses.count(200) >= 20)
    os.kill(running.engine, signal.SIGKILL)
    until(lambda: 503 in statuses)
    waits_for(running.port, 'crossflare_engine_up{language="sw"} 1.0')
    before = statuses.count(200)
    until(lambda: statuses.count(200) >= before + 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(statuses) == {200, 503}


def test_40j_a_stop_finishes_what_is_in_flight_and_ends_with_0(places, tmp_path):
    running = started(places["sw"], tmp_path)
    (tmp_path / "hang").touch()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(post(running.port, "w1 w2")))
    thread.start()
    waits_for(running.port, "crossflare_rows_open 1.0")
    running.process.send_signal(signal.SIGTERM)
    until(lambda: get(running.port, "/ready") == 503)  # before the socket is closed
    until(lambda: closed(running.port))
    assert running.process.poll() is None
    (tmp_path / "hang").unlink()
    thread.join()
    assert found[0][0] == 200
    assert running.process.wait(timeout=60) == 0
    log = (tmp_path / "log").read_text()
    assert "w1 w2" not in log
    assert "POST /predict 200" in log


def closed(port: int) -> bool:
    """Return whether nothing listens at a port."""
    with socket.socket() as made:
        return made.connect_ex(("127.0.0.1", port)) != 0


def command_line(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "crossflare", "serve", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_port_in_use_is_told_in_a_line_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = command_line("--adapter", "sw=nowhere", "--port", str(port))
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"error: port {port} on 127.0.0.1 is in use; give another with --port\n"


def test_the_command_serves_and_stops(places, tmp_path):
    lexicon = tmp_path / "lexicon.tsv"
    lexicon.write_text("w1\tw21\nw2\tw22\n")
    command = [sys.executable, "-m", "crossflare", "serve", "--adapter", str(places["sw"]), "--port", "0"]
    command += ["--adapter", f"jv={places['jv']}", "--translate", f"sw=dictionary:lexicon={lexicon},licence=ours, all"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    port = int(line.partition("http://127.0.0.1:")[2].partition(";")[0])
    assert "without a source, jv read texts alone" in line
    assert post(port, "w1 w2")[1]["predictions"][0]["source"] == {"text": "w21 w22", "how": "translated"}
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "stopped; all requests in flight are answered\n"), log
