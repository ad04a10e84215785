"""A model hub on this machine: the few endpoints that huggingface_hub needs to make, fill and read a repository."""

import base64
import hashlib
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest

Files = dict[str, bytes]
FIRST: Files = {".gitattributes": b""}


class Hub:
    """Repositories in memory: name -> commit -> files, and name -> branch -> commit."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, Files]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.refuse_commits: int | None = None
        """The status with which commits are refused."""

    def make(self, name: str, private: bool = False) -> None:
        """Make a repository with a first commit."""
        self.commits[name], self.branches[name] = {}, {}
        self.add(name, "main", FIRST)
        if private:
            self.private.add(name)

    def add(self, name: str, branch: str, files: Files) -> str:
        """Add a commit that holds these files, and return it."""
        said = json.dumps([len(self.commits[name]), sorted(map(str, files))])
        commit = hashlib.sha1(said.encode()).hexdigest()
        self.commits[name][commit], self.branches[name][branch] = dict(files), commit
        return commit

    def files(self, name: str, revision: str = "main") -> Files:
        """Return the files of a branch or a commit."""
        return self.commits[name][self.branches[name].get(revision, revision)]

    def fetched(self, name: str) -> set[str]:
        """Return the files of a repository that were asked for."""
        found = [re.fullmatch(rf"/{name}/resolve/[^/]+/(.+)", path) for _, path in self.requests]
        return {match[1] for match in found if match}


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(*self._get(), body=False)

    def do_GET(self) -> None:
        self._answer(*self._get())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(*self._post(body))

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None, *, body: bool = True) -> None:
        sent = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(sent))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(sent)

    def _get(self) -> tuple[Any, ...]:
        hub, path = self.hub, unquote(self.path.partition("?")[0])
        hub.requests.append((self.command, path))
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "orgs": []}
        if (found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/(.+))?", path)) is not None:
            name, revision = found[1], found[2] or "main"
        elif (found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)) is not None:
            name, revision = found[1], found[2]
        else:
            return 404, {}
        if name not in hub.commits:
            return 404, {}, {"X-Error-Code": "RepoNotFound"}
        commit = hub.branches[name].get(revision, revision)
        if commit not in hub.commits[name]:
            return 404, {}, {"X-Error-Code": "RevisionNotFound"}
        files = hub.commits[name][commit]
        if "/tree/" in path:
            oids = {each: hashlib.sha1(content).hexdigest() for each, content in files.items()}
            return 200, [{"type": "file", "path": each, "size": len(files[each]), "oid": oids[each]} for each in files]
        if path.startswith("/api/"):
            siblings = [{"rfilename": each, "size": len(files[each])} for each in files]
            return 200, {"id": name, "sha": commit, "private": name in hub.private, "siblings": siblings}
        if name in hub.gated:
            return 403, {}, {"X-Error-Code": "GatedRepo"}
        if found[3] not in files:
            return 404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
        content = files[found[3]]
        return 200, content, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}

    def _post(self, body: bytes) -> tuple[Any, ...]:
        hub, path = self.hub, unquote(self.path.partition("?")[0])
        hub.requests.append((self.command, path))
        if path == "/api/validate-yaml":
            wrong = "license: nonsense" in json.loads(body)["content"]
            return (
                (400, b'"license" must be one of\n[apache-2.0, ...]')
                if wrong
                else (200, {"errors": [], "warnings": []})
            )
        if path == "/api/repos/create":
            said = json.loads(body)
            name = f"{said.get('organization') or 'me'}/{said['name']}"
            if name in hub.commits:
                return 409, {"url": name}
            hub.make(name, bool(said.get("private") or said.get("visibility") == "private"))
            return 200, {"url": f"https://huggingface.co/{name}", "id": "0", "name": name}
        if (found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/(.+)", path)) is None:
            return 404, {}
        name, what, branch = found[1], found[2], found[3]
        if what == "branch":
            hub.branches[name].setdefault(branch, hub.branches[name]["main"])
            return 200, {}
        if what == "preupload":
            asked = [{"path": each["path"], "uploadMode": "regular"} for each in json.loads(body)["files"]]
            return 200, {"files": [each | {"shouldIgnore": False} for each in asked]}
        if hub.refuse_commits is not None:
            return hub.refuse_commits, {"error": "no"}
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        files = dict(hub.files(name, branch))
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        commit = hub.add(name, branch, files)
        return 200, {
            "commitUrl": f"https://huggingface.co/{name}/commit/{commit}",
            "commitOid": commit,
            "hookOutput": "",
        }


@contextmanager
def serving(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Hub]:
    """Let huggingface_hub talk to `hub`, with a cache of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    at, place = f"http://127.0.0.1:{server.server_address[1]}", "huggingface_hub.constants"
    monkeypatch.setattr(f"{place}.ENDPOINT", at)
    monkeypatch.setattr(f"{place}.HUGGINGFACE_CO_URL_TEMPLATE", at + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(f"{place}.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(f"{place}.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
