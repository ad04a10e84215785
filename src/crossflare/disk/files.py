"""Writes every file of crossflare under a temporary name, flushes it and renames it; folders have a manifest of hashes.

A reader sees the old content or the new, never a part. `commit_dir` writes the manifest last: a folder without one, or
with one that disagrees, is incomplete, and `open_dir` refuses it.
"""

import errno
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from crossflare.disk.storage import disk_error, storage_error, sync, umask, writer
from crossflare.disk.untrusted import LARGEST, read_small_json, regular
from crossflare.disk.versions import FORMATS, check_format
from crossflare.errors import UserError

CARD = "crossflare.json"
"""The file in which an adapter describes itself. The name is here so that a plan, which needs it, loads no torch."""


MANIFEST = "manifest.json"
TAKEN = (errno.EACCES,) if sys.platform == "win32" else (errno.ENOTEMPTY, errno.EEXIST)
"""The system's errors when a folder is renamed to a name that exists already."""


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
    """Write `data` under a temporary name next to `path`, flush it to the disk, and rename it.

    Raises:
        UserError: The disk is full, or the folder cannot be written; the old file, if any, is kept (or the new one is
            there, complete, if only the last flush of the folder failed).
    """
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """Yield a file; if the block ends without an error, flush it and rename it to `path`; else nothing changes.

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
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # it is renamed by now, unless an error came; a bad disk may keep it, unread
                temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """Return `value` as indented JSON with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, advice: str = "correct it, or take a whole copy") -> Any:
    """Read a JSON file; if it is missing or not JSON, raise a `UserError` that names it and says what to do."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a JSON file, found none; check the path") from error
    except OSError as error:
        raise UserError(f"{path}: expected a JSON file that can be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON, but it is damaged ({error}); {advice}") from error


def point_to(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to `target` (relative to the link's folder), in one step; replace an older one.

    Raises:
        UserError: The place cannot be written, or holds something other than a link.
    """
    if link.is_symlink() and link.readlink() == target:
        return
    aside = link.with_name(f".{link.name}.{writer()}.tmp")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        aside.symlink_to(target)
        os.replace(aside, link)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise storage_error(link, error) from error


def commit_dir(final: Path, fill: Callable[[Path], Mapping[str, Any] | None]) -> None:
    """Make the folder `final` all at once: `fill` writes into a temporary folder, which then replaces it.

    Args:
        final: The folder to make; an older one is replaced, or kept if anything fails.
        fill: Called with an empty folder on the same file system; what it returns goes into the manifest, too.

    Raises:
        UserError: The disk is full or the place cannot be written: the old folder is kept (or the new one is there,
            complete, if only the last flush failed). Or `commit_dir` did not make what `final` holds: it is kept.
    """
    temporary: Path | None = None
    final = final.resolve()
    try:
        if final.exists() and not (final / MANIFEST).is_file() and (final.is_file() or any(final.iterdir())):
            raise UserError(f"{final}: expected a new folder, found something not saved by crossflare; choose another")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.{writer()}.", suffix=".tmp", dir=final.parent))
        os.chmod(temporary, 0o777 & ~umask())
        about = fill(temporary) or {}
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        for path in files:
            os.chmod(path, 0o666 & ~umask())
            sync(path)
        hashes = {path.relative_to(temporary).as_posix(): digest_file(path) for path in files}
        write_atomic(temporary / MANIFEST, manifest_text(hashes, about))
        for folder in [path for path in temporary.rglob("*") if path.is_dir()] + [temporary]:
            sync(folder)
        _swap(temporary, final)
        sync(final.parent)
        recover_dir(final)
    except Exception as error:
        if (cause := disk_error(error)) is None:
            raise
        with suppress(OSError):
            recover_dir(final)
        raise storage_error(final, cause) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def clear_unfinished(final: Path) -> None:
    """Remove what killed calls of `commit_dir` left unfinished; only for a caller that keeps others out of `final`."""
    for junk in final.parent.glob(f".{glob.escape(final.name)}.{6 * '[0-9a-f]'}-*.tmp"):  # not those of NAME.2
        shutil.rmtree(junk, ignore_errors=True)


def write_if_new(path: Path, data: str) -> None:
    """Write `data` as `write_atomic` does, unless the file holds it already: the folder may be read-only."""
    try:
        if path.read_text(encoding="utf-8") == data:
            return
    except (OSError, ValueError):
        pass
    write_atomic(path, data)


