"""The pickles in files that `torch.save` wrote, read without running anything.

A pickle is a program. This reader knows only the few opcodes and names that a dict of tensors needs. Each of them makes
a number, a text, a tuple, a list, a dict or the description of a tensor; any other is refused by its name.
"""

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pickletools import genops  # it names opcodes and reads their arguments, and runs none
from typing import Any, cast

LONGEST, MOST = 1 << 24, 1 << 22
"""The most bytes and opcodes of the pickles; a model of 10,000 tensors takes two megabytes."""
TYPES = {
    "torch.BFloat16Storage": ("BF16", 2),
    "torch.BoolStorage": ("BOOL", 1),
    "torch.ByteStorage": ("U8", 1),
    "torch.CharStorage": ("I8", 1),
    "torch.DoubleStorage": ("F64", 8),
    "torch.FloatStorage": ("F32", 4),
    "torch.HalfStorage": ("F16", 2),
    "torch.IntStorage": ("I32", 4),
    "torch.LongStorage": ("I64", 8),
    "torch.ShortStorage": ("I16", 2),
}
"""Name in a pickle -> the type in safetensors, and the bytes of an element."""


class Refused(Exception):  # noqa: N818  # why a file is not read; `state_dict` makes an error of it
    """Why a file is not read."""


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


class _Ordered(dict[Any, Any]):
    """What stands for an OrderedDict."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of elements in the file."""

    key: str
    type: str
    count: int

    @property
    def width(self) -> int:
        """The bytes of an element."""
        return TYPES[self.type][1]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage: the same four values are the same tensor."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def count(self) -> int:
        """The elements of the tensor."""
        return math.prod(self.shape)

    @property
    def reach(self) -> int:
        """The elements of the storage from the first one of the tensor to its last one."""
        steps = zip(self.shape, self.stride, strict=True)
        return 1 + sum((size - 1) * step for size, step in steps) if self.count else 0

    @property
    def contiguous(self) -> bool:
        """Whether the elements stand in the storage in their own order."""
        step = 1
        for size, found in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and found != step:
                return False
            step *= size
        return True


_PUSHED = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def value_of(stream: io.BytesIO, *, whole: bool = False) -> Any:
    """Return the value of the pickle at the stream's place; with `whole`, nothing may come after it."""
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(genops(stream)):
            if count > MOST:
                raise Refused(f"its pickle has more than {MOST} opcodes")
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise Refused(f"its pickle is damaged ({str(error)!a:.80})") from error
    if machine.below or (whole and stream.read(1)):
        raise Refused("its pickle does not end where it should")
    return value


class _Machine:
    """A stack and a memo, and the opcodes that may change them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        """The stacks below the open marks."""
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PUSHED:
            stack.append(_VALUES.get(name, argument))
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            self.below.append(stack)
            self.stack = []
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._global(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "TUPLE":
            items = self._marked()
            self.stack.append(tuple(items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack[-int(name[-1]) :] = [tuple(self._top(int(name[-1])))]
        elif name in ("SETITEM", "SETITEMS"):
            items = self._marked() if name == "SETITEMS" else self._popped(2)
            self._set(items)
        elif name in ("APPEND", "APPENDS"):
            items = self._marked() if name == "APPENDS" else self._popped(1)
            if not isinstance(self.stack[-1], list):
                raise Refused(f"{name} on what is no list")
            self.stack[-1].extend(items)
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            function, arguments = self._popped(2)
            stack.append(_made(function, arguments))
        elif name == "BUILD":
            self._build(stack.pop())
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise Refused(f"its pickle has the opcode {name}, which no weights need")

    def _top(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("too few values")
        return self.stack[-count:]

    def _popped(self, count: int) -> list[Any]:
        items = self._top(count)
        del self.stack[-count:]
        return items

    def _marked(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items

    def _global(self, argument: str | None) -> None:
        if argument is None:
            module, name = self._popped(2)
            if not (isinstance(module, str) and isinstance(name, str)):
                raise Refused("its pickle names something by other than texts")
            found = f"{module}.{name}"
        else:
            found = argument.replace(" ", ".", 1)
        if found not in _FUNCTIONS and found not in TYPES:
            raise Refused(f"its pickle names {found!a:.80}, which no weights need")
        self.stack.append(_Global(found))

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise Refused("SETITEM on what is no dict")
        values = cast(dict[str, Any], target)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str or key in values:
                raise Refused(
                    f"a key of a dict is no text, or comes twice{f': {key!a:.80}' if type(key) is str else ''}"
                )
            values[key] = value

    def _build(self, state: Any) -> None:
        """Leave out the one attribute that a state dict has beside its tensors: the versions of its modules."""
        if not isinstance(self.stack[-1], _Ordered):
            raise Refused("BUILD on what is no OrderedDict")
        if type(state) is not dict or list(cast(dict[str, Any], state)) != ["_metadata"]:
            raise Refused("BUILD with more than _metadata")


def _storage(given: Any) -> Storage:
    """Return what the persistent id of a storage describes; older files have a sixth part, for views of storages."""
    match given:
        case ("storage", _Global(name), str(key), str(), int(count), *more) if (
            name in TYPES and type(count) is int and 0 <= count < 1 << 48 and re.fullmatch(r"\d{1,20}", key, re.ASCII)
        ):
            if more not in ([], [None]):
                raise Refused(f"its storage {key} is a view of another")
            return Storage(key, name, count)
        case _:
            raise Refused("a storage of its pickle is not described as torch.save does")


def _made(function: Any, arguments: Any) -> Any:
    """Return what a function of `_FUNCTIONS` makes of its arguments."""
    if not isinstance(function, _Global) or function.name not in _FUNCTIONS or type(arguments) is not tuple:
        raise Refused("its pickle calls what is no function")
    return _FUNCTIONS[function.name](cast(tuple[Any, ...], arguments))


def _ordered(arguments: tuple[Any, ...]) -> _Ordered:
    if arguments:
        raise Refused("an OrderedDict of its pickle is not empty at first")
    return _Ordered()


def _parameter(arguments: tuple[Any, ...]) -> Tensor:
    match arguments:
        case (Tensor() as tensor, bool(), _Ordered() as hooks) if not hooks:
            return tensor
        case _:
            raise Refused("a parameter of its pickle is not made as torch.save does")


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    match arguments:
        case (Storage() as storage, offset, tuple(shape), tuple(stride), bool(), _Ordered() as hooks, *more) if (
            not hooks and (not more or more[0] is None or (type(more[0]) is dict and not more[0]))
        ):
            sizes = cast(tuple[Any, ...], (offset, *shape, *stride))
        case _:
            raise Refused("a tensor of its pickle is not made as torch.save does, or is a conjugate or negative view")
    if len(shape) != len(stride) or len(shape) > 32 or any(type(each) is not int for each in sizes):
        raise Refused("the shape or the strides of a tensor are not as many whole numbers")
    tensor = Tensor(storage, offset, tuple(shape), tuple(stride))
    most = math.prod(max(size, 1) for size in tensor.shape)
    if min(sizes) < 0 or most >= 1 << 48:
        raise Refused(f"a tensor of the shape {list(shape)!s:.80} has a size or a stride out of bounds")
    if (tensor.count and offset + tensor.reach > storage.count) or tensor.count > storage.count:
        raise Refused(f"a tensor of the shape {list(shape)!s:.80} reaches beyond its storage, or repeats it")
    return tensor


_FUNCTIONS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": _tensor,
}
"""The functions that a pickle may call -> what is done in their place."""
