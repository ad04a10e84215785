"""A repository in the cache of huggingface_hub, as if it had been fetched."""

import os
import shutil
from pathlib import Path

from crossflare.disk.files import digest_file


def hub_snapshot(folder: Path, cache: Path, name: str = "models--a--b", ref: str = "main") -> Path:
    """Lay a folder out as huggingface_hub's cache does: files are links into the repository's blobs.

    Args:
        folder: What the repository holds.
        cache: The hub's cache.
        name: The repository's folder there.
        ref: The branch that the commit is known by; or the commit.
    """
    home = cache / name
    commit = ref if len(ref) == 40 else "0" * 40
    snapshot, blobs = home / "snapshots" / commit, home / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    for path in [each for each in folder.rglob("*") if each.is_file()]:
        blob = blobs / digest_file(path)
        shutil.copy(path, blob)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref != commit:
        (home / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (home / "refs" / ref).write_text(commit)
    return snapshot
