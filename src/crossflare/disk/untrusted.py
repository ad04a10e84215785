"""Reads files that a stranger may have made: regular files of bounded size, JSON of bounded size, depth and values.

Rule for links: a file may be a link only in a snapshot of the hub's cache, `REPO/snapshots/REVISION/`, whose files are
links into `REPO/blobs/`; the link is then read as the file that it names there. Every other link is refused, and so is
anything but a regular file: a device or a pipe may never finish opening.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from crossflare.errors import UserError

SMALL = 1_000_000
"""The most bytes of a file that people could read: a card, a manifest, a configuration."""
LARGEST = 1 << 34
"""The most bytes of any file of a saved folder."""
DEEPEST = 32
"""The most levels of lists and objects inside each other."""
DRIVE = re.compile("[A-Za-z]:")
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def regular(folder: Path, name: str, limit: int = LARGEST) -> Path:
    """Return the path under which a file of a folder can be opened.

    Args:
        folder: The folder; it may itself be a link.
        name: Relative name with forward slashes.
        limit: The most bytes that the file may have.

    Raises:
        UserError: The name leaves the folder; or the file is missing, not a regular file, a link that the rule of this
            module does not allow, or larger than `limit`.
    """
    shown = f"{name!a:.80}"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name or DRIVE.match(name):
        raise UserError(f"{folder}: the name {shown} leaves the folder or is no file's; do not use this folder")
    path = folder.resolve()
    try:
        for place, part in enumerate(parts):
            path = path / part
            mode = path.lstat().st_mode
            last = place == len(parts) - 1
            if stat.S_ISLNK(mode) and last and (blob := _blob(path)) is not None:
                path, mode = blob, blob.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise UserError(
                    f"{folder}: {shown} is a link, expected a file; copy what it stands for into the folder (cp -rL)"
                )
            if not (stat.S_ISREG(mode) if last else stat.S_ISDIR(mode)):
                raise UserError(f"{folder}: {shown} is no regular file; do not use this folder")
        size = path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder}: the manifest names {shown}, which is missing; fetch or save it again") from error
    except (OSError, ValueError) as error:  # the name is too long, or reading is not allowed
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder}: {shown} cannot be read ({reason}); fetch or save the folder again") from error
    if size > limit:
        raise UserError(f"{folder}: {shown} has {size} bytes, expected at most {limit}; not one of ours")
    return path


def _blob(link: Path) -> Path | None:
    """Return the file of the hub's cache that a link of a snapshot names; None for any other link."""
    target = Path(os.path.normpath(link.parent / os.readlink(link)))
    snapshots = next((above for above in link.parents if above.name == "snapshots"), None)
    inside = snapshots is not None and target.parent == snapshots.with_name("blobs") and not target.is_symlink()
    return target if inside else None


def read_regular(path: Path, limit: int = SMALL) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes.

    Raises:
        UserError: The file is missing, not a regular file, not readable, or larger.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UserError(f"{path}: expected a regular file; check the path")
            content = file.read(limit + 1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a file, found none; check the path") from error
    except OSError as error:
        raise UserError(f"{path}: expected a file that can be read ({error.strerror}); check the path") from error
    if len(content) > limit:
        raise UserError(f"{path}: {os.stat(path).st_size} bytes, expected at most {limit}; not one of ours")
    return content


def read_small_json(path: Path, limit: int = SMALL) -> Any:
    """Return the value of a JSON file; check its size and depth before parsing.

    Raises:
        UserError: It is missing, larger than `limit` bytes, deeper than `DEEPEST` levels, not JSON, names a key twice,
            or holds a number or a text that cannot be written again.
    """
    content = read_regular(path, limit)
    try:
        text = content.decode("utf-8")
        deepest = level = 0
        for sign in re.findall(r"[\[\]{}]", TEXT.sub("", text)):
            level += 1 if sign in "[{" else -1
            deepest = max(deepest, level)
        if deepest > DEEPEST:
            raise UserError(f"{path}: {deepest} levels inside each other, expected at most {DEEPEST}; not one of ours")
        value = json.loads(text, object_pairs_hook=_unique)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: expected JSON, but it is damaged ({reason:.120}); fetch or save it again") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!a:.80} stands there twice")
    return made


Check = Callable[[object], bool]
Schema = Mapping[str, tuple[Check, str]]
"""Key -> the check of its value, and the words for what is allowed."""
MOST = 1000
"""The most entries of a list."""


def none(value: object) -> bool:
    """Return whether a value is null."""
    return value is None


def flag(value: object) -> bool:
    """Return whether a value is true or false."""
    return isinstance(value, bool)


def whole(low: float, high: float) -> Check:
    """Return a check for whole numbers in a range, both ends included."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def number(low: float, high: float) -> Check:
    """Return a check for finite numbers in a range, both ends included."""
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def text(pattern: str = r".{0,1000}", flags: re.RegexFlag = re.DOTALL) -> Check:
    """Return a check for texts that match a pattern as a whole."""
    compiled = re.compile(pattern, flags)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def line(most: int = 1000) -> Check:
    """Return a check for short texts of printable characters, such as a name or a path."""
    return lambda value: isinstance(value, str) and len(value) <= most and value.isprintable()


def one_of(*values: object) -> Check:
    """Return a check for one of some values, of the same type."""
    return lambda value: any(type(value) is type(each) and value == each for each in values)


def list_of(check: Check, most: int = MOST) -> Check:
    """Return a check for lists of bounded length."""

    def checks(value: object) -> bool:
        return isinstance(value, list) and len(items := cast(list[object], value)) <= most and all(map(check, items))

    return checks


def either(*checks: Check) -> Check:
    """Return a check for values that pass at least one of some checks."""
    return lambda value: any(check(value) for check in checks)


def check_values(where: str, values: Mapping[str, Any], schema: Schema) -> None:
    """Check the keys of an object that a table names; ignore the others.

    Raises:
        UserError: A value is not allowed; the message is one line that names the key.
    """
    for key, (allows, wanted) in schema.items():
        if key not in values:
            continue
        value = values[key]
        if isinstance(value, list) and len(cast(list[object], value)) > MOST:
            raise UserError(f"{where}: {key} has {len(cast(list[object], value))} entries, expected at most {MOST}")
        if not allows(value):
            raise UserError(f"{where}: {key} must be {wanted}, got {value!r:.80}")
