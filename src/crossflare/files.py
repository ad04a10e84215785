"""How every file of crossflare reaches the disk: written aside, flushed, renamed; folders carry a manifest of hashes.

A reader sees the old content or the new, never a part. `commit_dir` writes the manifest last, so that a folder
without one, or with one that disagrees, is known to be incomplete and is refused by `open_dir`.
"""

import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from crossflare.errors import UserError
from crossflare.temporaries import writer

MANIFEST = "manifest.json"


def canonical(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no blanks, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def content_id(value: Any, length: int = 12) -> str:
    """Return the first `length` hex digits of the sha256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write `data` under a temporary name beside `path`, flush it to the disk, and rename.

    Raises:
        UserError: The disk is full, or the folder cannot be written; the old file, if any, still stands (the new one,
            whole, when only the last flush of the folder failed).
    """
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """Yield a file that takes the name `path`, flushed, when the block ends without an error; else nothing changes.

    Raises:
        UserError: See `write_atomic`.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.{writer()}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """Return `value` as indented JSON with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, advice: str = "correct it, or take a whole copy") -> Any:
    """Read a JSON file; raise `UserError`, which names it and says what to do, when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a JSON file, found none; check the path") from error
    except OSError as error:
        raise UserError(f"{path}: expected a JSON file that can be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON, but it is damaged ({error}); {advice}") from error


def point_to(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to `target` (relative to the link's folder), in one step; an older one is replaced.

    Raises:
        UserError: The place cannot be written, or holds something that is no link.
    """
    if link.is_symlink() and link.readlink() == target:
        return
    aside = link.with_name(f".{link.name}.{writer()}.tmp")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        aside.symlink_to(target)
        os.replace(aside, link)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise _storage_error(link, error) from error


def commit_dir(final: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `final` all at once: `fill` writes into a temporary folder, which then replaces it.

    Args:
        final: Where the folder will stand; an older one there is replaced, and kept if anything fails.
        fill: Called with an empty folder on the same file system.

    Raises:
        UserError: The disk is full or the place cannot be written: the old folder still stands (the new one, whole,
            when only the last flush failed). Or `final` holds what `commit_dir` did not make: that is not replaced.
    """
    temporary: Path | None = None
    final = final.resolve()
    try:
        if final.exists() and not (final / MANIFEST).is_file() and (final.is_file() or any(final.iterdir())):
            raise UserError(f"{final}: expected a new folder, found something not saved by crossflare; choose another")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.{writer()}.", suffix=".tmp", dir=final.parent))
        os.chmod(temporary, 0o777 & ~_umask())
        fill(temporary)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        for path in files:
            os.chmod(path, 0o666 & ~_umask())
            _sync(path)
        hashes = {path.relative_to(temporary).as_posix(): digest_file(path) for path in files}
        write_json(temporary / MANIFEST, {"format": 1, "sha256": hashes})
        for folder in [path for path in temporary.rglob("*") if path.is_dir()] + [temporary]:
            _sync(folder)
        _swap(temporary, final)
        _sync(final.parent)
        recover_dir(final)
    except OSError as error:
        with suppress(OSError):
            recover_dir(final)
        raise _storage_error(final, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def clear_unfinished(final: Path) -> None:
    """Remove what killed calls of `commit_dir` left half done; only for one who keeps others out of `final`."""
    for junk in final.parent.glob(f".{glob.escape(final.name)}.*.tmp"):
        shutil.rmtree(junk, ignore_errors=True)


def write_if_new(path: Path, data: str) -> None:
    """Write `data` as `write_atomic` does, unless the file says it already: a folder may be there to be read only."""
    try:
        if path.read_text(encoding="utf-8") == data:
            return
    except (OSError, ValueError):
        pass
    write_atomic(path, data)


def recover_dir(final: Path) -> None:
    """Finish what a kill between the two renames of `commit_dir` left: bring the old folder back, or drop it."""
    final = final.resolve()
    old = _old(final)
    if old.exists():
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(old, final)


def open_dir(folder: Path) -> dict[str, str]:
    """Check a folder written by `commit_dir` and return its manifest: relative name -> sha256.

    Raises:
        UserError: The folder or its manifest is missing, a name leaves the folder, or a file is missing or changed.
    """
    with suppress(OSError):  # a folder that may only be read is read as it is
        recover_dir(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder saved by crossflare, found none; check the path")
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise UserError(f"{folder}: no {MANIFEST}: not saved by crossflare, or the save was cut off; save it again")
    content = read_json(manifest)
    hashes = content.get("sha256") if isinstance(content, dict) else None
    if not isinstance(hashes, dict) or content.get("format") != 1:
        raise UserError(f"{manifest}: expected a manifest of format 1; it was made by another version or is damaged")
    root = folder.resolve()
    for name, expected in hashes.items():
        shown = f"{name!a:.80}"
        try:
            path = (folder / str(name)).resolve()
            if not path.is_relative_to(root):
                raise UserError(f"{manifest}: the name {shown} leaves the folder; do not use this folder")
            if not path.is_file():
                raise UserError(f"{folder}: the manifest names {shown}, which is missing; fetch or save it again")
            if digest_file(path) != expected:
                raise UserError(f"{folder}: {shown} is not the file that was saved (its sha256 differs); fetch again")
        except UserError:
            raise
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a loop of links, no right to read
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{folder}: {shown} cannot be read ({reason}); fetch or save the folder again") from error
    return {str(name): str(value) for name, value in hashes.items()}


def _old(final: Path) -> Path:
    return final.parent / f".{final.name}.old"


def _swap(temporary: Path, final: Path) -> None:
    """Rename the old folder away and the new one in; again when a reader's `recover_dir` came in between."""
    for _ in range(9):
        recover_dir(final)
        if final.exists():
            os.replace(final, _old(final))
        try:
            return os.replace(temporary, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class StorageError(UserError):
    """A file could not be written."""

    read_only = False
    """Whether its place may only be read."""


def _storage_error(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    made = StorageError(
        f"{path}: could not be written ({reason}); free space or choose another folder; nothing was lost"
    )
    made.read_only = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    return made
