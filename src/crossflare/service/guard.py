"""What stands before the routes: keys, the size, pace and form of bodies, and what every answer and log line has.

It is plain ASGI. A body is read here, whole and within its limits, before anything parses it.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from crossflare.service.batches import where_of
from crossflare.service.keys import Keys
from crossflare.service.limits import Limits
from crossflare.service.metrics import Metrics
from crossflare.service.problems import ProblemError, internal
from crossflare.service.strict_json import check_json

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_ROUTES = frozenset({"/health", "/ready"})
"""Routes that need no key: what starts and stops the service asks them."""
CLIENT_GONE = 499
"""The status in the log of a request whose client did not wait; it gets no answer."""
LINGER_SECONDS, LINGER_BYTES = 2.0, 64 << 20
"""How long, and how much, a body that is refused is still read and thrown away: else many clients see no answer."""
_requests = logging.getLogger("crossflare.service.requests")


@dataclass(slots=True)
class Seen:
    """What the log and the metrics say of a request; a route puts it in."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    route: str = "(other)"
    status: int = CLIENT_GONE
    rows: int = 0
    languages: Sequence[str] = ()
    begin: float = field(default_factory=time.monotonic)


class ClientGoneError(Exception):
    """The client closed its connection."""


class Guard:
    """An ASGI application before another one."""

    def __init__(self, app: App, *, routes: Mapping[str, str], limits: Limits, keys: Keys, metrics: Metrics) -> None:
        """Take the application, its routes (path -> method), the limits, the keys, and where requests are counted."""
        self._app, self._routes, self._limits, self._keys, self._metrics = app, routes, limits, keys, metrics
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = scope["crossflare"] = Seen()
        seen.route = scope["path"] if scope["path"] in self._routes else seen.route

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", seen.id.encode())]
            async with asyncio.timeout(self._limits.body_seconds):  # a client that does not read its answer
                await send(message)

        self._open += 1
        try:
            await self._guarded(scope, receive, watched, seen)
        except ClientGoneError:
            pass
        except Exception as error:
            _requests.error("%s %s", seen.id, where_of(error))
            if seen.status == CLIENT_GONE:
                await answer(watched, internal(), seen.id)
        finally:
            self._open -= 1
            self._tell(scope, seen)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, seen: Seen) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        reader = _Reader(receive, headers, self._limits)
        try:
            self._check_head(scope, headers, seen)
            if scope["method"] == "POST":
                reader.check_length()
                body = await reader.read()
                check_json(body)
                receive = _again(body, receive)
        except ProblemError as problem:
            await answer(send, problem, seen.id, linger=reader)
            return
        await self._app(scope, receive, send)

    def _check_head(self, scope: Scope, headers: Mapping[bytes, bytes], seen: Seen) -> None:
        """Refuse what its head shows to be wrong, before any of its body is read."""
        if self._keys and seen.route not in OPEN_ROUTES and not self._keys.admit(headers.get(b"authorization", b"")):
            said = "expected a key of this service in the header `Authorization: Bearer KEY`"
            raise ProblemError(HTTPStatus.UNAUTHORIZED, said)
        method = self._routes.get(scope["path"])
        if method is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, f"no such route; there are {', '.join(sorted(self._routes))}")
        if scope["method"] != method:
            raise ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, f"this route takes {method}", allow=method)
        if method != "POST":
            return
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json" or headers.get(b"content-encoding", b"identity") != b"identity":
            said = "expected `Content-Type: application/json` and no `Content-Encoding`"
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, said)
        if self._open > self._limits.open_requests:
            said = f"more than {self._limits.open_requests} requests are open; try again later"
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, said, retry_after=1.0)

    def _tell(self, scope: Scope, seen: Seen) -> None:
        took = time.monotonic() - seen.begin
        self._metrics.request(seen.route, seen.status, took)
        method = (
            scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS") else "(other)"
        )
        languages = ",".join(seen.languages) or "-"
        line = "%s %s %s %d %.1fms rows=%d %s"
        _requests.info(line, seen.id, method, seen.route, seen.status, 1000 * took, seen.rows, languages)


class _Reader:
    """A body on its way."""

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes], limits: Limits) -> None:
        self._receive, self._headers, self._limits = receive, headers, limits
        self.waits = b"expect" in headers
        """Whether the client sends its body only when it is asked to."""
        self.more = b"content-length" in headers or b"transfer-encoding" in headers
        """Whether there may be more of the body."""

    def check_length(self) -> None:
        """Refuse a body that says that it is too large."""
        length = self._headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 15 or int(length) > self._limits.body_bytes:
            raise self._too_large()

    async def read(self) -> bytes:
        """Return the whole body, within the limits of size and time."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for part in self.parts():
                    body += part
                    if len(body) > self._limits.body_bytes:
                        raise self._too_large()
        except TimeoutError as error:
            self.more = False  # who sends so slowly is not waited for once more
            said = f"the body took more than {self._limits.body_seconds:.0f} seconds to arrive; send it faster"
            raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, said) from error
        return bytes(body)

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts of the body as they come."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self.more = bool(message.get("more_body", False))
            yield message.get("body", b"")
            if not self.more:
                return

    async def discard(self) -> None:
        """Read what is left of the body, for a short time, and throw it away."""
        if not self.more or self.waits:
            return
        read = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                async for part in self.parts():
                    read += len(part)
                    if read > LINGER_BYTES:
                        return
        except (TimeoutError, ClientGoneError):
            return

    def _too_large(self) -> ProblemError:
        said = f"expected a body of at most {self._limits.body_bytes} bytes; send fewer or shorter texts"
        return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)


async def answer(send: Send, problem: ProblemError, id: str, linger: _Reader | None = None) -> None:
    """Send a problem as an answer; a connection with an unread body is closed after it."""
    body = json.dumps({"error": problem.message, "id": id}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after))).encode()))
    if problem.allow is not None:
        headers.append((b"allow", problem.allow.encode()))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    unread = linger is not None and (linger.more or problem.status == HTTPStatus.REQUEST_TIMEOUT)
    if unread:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": int(problem.status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": unread})
    if linger is not None and unread:
        await linger.discard()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read, and then whatever comes after it."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay
