"""YAML with no surprises: four plain types, no repeated keys, and a known line for every value.

YAML 1.1 reads `no` as false, `1e-3` as text and `010` as eight. Here a plain word is null (`null`, `~` or nothing),
`true`, `false`, a decimal number, or text; keys are always text; aliases, tags and repeated keys are refused.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import yaml

from crossflare.errors import Kind, UserError

KeyPath = tuple[str | int, ...]
"""The keys (and list indices) that lead from the top of a document to a value."""

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_DEPTH = 30
LIMIT = 250_000
"""Most bytes of a recipe: the longest that people write have a few thousand."""


class GatheredError(UserError):
    """Several mistakes found at once; the command line prints one line for each."""

    def __init__(self, lines: Iterable[str], kind: Kind | None = None) -> None:
        self.lines = tuple(" ".join(line.split()) for line in lines)
        """One message per mistake, in the order of the document."""
        super().__init__("; ".join(self.lines), kind)


@dataclass
class Document:
    """A parsed document and the places of its values."""

    value: Any
    """Mappings, lists, text, int, float, bool and None only."""
    origin: str
    """The file's name."""
    places: dict[KeyPath, str] = field(default_factory=dict)
    """Where each value came from: `file:line`, or the override."""
    problems: list[str] = field(default_factory=list)
    """What is wrong with the text itself, one line each."""

    def report(self) -> list[str]:
        """Return the problems in the order of the lines they stand on, each once; those of overrides come last."""
        start = f"{self.origin}:"

        def line(problem: str) -> float:
            number = problem.removeprefix(start).partition(":")[0]
            return int(number) if problem.startswith(start) and number.isdigit() else math.inf

        return sorted(dict.fromkeys(self.problems), key=line)

    def also(self, path: KeyPath, name: KeyPath) -> None:
        """Let the value at `path` also be found under another `name`."""
        for known, place in list(self.places.items()):
            if known[: len(path)] == path:
                self.places.setdefault((*name, *known[len(path) :]), place)

    def place(self, path: KeyPath) -> str:
        """Return where the value at `path` came from, or its nearest parent where it has no place of its own."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.origin)


def dotted(path: KeyPath) -> str:
    """Return a path as the user writes it: `stage1.lr`."""
    return ".".join(map(str, path))


def read(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        UserError: The file is missing, is not UTF-8 text, or is not YAML. Smaller mistakes are left in `problems`.
    """
    try:
        with path.open("rb") as file:
            given = file.read(LIMIT + 1)
        text = "" if len(given) > LIMIT else given.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: expected a YAML file, but it cannot be read ({reason}); check the path") from error
    if len(given) > LIMIT:
        raise UserError(
            f"{path}: expected a recipe of at most {LIMIT:,} bytes, got more; keep rows in files of their own"
        )
    return parse(text, str(path))


