"""Files of data sets on the Hugging Face Hub: fetched as files into the hub's cache, read as files on this machine are.

Nothing that a repository holds is ever run: a set with a loading script has no files that can be named, or others
beside it. A file is named `hf://datasets/OWNER/NAME@REVISION/PATH`, where PATH may be a pattern.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from crossflare.errors import UserError

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""`owner/name`."""
_ADDRESS = re.compile(r"hf:/{1,2}datasets/([\w.-]+/[\w.-]+)(?:@(refs/\w+/[\w.-]+|[^/@]+))?/(.+)", re.ASCII)


def address(repository: str, revision: str | None, path: str) -> str:
    """Return how a file, or a pattern of files, on the hub is named."""
    return f"hf://datasets/{repository}{f'@{revision}' if revision else ''}/{path}"


def is_on_hub(path: Path | str) -> bool:
    """Whether a path names a file on the hub."""
    return str(path).startswith("hf:/")


def fetched(paths: Sequence[Path]) -> list[Path]:
    """Return paths on this machine: those of the hub are fetched, unless they lie in its cache already.

    Raises:
        UserError: An address is none, the hub cannot be reached or has no such file.
    """
    return [each for path in paths for each in (_fetch(str(path)) if is_on_hub(path) else [path])]


def _fetch(path: str) -> list[Path]:
    found = _ADDRESS.fullmatch(path)
    if found is None:
        raise UserError(f"{path}: expected hf://datasets/OWNER/NAME/PATH or hf://datasets/OWNER/NAME@REVISION/PATH")
    repository, revision, pattern = found.groups()
    files = snapshot_files(repository, revision, pattern)
    if not files:
        raise UserError(f"{address(repository, revision, pattern)}: the hub's cache or the hub has no such file")
    return files


def snapshot_files(repository: str, revision: str | None, pattern: str) -> list[Path]:
    """Return the files of a repository of data that a pattern stands for, in the order of their names.

    Raises:
        UserError: They cannot be fetched, and are not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    try:
        kind = "dataset"
        folder = Path(snapshot_download(repository, repo_type=kind, revision=revision, allow_patterns=[pattern]))
    except Exception as error:  # the hub's client raises what its transport raises: no common class
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{address(repository, revision, pattern)}: could not be fetched ({type(error).__name__}: {reason}); check "
            "the name, the revision and the network, or take a copy of the files and name its folder"
        ) from error
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [folder / name for name in filter_repo_objects(names, allow_patterns=[pattern])]
