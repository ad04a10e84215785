"""The template of a prompt, and the address of the server that may answer it."""

from collections.abc import Sequence
from string import Formatter
from urllib.parse import urlsplit

from crossflare.errors import UserError, nearest

LABELS = "labels"
"""The field that stands for the words of all labels."""
FIELDS = ("text", "text2", "question", "context", LABELS)
"""What a template may name in braces."""


def check_template(template: str) -> None:
    """Raise `UserError` for a template whose braces are wrong, or name no field."""
    try:
        found = [(name, kind, turned) for _, name, kind, turned in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UserError(f"expected fields as {{text}}, got wrong braces ({error}); write {{{{ for a brace") from error
    for name, kind, turned in found:
        if name not in FIELDS or kind or turned:
            raise UserError(f"unknown field {{{name}}}: {nearest(name, FIELDS)}; write {{{{ for a brace")


def fields_of(asks: bool, texts: int) -> tuple[str, ...]:
    """Return the names of a row's texts in a template, in the order of `Example.texts`."""
    if asks:
        return ("question", "context")
    return ("text", "text2")[:texts]


def check_fields(template: str, fields: Sequence[str]) -> None:
    """Raise `UserError` if a template leaves out a text of the rows, or names one that they do not have."""
    named = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    absent = [name for name in fields if name not in named]
    strange = sorted(named - {*fields, LABELS}) + (["labels"] if LABELS in named and "question" in fields else [])
    if absent or strange:
        expected = " and ".join(f"{{{name}}}" for name in fields)
        got = f"it lacks {{{absent[0]}}}" if absent else f"the rows have no {{{strange[0]}}}"
        raise UserError(f"expected a template with {expected}, but {got}; correct it")


def default_template(asks: bool, texts: int) -> str:
    """Return the template of crossflare's own for a task."""
    if asks:
        return "Context: {context}\nQuestion: {question}\nAnswer:"
    before = "{text}" if texts == 1 else "Premise: {text}\nHypothesis: {text2}"
    return f"{before}\nLabel (one of: {{labels}}):"


def filled(template: str, fields: Sequence[str], texts: Sequence[str], words: Sequence[str]) -> str:
    """Return a template with a row's texts and the words of the labels in it."""
    values = {**dict(zip(fields, texts, strict=True)), LABELS: ", ".join(words)}
    parts = Formatter().parse(template)
    return "".join(plain + ("" if name is None else values[name]) for plain, name, _, _ in parts)


def check_endpoint(address: str) -> None:
    """Raise `UserError` for an address that is not a server's, or that holds a key: it is written into records."""
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound, parts = False, urlsplit("")
    if not sound or not address.isascii() or any(sign.isspace() for sign in address):
        raise UserError(f"expected an address such as http://localhost:8000/v1, got {address!r:.60}")
    if parts.username is not None or parts.query or parts.fragment:
        raise UserError(
            "expected an address alone, which is written into records, got one with a user, ? or #; name the "
            "environment variable that holds the key in key_env"
        )
