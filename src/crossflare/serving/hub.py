"""The folder of an adapter that a caller names: on this machine, or fetched from the model hub."""

import re
from pathlib import Path
from typing import Any, cast

from crossflare.disk.files import MANIFEST
from crossflare.errors import UserError
from crossflare.fusion.adapter_check import LIMITS
from crossflare.fusion.tensor_files import MODEL, PROBE, SETTINGS

NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""A name on the hub: `owner/name`."""
FILES = (*LIMITS, PROBE, MODEL, SETTINGS, MANIFEST)
"""All files that are fetched; any other file of a repository stays there."""


def folder_of(place: str | Path, revision: str | None = None) -> Path:
    """Return the folder that a caller names.

    Args:
        place: A folder; or, if there is no such folder, a name `owner/name` on the hub. It is fetched to the hub's
            cache.
        revision: The commit, tag or branch of a name on the hub; None: the newest.

    Raises:
        UserError: The place is not a text or a path; the hub has no such name or revision, does not allow the caller to
            fetch it, or cannot be reached; or a revision comes with a folder.
    """
    if not isinstance(cast(Any, place), str | Path):
        raise UserError(f"expected a folder or a name on the hub as text, got {type(place).__name__}; give its path")
    folder = Path(place).expanduser()
    if isinstance(place, str) and NAME.fullmatch(place) and not folder.exists():
        return _fetched(place, revision)
    if revision is not None:
        raise UserError(f"{place}: revision '{revision}' is for a name on the hub, and this is none; leave it out")
    return folder


def _fetched(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    from crossflare.libraries.transformers import quiet

    try:
        with quiet():
            return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # the hub's client raises errors of its transport, without a common class
        raise UserError(f"{name}: {_reason(error, revision)}", "artefact") from error


def _reason(error: Exception, revision: str | None) -> str:
    """Return the reason for an error, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "its owner gives it to those who accept its terms; do so on its page, and log in with `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"the hub has it, but not its revision '{revision}'; check the revision, or leave it out"
    if isinstance(error, RepositoryNotFoundError):
        return "no such folder, and no such public model on the hub; check it, or log in with `hf auth login`"
    if isinstance(error, LocalEntryNotFoundError):
        at = f" at revision '{revision}'" if revision else ""
        return f"no such folder, not whole in the hub's cache{at}, and no hub in reach; check the path or the network"
    said = str(error).strip().partition("\n")[0]
    return f"could not be fetched ({type(error).__name__}: {said:.200}); check the name and the network"
