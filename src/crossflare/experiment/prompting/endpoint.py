"""A language model behind an OpenAI-compatible server: one answer to one prompt, with bounded patience.

urllib is enough, since an answer takes far longer than a connection, and it needs no further package. Redirects are not
followed: the key would travel with them. Whatever the server sends is cleared of the key before it is shown or kept.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from crossflare.errors import UserError

AGAIN = frozenset({408, 425, 429})
"""Statuses after which the same request may succeed, beside those from 500 on."""
LARGEST = 1 << 20
"""The most bytes of an answer that are read."""
LONGEST = 600.0
"""The most seconds that a server may ask to wait (Retry-After)."""
SHOWN = 200
"""The most characters of a server's words in a message."""


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    text: str
    model: str
    """The model's name as the server says it; empty if it says none."""


class _AgainError(Exception):
    """The request may succeed when it is made again."""

    def __init__(self, said: str, after: float | None = None) -> None:
        super().__init__(said)
        self.after = after


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        return None


@dataclass(frozen=True)
class Endpoint:
    """A server and the name that it knows a model by."""

    address: str
    model: str
    key_env: str | None = None
    """The environment variable that holds the key; None: no key is sent."""
    timeout: float = 120
    """The most seconds of one try."""
    tries: int = 5
    wait: Callable[[float], None] = time.sleep

    @property
    def chats(self) -> bool:
        """Whether the model is asked as in a chat; else it continues the prompt."""
        return not self.address.endswith("/completions") or self.address.endswith("/chat/completions")

    @property
    def url(self) -> str:
        """The address that prompts are sent to."""
        place = self.address.rstrip("/")
        return place if place.endswith("/completions") else f"{place}/chat/completions"

    def key(self) -> str:
        """Return the key from the environment; empty where none is needed.

        Raises:
            UserError: The variable is not set, or holds what no header can.
        """
        if self.key_env is None:
            return ""
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise UserError(
                f"the environment variable {self.key_env} is not set; run `export {self.key_env}=KEY` first"
            )
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"the key in {self.key_env} has signs that no key has, such as a line break; set it again")
        return key

    def ask(self, prompt: str, tokens: int) -> Reply:
        """Return the answer to a prompt, of at most `tokens` tokens, at temperature 0.

        Raises:
            UserError: The server refuses the request, or does not answer in time and form after all tries.
        """
        key = self.key()
        for number in range(1, self.tries + 1):
            try:
                return self._once(prompt, tokens, key)
            except _AgainError as error:
                if number == self.tries:
                    raise UserError(
                        f"{self.address}: no answer after {self.tries} tries, at last {error}; see to the server and "
                        "run again: all answers so far are kept"
                    ) from None
                self.wait(2.0 ** (number - 1) if error.after is None else error.after)
        raise AssertionError("a try returns or raises")

    def _once(self, prompt: str, tokens: int, key: str) -> Reply:
        asked = {"messages": [{"role": "user", "content": prompt}]} if self.chats else {"prompt": prompt}
        body = json.dumps({"model": self.model, **asked, "temperature": 0, "max_tokens": tokens}).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        begun = time.monotonic()
        try:
            with build_opener(_NoRedirect()).open(Request(self.url, body, headers), timeout=self.timeout) as response:
                data = b""
                while len(data) <= LARGEST and (piece := response.read1(1 << 16)):
                    data += piece
                    if time.monotonic() - begun > self.timeout:
                        raise _AgainError(f"nothing whole within {self.timeout:g} seconds")
        except HTTPError as error:
            with error:
                raise self._refused(error, key) from None
        except TimeoutError:
            raise _AgainError(f"nothing within {self.timeout:g} seconds") from None
        except (OSError, HTTPException) as error:  # URLError is an OSError
            late = isinstance(getattr(error, "reason", None), TimeoutError)
            why = f"nothing within {self.timeout:g} seconds" if late else f"no connection ({_cleared(str(error), key)})"
            raise _AgainError(why) from None
        return self._read(_cleared(data.decode("utf-8", "replace"), key, LARGEST))

    def _read(self, text: str) -> Reply:
        try:
            said: Any = json.loads(text)
            first = said["choices"][0]
            answer = first["message"]["content"] if self.chats else first["text"]
            answer = "" if answer is None else answer
            if not isinstance(answer, str):
                raise TypeError
        except (ValueError, LookupError, TypeError, RecursionError):
            kept = " ".join(text.split())[:60]
            raise _AgainError(f"something else than an answer in JSON ({kept!r})") from None
        name = said.get("model")
        return Reply(answer, name[:SHOWN] if isinstance(name, str) else "")

    def _refused(self, error: HTTPError, key: str) -> Exception:
        """Return the exception for a status that is no success."""
        status = error.code
        if status in AGAIN or status >= 500:
            after = _seconds(error.headers.get("Retry-After"))
            if after is not None and after > LONGEST:
                return UserError(
                    f"{self.address}: it asks to wait {after:.0f} seconds; run again then: answers are kept"
                )
            return _AgainError(f"status {status}", after)
        if 300 <= status < 400:
            where = _cleared(str(error.headers.get("Location")), key)
            return UserError(f"{self.address}: it sends on to {where}, which is not followed; name that address")
        try:
            said = error.read(LARGEST).decode("utf-8", "replace")
        except (OSError, HTTPException):
            said = ""
        hint = {401: "check the key", 403: "check the key", 404: "check address and model"}.get(
            status, "check the recipe"
        )
        if status in (401, 403) and self.key_env is None:
            hint = "name the environment variable that holds the key in key_env"
        return UserError(
            f"{self.address}: it refuses the request, status {status} ({_cleared(_message(said), key)}); {hint}"
        )


def _message(said: str) -> str:
    """Return the message of an error in JSON, or the beginning of the text."""
    try:
        error = json.loads(said)["error"]
        return str(error["message"] if isinstance(error, dict) else error)  # pyright: ignore[reportUnknownArgumentType]
    except (ValueError, LookupError, TypeError, RecursionError):
        return said


def _cleared(text: str, key: str, most: int = SHOWN) -> str:
    """Return a text without the key, shortened."""
    return (text.replace(key, "[key]") if key else text)[:most]


def _seconds(header: str | None) -> float | None:
    """Return the seconds that Retry-After asks to wait; None where it says nothing that can be read."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
