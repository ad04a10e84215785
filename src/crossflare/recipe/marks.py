"""What an annotation of a recipe's dataclass says beyond the type, and how a message names types and values."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from crossflare.languages import find_language


@dataclass(frozen=True)
class Bounds:
    """The numbers that a field takes; a mark in its annotation: `Annotated[int, Bounds(1)]`."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, number: float) -> bool:
        above = number > self.low if self.open_low else number >= self.low
        below = number < self.high if self.open_high else number <= self.high
        return above and below

    def __str__(self) -> str:
        low = f"{'above' if self.open_low else 'at least'} {self.low:g}" if self.low > -math.inf else ""
        high = f"{'below' if self.open_high else 'at most'} {self.high:g}" if self.high < math.inf else ""
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True)
class Names:
    """The texts that a field takes, looked up when it is read."""

    kind: str
    known: Callable[[], "tuple[str, ...]"]


@dataclass(frozen=True)
class Checked:
    """A function that raises `UserError` for a value that the field does not take."""

    check: Callable[[Any], object]


@dataclass(frozen=True)
class Made:
    """A function that turns a text into what the field holds; it raises `UserError` for one that it does not take."""

    make: Callable[[str], str]


@dataclass(frozen=True)
class AsText:
    """A mark: a whole number or a truth value is read as its text."""


@dataclass(frozen=True)
class Keyed:
    """A tuple of dataclasses written as a mapping: the key becomes the field `name`, and the default of `default`."""

    name: str
    default: str


@dataclass(frozen=True)
class PathMark:
    """A file or folder: `$NAME` and `~` expand, and a path that is then relative starts at the recipe's folder.

    With `maybe_name`, only a text that starts with `.`, `~`, `$` or `/` is a path (a model may be a hub name). A text
    that starts with `hf://` is a file on the hub.
    """

    maybe_name: bool = False

    def takes(self, text: str) -> bool:
        """Whether the text is a path on this machine."""
        return text.startswith((".", "~", "$", "/")) if self.maybe_name else not text.startswith("hf://")


LanguageTag = Annotated[str, Made(lambda name: find_language(name).tag)]
Label = Annotated[str, AsText()]
PathText = Annotated[str, PathMark()]
ModelPath = Annotated[str, PathMark(maybe_name=True)]


@cache
def field_types(made: type[Any]) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields, in order, with their marks."""
    hints = get_type_hints(made, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(made)}


def has_default(made: type[Any], name: str) -> bool:
    """Whether a field of a dataclass may be left out."""
    field = made.__dataclass_fields__[name]
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def texts_of(made: Any) -> dict[str, dict[str, Any]]:
    """Return the texts that may stand in place of a dataclass's mapping, each with its mapping."""
    spelled = cast(Callable[[], dict[str, dict[str, Any]]] | None, getattr(made, "spelled", None))
    return {} if spelled is None else spelled()


def item_type(hint: Any) -> Any:
    """Return the annotation of a mapping's values; None when `hint` is no mapping."""
    return get_args(hint)[1] if get_origin(hint) in (dict, Mapping) else None


def is_path(hint: Any, text: str) -> bool:
    """Whether a text under this annotation is a path (see `PathMark`)."""
    marks: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    if get_origin(hint) is tuple:
        return is_path(get_args(hint)[0], text)
    if get_origin(hint) in (Union, UnionType):
        return any(is_path(branch, text) for branch in get_args(hint))
    return any(isinstance(mark, PathMark) and mark.takes(text) for mark in marks)


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, and in YAML's words."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(cast(list[Any], value))}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def describe(hint: Any) -> str:
    """Return what a type annotation asks for, in a user's words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        keyed = any(isinstance(mark, Keyed) for mark in arguments[1:])
        return "keys with values under it" if keyed else describe(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (tuple, list):
        if get_origin(arguments[0]) in (Union, UnionType):
            return f"a list, each {describe(arguments[0])}"
        return f"a list of {describe(arguments[0]).removeprefix('a ')}s"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        texts = list(texts_of(hint))
        return " or ".join(("keys with values under it", *(texts if len(texts) < 3 else ["a name alone"])))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
    return words.get(hint, str(hint))
