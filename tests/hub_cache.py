"""A repository in the cache of huggingface_hub, as if it had been fetched."""

import os
import shutil
from pathlib import Path

from crossflare.disk.files import digest_file


def hub_snapshot(folder: Path, cache: Path) -> Path:
    """Lay a folder out as huggingface_hub's cache does: files are links into the repository's blobs."""
    snapshot, blobs = cache / "models--a--b" / "snapshots" / ("0" * 40), cache / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for path in [each for each in folder.rglob("*") if each.is_file()]:
        blob = blobs / digest_file(path)
        shutil.copy(path, blob)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (cache / "models--a--b" / "refs").mkdir()
    (cache / "models--a--b" / "refs" / "main").write_text(snapshot.name)
    return snapshot
