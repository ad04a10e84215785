"""JSON as RFC 8259 has it, and no more: what parsers read in different ways is refused."""

import json
from http import HTTPStatus
from typing import Any, cast

from crossflare.service.problems import ProblemError

DEEPEST = 16
"""The most levels of lists and objects in each other; a request of ours has three."""


def check_json(body: bytes) -> None:
    """Refuse a body that is not JSON, or that has a key twice, NaN, a number too long to read, or too many levels.

    Raises:
        ProblemError: With the status 400.
    """
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise _malformed(f"is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise _malformed(f"has more than {DEEPEST} levels") from error
    except json.JSONDecodeError as error:
        raise _malformed(f"is not JSON at character {error.pos}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise _malformed("has a number that is too long") from error
    _check_depth(value)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += cast(dict[str, Any], each).values()
            elif isinstance(each, list):
                inner += cast(list[Any], each)
        level = inner
        if not level:
            return
    raise _malformed(f"has more than {DEEPEST} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _malformed("has a key twice in one object")
    return made


def _refuse(name: str) -> None:
    raise _malformed(f"holds {name}, which JSON does not have")


def _malformed(what: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, f"the body {what}; send a JSON object in UTF-8")
