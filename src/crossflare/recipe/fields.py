"""Read plain values into dataclasses by their annotations, and gather every mistake on the way."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from string import Template
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from crossflare.errors import UserError, nearest
from crossflare.recipe.marks import (
    AsText,
    Bounds,
    Checked,
    Keyed,
    Made,
    Names,
    PathMark,
    describe,
    field_types,
    has_default,
    shown,
    texts_of,
)
from crossflare.recipe.strict_yaml import Document, KeyPath, dotted

T = TypeVar("T")


class Reader:
    """Turns the values of one document into dataclasses; mistakes are noted in the document's `problems`."""

    def __init__(self, document: Document, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self._wrong: set[KeyPath] = set()
        """The paths where something is wrong, and every path that leads there."""

    def wrong(self, path: KeyPath, message: str) -> None:
        """Note one mistake at `path`."""
        self._wrong.update(path[:length] for length in range(len(path) + 1))
        where = f"{dotted(path)}: " if path else ""
        self.document.problems.append(f"{self.document.place(path)}: {where}{message}")

    def given(self, *path: str) -> frozenset[str]:
        """Return the keys that the document gives at `path`."""
        inside = self.document.value
        for key in path:
            inside = cast(dict[str, Any], inside).get(key) if isinstance(inside, dict) else None
        return frozenset(cast(dict[str, Any], inside)) if isinstance(inside, dict) else frozenset()

    def sound(self, *path: str | int) -> bool:
        """Whether no mistake was noted at `path` or below it, so that its value can be used."""
        return path not in self._wrong

    def dataclass(self, made: type[T], value: Any, path: KeyPath, fixed: Mapping[str, Any] | None = None) -> T | None:
        """Read a mapping as `made`; None when it is no mapping.

        A field that cannot be read takes its default, or None, so that the rest can still be checked.

        Args:
            made: A dataclass whose annotations say what each key takes. If it has a static method `more`, a key that is
                no field is read by the annotations that `more` returns for the mapping, and is put into the field
                `options`. If it has a static method `spelled`, a text is read as the mapping that `spelled` has for it.
            value: A mapping, or None for one with no keys.
            path: The place of the value.
            fixed: Fields that are known already and are no keys of the mapping.
        """
        if isinstance(value, str):
            value = texts_of(made).get(value, value)
        if not isinstance(value, dict | NoneType):
            return self._check(False, made, value, path)
        content = cast(dict[str, Any], value or {})
        fixed = fixed or {}
        more: dict[str, Any] | None = made.more(content) if hasattr(made, "more") else None  # pyright: ignore
        known = {name: hint for name, hint in field_types(made).items() if name not in fixed}
        if more is not None:
            known = {name: hint for name, hint in known.items() if name != "options"} | more
        read: dict[str, Any] = {}
        for key, item in content.items():
            if key not in known:
                self.wrong((*path, key), f"unknown key: {nearest(key, known)}")
                continue
            result = self.value(known[key], item, (*path, key))
            first: Any = result[0] if isinstance(result, tuple) and result else result
            if self.sound(*path, key) or dataclasses.is_dataclass(first):
                read[key] = result
        for name in known:
            if name not in content and more is not None and name in more:
                continue
            if name not in content and not has_default(made, name):
                self.wrong((*path, name), f"missing; expected {describe(known[name])}")
        if more is not None:
            read = {"options": {name: read.pop(name) for name in list(read) if name in more}, **read}
        absent = {name: None for name in known if name not in (more or ()) and not has_default(made, name)}
        return made(**(absent | read | dict(fixed)))

    def value(self, hint: Any, value: Any, path: KeyPath) -> Any:
        """Read a value as the type `hint`; note a mistake and return None when it is something else."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._marked(arguments[0], arguments[1:], value, path)
        if origin in (Union, UnionType):
            return self._union(arguments, value, path, hint)
        if origin is Literal:
            return self._one_of(arguments, value, path)
        if origin in (tuple, list):
            if not isinstance(value, list):
                return self._check(False, hint, value, path)
            items = enumerate(cast(list[Any], value))
            return origin(self.value(arguments[0], item, (*path, index)) for index, item in items)
        if origin in (dict, Mapping):
            if not isinstance(value, dict | NoneType):
                return self._check(False, hint, value, path)
            return self._mapping(arguments, cast(dict[str, Any], value or {}), path)
        if dataclasses.is_dataclass(hint):
            return self.dataclass(cast(type[Any], hint), value, path)
        if hint is float and type(value) is int:
            return float(value) if abs(value) < 1e300 else self._check(False, hint, value, path)
        return self._check(type(value) is hint, hint, value, path)

    def _mapping(self, hints: tuple[Any, ...], pairs: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        read: dict[str, Any] = {}
        names = get_args(hints[0]) if get_origin(hints[0]) is Literal else tuple(pairs)
        for key, item in pairs.items():
            at = (*path, key)
            if key not in names:
                self.wrong(at, f"unknown key: {nearest(key, names)}")
            name = key
            if get_origin(hints[0]) is Annotated:
                name = str(self.value(hints[0], key, at) or key)
                self.document.also(at, (*path, name))
            if name in read:
                self.wrong(at, f"is {shown(name)}, which stands here in another spelling, too; keep one")
            read[name] = self.value(hints[1], item, at)
        return read

    def _marked(self, hint: Any, marks: tuple[Any, ...], value: Any, path: KeyPath) -> Any:
        keyed = [mark for mark in marks if isinstance(mark, Keyed)]
        if keyed:
            return self._keyed(get_args(hint)[0], keyed[0], value, path)
        if isinstance(value, int) and any(isinstance(mark, AsText) for mark in marks):
            value = shown(value)
        named = any(isinstance(mark, Names) for mark in marks)
        value = value if named else self.value(hint, value, path)
        if not self.sound(*path):
            return None
        for mark in marks:
            if isinstance(mark, Bounds) and value not in mark:
                self.wrong(path, f"expected {mark}, got {shown(value)}")
            elif isinstance(mark, Names):
                self._one_of(mark.known(), value, path, mark.kind)
            elif isinstance(mark, Checked):
                try:
                    mark.check(value)
                except UserError as error:
                    self.wrong(path, str(error))
            elif isinstance(mark, Made):
                try:
                    return mark.make(value)
                except UserError as error:
                    self.wrong(path, str(error))
            elif isinstance(mark, PathMark):
                return self._expand(value, path, mark)
        return value

    def _keyed(self, made: type[Any], mark: "Keyed", value: Any, path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self._check(False, dict[str, Any], value, path)
        items: list[Any] = []
        for key, options in cast(dict[str, Any], value).items():
            given = {mark.default: key, **options} if isinstance(options, dict) else options
            given = {mark.default: key} if options is None else given
            items.append(self.dataclass(made, given, (*path, key), fixed={mark.name: key}))
        return tuple(item for item in items if item is not None)

    def _union(self, arguments: tuple[Any, ...], value: Any, path: KeyPath, hint: Any) -> Any:
        if value is None and NoneType in arguments:
            return None
        shapes = [argument for argument in arguments if argument is not NoneType]
        fitting = [shape for shape in shapes if _fits(shape, value)]
        if not fitting:
            return self._check(False, hint, value, path)
        return self.value(fitting[0], value, path)

    def _one_of(self, known: tuple[str, ...], value: Any, path: KeyPath, kind: str = "value") -> Any:
        if value not in known:
            self.wrong(path, f"unknown {kind} {shown(value)}: {nearest(str(value), known)}")
        return value

    def _check(self, right: bool, hint: Any, value: Any, path: KeyPath) -> Any:
        if not right:
            quoted = isinstance(value, str) and _looks_like_number(value) and "number" in describe(hint)
            advice = "; take the quotes away" if quoted else ""
            names = [name for shape in (hint, *get_args(hint)) for name in texts_of(shape)]
            if isinstance(value, str) and names:
                advice = f": {nearest(value, names)}"
            self.wrong(path, f"expected {describe(hint)}, got {shown(value)}{advice}")
            return None
        return value

    def _expand(self, text: str, path: KeyPath, mark: PathMark) -> str:
        if not mark.takes(text):
            return text
        template = Template(text)
        unset = [name for name in template.get_identifiers() if name not in os.environ]
        if unset or not template.is_valid():
            which = f"the environment variable {unset[0]} is not set" if unset else "a lone $ means nothing"
            advice = f"run `export {unset[0]}=FOLDER` first, or write the path out" if unset else "write $$ for a $"
            self.wrong(path, f"{which} (in {shown(text)}); {advice}")
            return text
        return str(self.folder / os.path.expanduser(template.substitute(os.environ)))


def _fits(shape: Any, value: Any) -> bool:
    """Whether a value has the outer shape of a type; this finds the branch of a union."""
    origin = get_origin(shape)
    if origin is Annotated:
        return _fits(get_args(shape)[0], value)
    if origin is Literal:
        return isinstance(value, str)
    if origin in (tuple, list):
        return isinstance(value, list)
    if origin in (dict, Mapping) or dataclasses.is_dataclass(shape):
        return isinstance(value, dict) or (isinstance(value, str) and value in texts_of(shape))
    return type(value) is shape or (shape is float and type(value) is int)


def _looks_like_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
