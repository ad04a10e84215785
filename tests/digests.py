"""What is in files, as digests: a failed comparison then names the files, and prints no megabytes."""

from collections.abc import Iterable
from pathlib import Path

from crossflare.disk.files import digest_file


def digests(folder: Path, paths: Iterable[Path] | None = None) -> dict[str, str]:
    """Return the sha256 of each of `paths`, or of all that is in `folder`, by its name there."""
    found = folder.rglob("*") if paths is None else paths
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in sorted(found) if path.is_file()}
