"""What Prometheus reads of the service: requests, rows, batches, queue and engines; never a text."""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from crossflare.service.batches import WaitingRow
from crossflare.service.translations import Translations

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Metrics:
    """The numbers of one service, in a registry of its own."""

    def __init__(self) -> None:
        """Start all numbers at 0."""
        registry = self.registry = CollectorRegistry()
        self._requests = Counter(
            "crossflare_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "crossflare_request_seconds", "From the head of a request to its answer", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._rows = Counter(
            "crossflare_rows", "Rows answered, by language and source", ["language", "source"], registry=registry
        )
        self._batch_rows = Histogram("crossflare_batch_rows", "Rows of a batch", buckets=ROWS, registry=registry)
        self._batch_tokens = Histogram(
            "crossflare_batch_tokens", "Tokens of a batch without padding", buckets=TOKENS, registry=registry
        )

    def watch(
        self, waiting: Callable[[], int], open_rows: Callable[[], int], engines: Mapping[str, Translations]
    ) -> None:
        """Show the rows that wait for the model, those that are not answered yet, and which engines work."""
        registry = self.registry
        Gauge("crossflare_rows_waiting", "Rows that wait for the model", registry=registry).set_function(waiting)
        Gauge("crossflare_rows_open", "Rows that are not answered yet", registry=registry).set_function(open_rows)
        up = Gauge("crossflare_engine_up", "Whether the engine of a language works", ["language"], registry=registry)
        for name, engine in engines.items():
            up.labels(name).set_function(lambda engine=engine: float(engine.state == "ready"))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, language: str, source: str) -> None:
        """Count a row with its prediction."""
        self._rows.labels(language, source).inc()

    def batch(self, rows: Sequence[WaitingRow]) -> None:
        """Count a batch."""
        self._batch_rows.observe(len(rows))
        self._batch_tokens.observe(sum(row.tokens for row in rows))

    def text(self) -> bytes:
        """Return all numbers in Prometheus's text format."""
        return generate_latest(self.registry)
