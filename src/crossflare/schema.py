"""What a value of a stranger's JSON may be: small checks that are put together into a table of a file's keys."""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from crossflare.errors import UserError

Check = Callable[[object], bool]
Schema = Mapping[str, tuple[Check, str]]
"""Key -> what its value may be, and the words for it."""
MOST = 1000
"""Entries of a list."""


def none(value: object) -> bool:
    """Whether a value is null."""
    return value is None


def flag(value: object) -> bool:
    """Whether a value is true or false."""
    return isinstance(value, bool)


def whole(low: float, high: float) -> Check:
    """Whole numbers in a range, both ends included."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def number(low: float, high: float) -> Check:
    """Finite numbers in a range, both ends included."""
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def text(pattern: str = r".{0,1000}", flags: re.RegexFlag = re.DOTALL) -> Check:
    """Texts that match a pattern as a whole."""
    compiled = re.compile(pattern, flags)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def line(most: int = 1000) -> Check:
    """Texts of a few printable signs, such as a name or a path."""
    return lambda value: isinstance(value, str) and len(value) <= most and value.isprintable()


def one_of(*values: object) -> Check:
    """One of some values, of their own type."""
    return lambda value: any(type(value) is type(each) and value == each for each in values)


def list_of(check: Check, most: int = MOST) -> Check:
    """Lists of bounded length."""

    def checks(value: object) -> bool:
        return isinstance(value, list) and len(items := cast(list[object], value)) <= most and all(map(check, items))

    return checks


def either(*checks: Check) -> Check:
    """What passes one of some checks."""
    return lambda value: any(check(value) for check in checks)


def check_values(where: str, values: Mapping[str, Any], schema: Schema) -> None:
    """Check those keys of an object that a table names; the others are let be.

    Raises:
        UserError: A value is not what it may be: one line that names the key.
    """
    for key, (allows, wanted) in schema.items():
        if key not in values:
            continue
        value = values[key]
        if isinstance(value, list) and len(cast(list[object], value)) > MOST:
            raise UserError(f"{where}: {key} has {len(cast(list[object], value))} entries, expected at most {MOST}")
        if not allows(value):
            raise UserError(f"{where}: {key} must be {wanted}, got {value!r:.80}")
