"""The keys of the users: from a file or the environment, and compared without telling how near a wrong one is."""

import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from crossflare.errors import UserError

VARIABLE = "CROSSFLARE_SERVE_KEYS"
"""The environment variable with keys, separated by blanks, where there is no file."""
SHORTEST, MOST = 16, 1000


class Keys:
    """The keys that are let in; only their digests are kept."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Take the keys.

        Raises:
            UserError: A key is shorter than `SHORTEST` or has a sign that a header cannot hold, or there are too many.
        """
        given = list(dict.fromkeys(keys))
        for number, key in enumerate(given, start=1):
            if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                raise UserError(
                    f"key {number}: expected at least {SHORTEST} visible ASCII signs, got another; make one with: "
                    'python -c "import secrets; print(secrets.token_urlsafe(32))"'
                )
        if len(given) > MOST:
            raise UserError(f"expected at most {MOST} keys, got {len(given)}; remove old ones")
        self._secret = secrets.token_bytes(32)
        self._digests = [self._digest(key.encode()) for key in given]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, authorization: bytes) -> bool:
        """Return whether the value of a header `Authorization` has one of the keys.

        Digests are compared, and all of them whichever is right: the time tells nothing about any key.
        """
        scheme, _, key = authorization.partition(b" ")
        digest, found = self._digest(key.strip()), False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found and scheme.lower() == b"bearer"

    def _digest(self, key: bytes) -> bytes:
        return hmac.digest(self._secret, key, "sha256")


def keys_from(file: Path | None) -> Keys:
    """Return the keys of a file, one on each line that is not blank and does not begin with #; or of the environment.

    Raises:
        UserError: The file cannot be read or has no key, or a key is refused by `Keys`.
    """
    if file is None:
        return Keys(os.environ.get(VARIABLE, "").split())
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{file}: the keys cannot be read ({why}); give a text file with a key on each line") from error
    keys = Keys(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise UserError(f"{file}: expected a key on each line, found none; leave --key-file out to serve this machine")
    return keys
