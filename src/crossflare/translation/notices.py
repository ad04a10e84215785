"""What a user must read once: licences that bind, and which of several languages a tag means."""

import logging

_log = logging.getLogger("crossflare")
_said: set[str] = set()


def once(message: str) -> None:
    """Log `message` as a warning, the first time in this process; it reaches standard error unless told otherwise."""
    if message not in _said:
        _said.add(message)
        _log.warning("%s", message)


def show_licence(model: str, licence: str) -> None:
    """Say so, once, when a licence forbids commercial use."""
    if "-nc" in licence.lower():
        once(f"{model}: its licence {licence} forbids commercial use of the model and of what it translates")