def recover_dir(final: Path, tidy: bool = True) -> None:
    """Recover from a kill between the two renames of `commit_dir`: restore the old folder, or remove it.

    Args:
        final: The folder.
        tidy: Remove it; a reader does not, since a folder of that name may belong to someone else.
    """
    final = final.resolve()
    old = _old(final)
    if old.exists():
        if not final.exists():
            os.replace(old, final)
        elif tidy:
            shutil.rmtree(old, ignore_errors=True)


def open_dir(
    folder: Path, limits: Mapping[str, int] | None = None, needed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Check a folder written by `commit_dir` and return its manifest: relative name -> sha256.

    Only files that the manifest names are opened, and only those that `untrusted` allows.

    Args:
        folder: The folder.
        limits: The name of each file that may be there -> its largest size in bytes; others are then refused. Names at
            the top that begin with a dot are ignored: hubs and git put them there, and they are never opened.
        needed: The name of each file that must be there -> the advice if it is missing.

    Raises:
        UserError: The folder or its manifest is missing, a name leaves the folder, a file is missing, changed, not a
            regular file or too large, or the folder holds other files.
    """
    with suppress(OSError, RuntimeError):  # a read-only folder is read as it is; a loop of links is no folder
        recover_dir(folder, tidy=False)
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder saved by crossflare, found none; check the path")
    hashes = read_manifest(folder)
    for name, advice in (needed or {}).items():
        if name not in hashes:
            raise UserError(f"{folder}: {name} is missing; {advice}")
    if limits is not None and (other := sorted(hashes.keys() - limits)):
        raise UserError(
            f"{folder}: its manifest names {other[0]!a:.80}, expected {', '.join(limits)} at most (safetensors only)"
        )
    paths = {name: regular(folder, name, limits[name] if limits else LARGEST) for name in hashes}
    if limits is not None:
        _check_closed(folder, hashes)
    for name, path in paths.items():
        try:
            found = digest_file(path)
        except OSError as error:
            raise UserError(f"{folder}: {name!a:.80} cannot be read ({error.strerror}); fetch it again") from error
        if found != hashes[name]:
            raise UserError(f"{folder}: {name!a:.80} is not the file that was saved (its sha256 differs); fetch again")
    return hashes


def read_manifest(folder: Path) -> dict[str, str]:
    """Return relative name -> sha256, as the manifest of a folder says; no other file is opened.

    Raises:
        UserError: There is no manifest, or it is damaged or of another format.
    """
    manifest = folder / MANIFEST
    if not manifest.exists() and not manifest.is_symlink():
        raise UserError(f"{folder}: no {MANIFEST}: not saved by crossflare, or the save was cut off; save it again")
    content = read_small_json(regular(folder, MANIFEST))
    hashes = content.get("sha256") if isinstance(content, dict) else None
    if not isinstance(hashes, dict):
        raise UserError(f"{manifest}: expected the hashes of the files, found none; save or fetch the folder again")
    check_format("a manifest", content.get("format"), manifest, "save or fetch the folder again")
    return hashes


def manifest_text(hashes: Mapping[str, str], about: Mapping[str, Any] | None = None) -> str:
    """Return the text of a manifest, with what else is said about the folder; see `read_manifest`."""
    return json_text({**(about or {}), "format": FORMATS["a manifest"], "sha256": dict(hashes)})


def _check_closed(folder: Path, names: Iterable[str]) -> None:
    """Refuse anything in a folder that is not one of `names`, or a folder above one."""
    above = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    known = {*names, MANIFEST}
    for place in ("", *(above - {"."})):
        with os.scandir(folder / place) as entries:
            for entry in entries:
                name = f"{place}/{entry.name}" if place else entry.name
                if name not in known | above and (place or not entry.name.startswith(".")):
                    raise UserError(
                        f"{folder}: its manifest does not name {name!a:.80}; move that elsewhere, or fetch the folder "
                        "again"
                    )


def _old(final: Path) -> Path:
    return final.parent / f".{final.name}.old"


def _swap(temporary: Path, final: Path) -> None:
    """Rename the old folder away and the new one in; try again if a reader's `recover_dir` came in between."""
    for _ in range(9):
        recover_dir(final)
        if final.exists():
            os.replace(final, _old(final))
        try:
            return os.replace(temporary, final)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
