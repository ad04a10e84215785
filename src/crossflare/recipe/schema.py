"""The JSON schema of a recipe, for editors: made from the annotations by which a recipe is read."""

import ast
import dataclasses
import inspect
import math
import textwrap
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from crossflare.recipe.marks import AsText, Bounds, Keyed, Names, field_types, has_default, texts_of
from crossflare.recipe.spec import Spec

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
Node = dict[str, Any]


def recipe_schema() -> Node:
    """Return the schema, in draft 7, which editors know; it has the rules of single keys, and no rules across keys."""
    whole = _object(Spec)
    required = whole.pop("required")
    patches = {"type": "object", "additionalProperties": {"type": ["object", "null"]}}
    grid = {"description": "axis -> value -> changes: one recipe for many", "type": "object"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A recipe of crossflare",
        **whole,
        "properties": whole["properties"] | {"grid": grid | {"additionalProperties": patches}},
        "if": {"required": ["grid"]},
        "else": {"required": required},
    }


@cache
def field_docs(made: type[Any]) -> Mapping[str, str]:
    """Return the docstring below each field of a dataclass, as one line; inherited fields have theirs, too."""
    found: dict[str, str] = {}
    for each in reversed(made.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        last = ""
        for node in body.body if isinstance(body, ast.ClassDef) else ():
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                last = node.target.id
            elif last and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                found[last] = " ".join(str(node.value.value).split())
                last = ""
            else:
                last = ""
    return found


def _object(made: type[Any], without: str = "", more: Mapping[str, Any] | None = None) -> Node:
    """Return the schema of a mapping that is read as a dataclass; `more` are the types of further keys."""
    docs = field_docs(made)
    hints = {name: hint for name, hint in field_types(made).items() if name != without}
    if more is not None:
        hints = {name: hint for name, hint in hints.items() if name != "options"}
    properties = {name: _value(hint) for name, hint in (hints | dict(more or {})).items()}
    for name in docs.keys() & properties.keys():
        properties[name] = {"description": docs[name], **properties[name]}
    required = [name for name in hints if not has_default(made, name)]
    kind = {"type": "object"} if required else {"type": ["object", "null"]}
    made_of = {"properties": properties, "additionalProperties": False}
    return kind | made_of | ({"required": required} if required else {})


def _variants(made: Any) -> Node:
    """Return the schema of a dataclass whose keys depend on what one of its fields names."""
    named = {
        name: mark.known()
        for name, hint in field_types(made).items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, Names)
    }
    if not named:
        return _object(made, more=made.more({"any": None}))
    ((field, names),) = named.items()
    found: list[Node] = []
    for name in names:
        one = _object(made, more=made.more({field: name}))
        one["properties"][field] = {"const": name}
        found.append(one)
    return {"anyOf": found}


def _value(hint: Any) -> Node:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _marked(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        return {"anyOf": [_value(branch) for branch in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (tuple, list):
        return {"type": "array", "items": _value(arguments[0])}
    if origin in (dict, Mapping):
        keys = {"propertyNames": _value(arguments[0])} if get_origin(arguments[0]) is Literal else {}
        return {"type": ["object", "null"], "additionalProperties": _value(arguments[1]), **keys}
    if dataclasses.is_dataclass(hint):
        made: Node = _variants(hint) if hasattr(hint, "more") else _object(hint)  # type: ignore[arg-type]
        texts = list(texts_of(hint))
        return {"anyOf": [{"enum": texts}, made]} if texts else made
    return {"type": _TYPES[hint]}


def _marked(hint: Any, marks: tuple[Any, ...]) -> Node:
    for mark in marks:
        if isinstance(mark, Keyed):
            item = _object(get_args(hint)[0], without=mark.name)
            item["required"].remove(mark.default)
            return {"type": "object", "additionalProperties": item | {"type": ["object", "null"]}, "minProperties": 1}
        if isinstance(mark, Names):
            return {"enum": list(mark.known())}
        if isinstance(mark, AsText):
            return {"type": ["string", "integer", "boolean"]}
        if isinstance(mark, Bounds):
            low = {"exclusiveMinimum" if mark.open_low else "minimum": mark.low} if mark.low > -math.inf else {}
            high = {"exclusiveMaximum" if mark.open_high else "maximum": mark.high} if mark.high < math.inf else {}
            return {**_value(hint), **low, **high}
    return _value(hint)
