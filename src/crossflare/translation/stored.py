"""One row of the store, as a line of JSON that shows whether it is still what was written.

    {"key": sha256 of the text, "check": sha256 of text and translation, its beginning, "text": ..., "translation": ...}

Rows of older versions have no `check`, and are held to their key alone. `check` stands before the text, so that no cut
through a row or two makes a row that looks like one of those.
"""

import hashlib
import json

CHECK = 16
"""Hex digits of `check`."""
_READ, _WRITE = json.JSONDecoder().raw_decode, json.JSONEncoder(ensure_ascii=False).encode


def text_key(text: str) -> str:
    """Return the sha256 of a text in hex."""
    return digest(text).hex()


def digest(text: str) -> bytes:
    """Return the sha256 of a text."""
    return hashlib.sha256(_encode(text)).digest()


def write_row(text: str, translation: str) -> bytes:
    """Return the line, with its line feed, that keeps a text and its translation."""
    return _encode(_WRITE(_row(text, translation))) + b"\n"


def read_row(line: bytes) -> tuple[str, str] | str:
    """Return (text, translation) of a line, or why it is damaged."""
    try:
        content = line.decode("utf-8", "surrogatepass")
        row, end = _READ(content)
        if end < len(content):
            return "more than one row in a line"
        text, translation = row["text"], row["translation"]
        if not (isinstance(text, str) and isinstance(translation, str)):
            return "no texts"
        whole = _row(text, translation)
        if row["key"] != whole["key"]:
            return "the text is not the one of the key"
        older = {name: value for name, value in whole.items() if name != "check"}
        return (text, translation) if row in (whole, older) else "not as it was written"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return str(error)


def _row(text: str, translation: str) -> dict[str, str]:
    check = digest(_WRITE([text, translation])).hex()[:CHECK]
    return {"key": text_key(text), "check": check, "text": text, "translation": translation}


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
