"""A server on this machine that answers as an OpenAI-compatible one does, with the faults that a test names."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, ClassVar

Answer = Callable[[str], str]
Fault = tuple[int, str, dict[str, str]]
"""Status, body and headers in place of an answer; status 0: the body is sent as it is and the connection ends."""


@dataclass
class ModelServer:
    """What the server answers, and what it was asked."""

    answer: Answer = lambda prompt: "good"
    faults: list[Fault] = field(default_factory=list)
    """The next requests get these, one after the other; `hang` in the body: no answer until the server closes."""
    prompts: list[str] = field(default_factory=list)
    """The prompts that got an answer or a fault, without the first call of a run."""
    firsts: int = 0
    """How often a run asked for one token before it began."""
    keys: set[str] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    address: str = ""
    closing: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)
    at_once: int = 0


class _Handler(BaseHTTPRequestHandler):
    server_of: ClassVar[ModelServer]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        mine = self.server_of
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        chats = "messages" in body
        prompt = body["messages"][0]["content"] if chats else body.get("prompt", "")
        first = body.get("max_tokens") == 1 and prompt == "Hello"
        with mine.lock:
            mine.paths.append(self.path)
            mine.bodies.append(body)
            mine.keys.add(self.headers.get("Authorization") or "")
            mine.firsts += first
            if not first:
                mine.prompts.append(prompt)
            fault = mine.faults.pop(0) if mine.faults else None
            mine.at_once += 1
            mine.most_at_once = max(mine.most_at_once, mine.at_once)
        try:
            self._send(fault, prompt, chats, body)
        finally:
            with mine.lock:
                mine.at_once -= 1

    def _send(self, fault: Fault | None, prompt: str, chats: bool, body: dict[str, Any]) -> None:
        if fault is not None and fault[1] == "hang":
            self.server_of.closing.wait(30)
            self.close_connection = True
            return
        text = self.server_of.answer(prompt)
        choice = {"message": {"role": "assistant", "content": text}} if chats else {"text": text}
        whole = json.dumps({"model": f"{body.get('model')}-0613", "choices": [choice]})
        status, sent, headers = fault or (200, whole, {})
        if sent == "half":
            status, sent, headers = 200, whole[: len(whole) // 2], {"Content-Length": str(len(whole))}
            self.close_connection = True
        data = sent.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(mine: ModelServer | None = None) -> Generator[ModelServer]:
    """Answer on a free port of this machine; `address` is the one for a recipe."""
    mine = mine or ModelServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_of": mine}))
    server.daemon_threads = True
    mine.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        mine.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
