"""All limits of the service in one place; `/info` shows them."""

from dataclasses import dataclass, fields

from crossflare.errors import UserError


@dataclass(frozen=True)
class Limits:
    """What a client may send, how long it may take, and how much work may wait."""

    body_bytes: int = 1 << 20
    """The largest body of a request, in bytes; a larger one gets 413."""
    texts: int = 64
    """The most texts of a request; more get 422."""
    characters: int = 10_000
    """The most characters of a text or a source; a longer one gets 422."""
    waiting_rows: int = 1024
    """The most rows, of all requests together, that are not answered yet; beyond it a request gets 429."""
    open_requests: int = 256
    """The most requests whose bodies are read or answered at once; beyond it a request gets 429."""
    batch_tokens: int = 4096
    """The most tokens of a batch at the model, text and source, padding included; a single row may have more."""
    batch_rows: int = 64
    """The most rows of a batch at the model."""
    request_seconds: float = 60.0
    """The longest time from a whole request to its answer; after it a request gets 504."""
    header_seconds: float = 10.0
    """The longest time from a connection, or from the last answer on it, to the whole head of a request."""
    body_seconds: float = 10.0
    """The longest time that a body may take to arrive; after it a request gets 408."""
    translate_seconds: float = 20.0
    """The longest time of one call of a translation engine; after it the engine is ended and started again."""
    cached_characters: int = 4_000_000
    """The characters of texts and translations that are kept in memory for each engine."""
    drain_seconds: float = 30.0
    """The longest time that a stop waits for the requests in flight."""

    def __post_init__(self) -> None:
        """Refuse a limit that would let nothing through."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                raise UserError(f"{field.name}: expected a number above 0, got {value}")
