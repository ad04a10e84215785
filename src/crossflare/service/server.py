"""The process: uvicorn on a socket that is taken before any model is loaded, and an end in order."""

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from crossflare.service.address import not_taken
from crossflare.service.app import create_app
from crossflare.service.guard import App, Receive, Scope, Send
from crossflare.service.keys import Keys
from crossflare.service.limits import Limits
from crossflare.service.service import Service

NOTICE_SECONDS = 1.0
"""How long `/ready` says no before the socket is closed, so that others send their requests elsewhere."""
IDLE_SECONDS = 30
"""How long a connection may be idle between two requests."""
HEAD_BYTES = 32 << 10
"""The most bytes of the head of a request."""
BACKLOG = 512
Address = tuple[Any, ...]


class Connections:
    """Closes connections on which no request begins in time; uvicorn has no limit for that.

    It stands before the application, which a request reaches with its head complete.
    """

    def __init__(self, app: App, seconds: float) -> None:
        """Take the application, and how long a head may take."""
        self._app, self._seconds = app, seconds
        self._timers: dict[Address, asyncio.TimerHandle] = {}
        self._transports: dict[Address, asyncio.Transport] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through; the time for the next head begins with its end."""
        client = tuple(scope.get("client") or ())
        self._stop(client)
        try:
            await self._app(scope, receive, send)
        finally:
            if client in self._transports:
                self._begin(client, IDLE_SECONDS + self._seconds)

    def opened(self, transport: asyncio.Transport) -> None:
        """Start the time of a new connection."""
        client = _peer(transport)
        self._transports[client] = transport
        self._begin(client, self._seconds)

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        client = _peer(transport)
        if self._transports.get(client) is transport:
            self._stop(client)
            del self._transports[client]

    def _begin(self, client: Address, seconds: float) -> None:
        self._stop(client)
        self._timers[client] = asyncio.get_running_loop().call_later(seconds, self._end, client)

    def _stop(self, client: Address) -> None:
        if (timer := self._timers.pop(client, None)) is not None:
            timer.cancel()

    def _end(self, client: Address) -> None:
        if (transport := self._transports.get(client)) is not None:
            transport.abort()


def _peer(transport: asyncio.Transport) -> Address:
    return tuple(transport.get_extra_info("peername") or ())[:2]


def protocol_for(connections: Connections) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol, which also tells `connections` when one is opened and closed."""

    class Protocol(AutoHTTPProtocol):
        def connection_made(self, transport: Any) -> None:
            self._ours = transport
            connections.opened(transport)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.closed(self._ours)
            super().connection_lost(exc)

    return Protocol


class Server(uvicorn.Server):
    """uvicorn, with notice before it stops, and 0 as the exit code of a stop in order."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        """Take uvicorn's configuration, and the service that is told of the stop."""
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Give notice at the first signal, and stop after it; the second one ends all at once."""
        if self._service.stopping:
            self.should_exit = self.force_exit = True
            return
        self._service.stopping = True
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, NOTICE_SECONDS, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def serve(service: Service, keys: Keys, taken: socket.socket, tell: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, and then finish what is in flight.

    Args:
        service: What is served.
        keys: See `create_app`.
        taken: The socket of `take_address`.
        tell: Is told the address, once it listens.

    Raises:
        UserError: Another process listens there meanwhile.
    """
    limits: Limits = service.limits
    connections = Connections(create_app(service, keys), limits.header_seconds)
    config = uvicorn.Config(
        connections,
        http=protocol_for(connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(limits.drain_seconds)),
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=BACKLOG,
    )
    host, port = taken.getsockname()[:2]
    try:
        taken.listen(BACKLOG)
    except OSError as error:
        raise not_taken(host, port, error) from error
    shown = f"[{host}]" if ":" in host else host
    tell(f"http://{shown}:{port}")
    Server(config, service).run(sockets=[taken])


def log_requests(level: int = logging.INFO) -> None:
    """Print the service's own log lines to standard error, and those of no library."""
    ours = logging.getLogger("crossflare.service")
    ours.setLevel(level)
    ours.propagate = False
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    ours.addHandler(handler)