def parse(text: str, origin: str) -> Document:
    """Parse YAML text; `origin` names it in messages."""
    document = Document(None, origin)
    try:
        node = yaml.compose(text, Loader=_Loader)
        document.value = None if node is None else _value(node, (), document, set())
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        said = f"{error.problem or 'unreadable'}{f' ({error.context})' if error.context else ''}"
        raise UserError(f"{origin}{line}: not YAML: {said}; correct the line") from error
    except (yaml.YAMLError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{origin}: not YAML: {said}") from error
    return document


def document_of(value: Mapping[str, Any], origin: str) -> Document:
    """Return a mapping from Python as a document, as if read from a file; tuples become lists, and paths become text.

    Raises:
        UserError: A value has a type that no recipe has.
    """
    return Document(_plain_of(value, ()), origin)


def _plain_of(value: Any, path: KeyPath) -> Any:
    if len(path) > _DEPTH:
        raise UserError(f"{dotted(path[:3])}: nested too deeply; a mapping may not hold itself")
    if isinstance(value, Mapping):
        return {key: _plain_of(each, (*path, key)) for key, each in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain_of(each, (*path, place)) for place, each in enumerate(cast(Sequence[Any], value))]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    kind = type(value).__name__
    raise UserError(
        f"{dotted(path)}: expected text, a number, a list or a mapping, got {kind}; write it as one of these"
    )


def dump(value: Mapping[str, Any]) -> str:
    """Return YAML text that `parse` reads back as `value`, and that other YAML readers understand alike."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)


def override(document: Document, assignments: Sequence[str], flag: str = "--set") -> None:
    """Set values of a document by `a.b=c`, where c is YAML; mistakes are added to `problems`.

    Args:
        document: The document, changed in place.
        assignments: One for each value; a later one wins.
        flag: The option that gave them, for messages.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        path = tuple(part.strip() for part in name.split("."))
        origin = f"{flag} {assignment}"
        if not equals or not all(path):
            document.problems.append(f"{origin}: expected KEY=VALUE with dots in the key, as in stage1.lr=1e-3")
            continue
        try:
            given = parse(text, origin)
        except UserError as error:
            document.problems.append(str(error))
            continue
        document.problems.extend(given.problems)
        _assign(document, path, given.value, origin)


def _assign(document: Document, path: tuple[str, ...], value: Any, origin: str) -> None:
    if document.value is None:
        document.value = {}
    inside = document.value
    for depth, key in enumerate(path):
        if not isinstance(inside, dict):
            document.problems.append(f"{origin}: {dotted(path[:depth])} has no keys of its own; set it as a whole")
            return
        if depth == len(path) - 1:
            inside[key] = value
        elif inside.get(key) is None:
            inside[key] = {}
            document.places[path[: depth + 1]] = origin
        inside = inside[key]
    document.places = {known: place for known, place in document.places.items() if known[: len(path)] != path}
    document.places[path] = origin


def _value(node: yaml.Node, path: KeyPath, document: Document, seen: set[int]) -> Any:
    line = f"{document.origin}:{node.start_mark.line + 1}"
    place = document.origin if document.origin.startswith("--") else line
    if id(node) in seen:  # the place of an alias is the anchor's line
        said = "aliases (*name) are not read here; write the value again"
        document.problems.append(f"{document.place(path)}: {dotted(path)}: {said}")
        return None
    if path:
        document.places.setdefault(path, place)
    if len(path) > _DEPTH:
        raise RecursionError
    seen.add(id(node))
    if node.tag not in _TAGS:
        document.problems.append(f"{place}: {dotted(path)}: tags ({node.tag}) are not read here; take it away")
        return None
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, path, place, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), document, seen) for index, item in enumerate(node.value)]
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        at = f"{document.origin}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(f"{at}: {dotted(path)}: expected a word as key, got a list or mapping")
            continue
        key = str(key_node.value)
        if key in content:
            document.problems.append(f"{at}: {dotted((*path, key))}: the key stands here twice; keep one")
        document.places[(*path, key)] = at
        content[key] = _value(value_node, (*path, key), document, seen)
    return content


def _scalar(node: yaml.ScalarNode, path: KeyPath, place: str, document: Document) -> Any:
    text = str(node.value)
    if node.style is not None:
        return text
    try:
        return plain_value(text)
    except ValueError:
        document.problems.append(f"{place}: {dotted(path)}: the number is too long or too large")
        return None


def plain_value(text: str) -> Any:
    """Return what an unquoted word stands for: None, bool, int, float or the text itself.

    Raises:
        ValueError: A number has thousands of digits, or is too large for a float.
    """
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not re.fullmatch(r"[-+]?0[0-9]+", text):
        number = float(text)
        if math.isinf(number):
            raise ValueError(text)
        return number
    return text


_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")}


class _Loader(yaml.SafeLoader):
    """Guesses nothing: every plain word is left to `plain_value`."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleVariableOverride]


class _Dumper(yaml.SafeDumper):
    """Quotes every text that this loader, or a YAML 1.1 one, would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    try:
        means_text = isinstance(plain_value(value), str)
    except ValueError:
        means_text = False
    # YAML's line breaks other than \n would come back as \n from any text without double quotes.
    style = '"' if not value.isprintable() else None if means_text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
