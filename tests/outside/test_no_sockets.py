"""No verb opens a connection or asks for an address where the recipe names no model of a hub: an audit hook watches."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crossflare.cli import main
from tiny_adapters import SOURCES, TEXTS, make_adapters, write
from tiny_experiment import Lab, word_pairs

WATCH = """
import os, sys

def watch(event, arguments):
    place = os.environ.get("SOCKET_LOG")
    if place is None or not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.sendto", "socket.bind"):
        address = arguments[1]
        local = isinstance(address, (str, bytes))  # AF_UNIX: between the processes of one run
        probe = event == "socket.bind" and address[:2] == ("::1", 0)  # urllib3 looks for IPv6 when it is imported
        if local or probe:
            return
    elif event not in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        return
    with open(place, "a") as file:
        file.write(f"{event} {arguments[1:]!r}\\n")

sys.addaudithook(watch)
"""
"""Writes down each connection, each datagram and each look-up of a name, in this process and in those it starts."""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file with what was seen; it is there once something was."""
    monkeypatch.setenv("SOCKET_LOG", str(tmp_path / "sockets.log"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sockets.log"


@pytest.fixture(scope="module", autouse=True)
def watched() -> None:
    exec(compile(WATCH, "watch", "exec"), {})  # a hook stays; it is silent without SOCKET_LOG


def test_control_the_hook_sees_a_connection_and_a_look_up(log: Path) -> None:
    import socket

    with socket.socket() as one:
        one.settimeout(0.01)
        assert one.connect_ex(("127.0.0.1", 9)) != 0
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("nowhere.invalid", 80)
    seen = log.read_text().splitlines()
    assert [line.split()[0] for line in seen] == ["socket.connect", "socket.getaddrinfo"]


def test_verbs_that_read(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    adapters = make_adapters(tmp_path / "models")
    rows = [{"text": text, "english": source} for text, source in zip(TEXTS, SOURCES, strict=True) if text.strip()]
    write(tmp_path / "in.jsonl", rows)
    (tmp_path / "words.tsv").write_text("w1\tw2\n")
    lab = Lab(tmp_path / "lab", languages=("es",), seeds=(0,))
    recipe = str(lab.write(None, ("zero-shot", "flare")))
    read = ["--input", "in.jsonl", "--output", "out.jsonl"]
    for words in (
        ["methods"],
        ["languages"],
        ["languages", "sw"],
        ["validate", recipe],
        ["plan", recipe],
        ["validate", str(adapters / "flare")],
        ["predict", "--adapter", str(adapters / "flare"), *read, "--source", "english"],
        [
            "translate",
            "in.jsonl",
            "--from",
            "en",
            "--to",
            "sw",
            "--engine",
            "dictionary",
            "--option",
            "lexicon=words.tsv",
        ],
    ):
        assert main(words) == 0, words
        assert not log.exists(), (words, log.read_text())


@pytest.mark.slow  # starts Python, and runs a whole recipe in two processes
def test_every_verb_in_processes_of_its_own_that_may_go_online(log: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WATCH)
    lab = Lab(tmp_path / "lab", languages=("es",), seeds=(0,))
    recipe = str(lab.write(None, ("zero-shot", "lora", "flare")))
    write(tmp_path / "in.jsonl", [{"text": there, "english": here} for there, here in word_pairs("es")])
    (tmp_path / "words.tsv").write_text("malo\tbad\n")
    environment: dict[str, Any] = {name: each for name, each in os.environ.items() if not name.endswith("_OFFLINE")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    adapter = "runs/tiny/adapters/flare-es-seed0"
    for words in (
        ["validate", recipe],
        ["plan", recipe],
        ["run", recipe, "--workers", "2"],
        ["report", "runs/tiny"],
        ["validate", adapter],
        ["predict", "--adapter", adapter, "--input", "in.jsonl", "--output", "out.jsonl", "--source", "english"],
        [
            "translate",
            "in.jsonl",
            "--from",
            "es",
            "--to",
            "en",
            "--engine",
            "dictionary",
            "--option",
            "lexicon=words.tsv",
        ],
        ["doctor", "--json"],
        ["methods"],
        ["languages"],
    ):
        command = [sys.executable, "-m", "crossflare", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        assert not log.exists(), (words, log.read_text())
    control = "import socket; socket.getaddrinfo('nowhere.invalid', 80)"
    subprocess.run([sys.executable, "-c", control], env=environment, capture_output=True, check=False)
    assert "socket.getaddrinfo" in log.read_text()
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["prediction"] in ("bad", "good")
