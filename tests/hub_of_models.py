"""A hub on this machine, with what `crossflare fetch` asks of one: a model's facts, and its files in ranges."""

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "1f" * 20


class Hub:
    """The models of a hub, and what it was asked."""

    def __init__(self) -> None:
        self.models: dict[str, Path] = {}
        """Name -> the folder with its files."""
        self.gated: set[str] = set()
        self.cut: dict[str, int] = {}
        """File -> after how many bytes the connection breaks, once."""
        self.commit = COMMIT
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path, and range of each request."""
        self.url = ""

    def facts(self, name: str) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for path in sorted(each for each in self.models[name].rglob("*") if each.is_file()):
            content = path.read_bytes()
            sibling = {"rfilename": path.relative_to(self.models[name]).as_posix(), "size": len(content)}
            if path.suffix in (".bin", ".safetensors"):
                sibling["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
            siblings.append(sibling)
        return {"id": name, "modelId": name, "sha": self.commit, "siblings": siblings, "gated": name in self.gated}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _send(self, code: int, content: bytes, headers: dict[str, str] | None = None, *, body: bool = True) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        if name not in hub.models:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
        given = parts[5] if api and len(parts) > 5 else parts[3] if not api else "main"
        if given not in ("main", "v1", hub.commit):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
        if api and "tree" in parts:
            tree = [
                {"type": "file", "path": each["rfilename"], "size": each["size"], "oid": "0" * 40}
                | ({"lfs": {**each["lfs"], "oid": each["lfs"]["sha256"]}} if "lfs" in each else {})
                for each in hub.facts(name)["siblings"]
            ]
            return self._send(200, json.dumps(tree).encode(), body=body)
        if api:
            return self._send(200, json.dumps(hub.facts(name)).encode(), body=body)
        if name in hub.gated:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body=body)
        return self._file(hub.models[name] / "/".join(parts[4:]), body=body)

    def _file(self, place: Path, *, body: bool) -> None:
        if not place.is_file():
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body=body)
        content = place.read_bytes()
        tag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": self.hub.commit, "Accept-Ranges": "bytes"}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        cut = self.hub.cut.pop(place.name, None) if body else None
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if cut is None:
            return self._send(206 if start else 200, content[start:], headers, body=body)
        self._send(200, content, headers, body=False)
        self.wfile.write(content[:cut])
        self.wfile.flush()
        self.close_connection = True


@contextmanager
def serving(patch: pytest.MonkeyPatch) -> Generator[Hub]:
    """Serve a hub on this machine, and let its client go online, there alone."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    patch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    patch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    patch.setattr("huggingface_hub.hf_api.api.endpoint", hub.url)
    patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
