"""A saved folder on the model hub: fetched by its manifest, and uploaded whole in one commit.

A name is `owner/name`, or `owner/name@revision` for a commit, a tag or a branch. Of a repository only the files are
fetched that its manifest names and that a folder of its kind can have: all weights of a model come only where the card
says that all were trained. No other file is read, and no code runs.
"""

import errno
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from crossflare.disk.files import CARD, MANIFEST, manifest_text, read_manifest
from crossflare.disk.storage import disk_error, storage_error
from crossflare.errors import UserError
from crossflare.fusion.saved.adapter_check import LIMITS, README, read_base
from crossflare.fusion.saved.tensor_files import LIMITS as TENSOR_LIMITS
from crossflare.fusion.saved.tensor_files import MODEL
from crossflare.libraries.hub import fetch_reason, told
from crossflare.libraries.transformers import quiet
from crossflare.tasks.hub import HUB_NAME

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
OURS = {MANIFEST, *LIMITS, *(name for names in TENSOR_LIMITS.values() for name in names)}
"""Every file that a folder of any kind can have."""
FOREIGN = re.compile(r"(pytorch_)?model.*\.(safetensors|bin)")
"""Weights of a model, as others name them."""


def folder_of(place: str | Path, revision: str | None = None, *, whole_models: Collection[str] = ()) -> Path:
    """Return the folder that a caller names.

    Args:
        place: A folder; or, if there is no such folder, a name `owner/name` or `owner/name@revision` on the hub. It is
            fetched to the hub's cache.
        revision: The commit, tag or branch of a name on the hub; None: the one in the name, or the newest.
        whole_models: The kinds of method whose folders have all weights of a model; of others none are fetched.

    Raises:
        UserError: The place is not a text or a path; the hub has no such name or revision, does not allow the caller to
            fetch it, or cannot be reached; what it has is not a folder of crossflare's; or a revision comes with a
            folder, or twice.
    """
    if not isinstance(cast(Any, place), str | Path):
        raise UserError(f"expected a folder or a name on the hub as text, got {type(place).__name__}; give its path")
    folder = Path(place).expanduser()
    if isinstance(place, str) and not folder.exists():
        name, _, inside = place.partition("@")
        if HUB_NAME.fullmatch(name) and (inside or name == place):
            if inside and revision is not None:
                raise UserError(f"{place}: the name says a revision, and revision '{revision}' another; give one")
            return _fetched(name, revision or inside or None, whole_models)
    if revision is not None:
        raise UserError(f"{place}: revision '{revision}' is for a name on the hub, and this is none; leave it out")
    return folder


def _fetched(name: str, revision: str | None, whole_models: Collection[str]) -> Path:
    """Fetch manifest and card, then what they name, at the same commit."""
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            first = Path(snapshot_download(name, revision=revision, allow_patterns=[MANIFEST, CARD]))
    except Exception as error:  # the hub's client raises errors of its transport, without a common class
        raise _refusal(name, error, revision) from error
    named = _named(name, first, whole_models)
    try:
        with quiet():
            return Path(snapshot_download(name, revision=first.name, allow_patterns=named))
    except Exception as error:
        raise _refusal(name, error, revision) from error


def _named(name: str, folder: Path, whole_models: Collection[str]) -> list[str]:
    """Return the files to fetch, from a folder that has manifest and card of a repository.

    Raises:
        UserError: One of both is missing, damaged or of another format, or they do not go together.
    """
    if not (folder / MANIFEST).exists():
        raise UserError(
            f"{name}: the hub has it, but no {MANIFEST} in it, so it was not pushed whole by crossflare; ask its owner "
            "to push it with `crossflare push`, or fetch it with `hf download` and load it with peft",
            "artefact",
        )
    hashes = read_manifest(folder)
    kind = read_base(folder)[0].get("kind")
    if MODEL in hashes and kind not in whole_models:
        raise UserError(
            f"{name}: expected an adapter, as its card says ({kind}), found all weights of a model ({MODEL}); they "
            "were not fetched: do not use this repository",
            "artefact",
        )
    return sorted({MANIFEST, *(OURS & hashes.keys())})


def upload(
    name: str,
    folder: Path,
    replaced: Mapping[str, str],
    *,
    private: bool | None = None,
    branch: str | None = None,
    token: str | bool | None = None,
    message: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a folder that was checked, in one commit, and return the commit's address.

    Args:
        name: `owner/name`, or a name of the caller's own; the repository is made if there is none.
        folder: The folder.
        replaced: File -> its text in place of the one in the folder; the uploaded manifest is made of both.
        private: Whether a new repository is private; None: as the owner's settings say.
        branch: The branch; made if there is none. None: the main one.
        token: The hub's token; None: the one of `hf auth login`.
        message: The commit's message.
        create_pr: Whether the commit becomes a pull request.

    Raises:
        UserError: The name is not valid, the repository holds something else, or the hub refuses or cannot be reached;
            no file is changed there.
    """
    from hashlib import sha256

    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard

    if HUB_NAME.fullmatch(name if "/" in name else f"owner/{name}") is None:
        raise UserError(
            f"{name!a:.100}: expected a name on the hub as owner/name, such as masakhane/topics-sw; give one"
        )
    hashes = read_manifest(folder)
    texts = {
        **replaced,
        MANIFEST: manifest_text(hashes | {key: sha256(text.encode()).hexdigest() for key, text in replaced.items()}),
    }
    api, made = HfApi(token=token), False
    try:
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warnings while validating metadata")
            if README in texts:
                ModelCard(texts[README]).validate()
            name = name if "/" in name else f"{api.whoami()['name']}/{name}"
            if not api.repo_exists(name):
                api.create_repo(name, private=private, exist_ok=True)
                made = True
            if branch is not None and not branch.startswith("refs/"):
                api.create_branch(name, branch=branch, exist_ok=True)
            info = api.model_info(name, revision=branch)
            there = {each.rfilename for each in info.siblings or ()}
            _check_place(name, there)
            added = [CommitOperationAdd(each, folder / each) for each in sorted(hashes.keys() - texts)]
            added += [CommitOperationAdd(each, text.encode()) for each, text in sorted(texts.items())]
            stale = sorted((there & OURS) - {each.path_in_repo for each in added})
            done = api.create_commit(
                name,
                [*added, *(CommitOperationDelete(each) for each in stale)],
                commit_message=message or "Upload an adapter of crossflare",
                revision=branch,
                parent_commit=info.sha,
                create_pr=create_pr,
            )
    except UserError:
        raise
    except Exception as error:
        raise _refusal(name, error, branch, pushing=True, made=made) from error
    return str(done.commit_url)


def _check_place(name: str, there: Collection[str]) -> None:
    """Refuse a repository that holds another model: its README would be lost, and both would be read as one."""
    if MANIFEST not in there and (other := sorted(each for each in there if FOREIGN.fullmatch(each))):
        raise UserError(
            f"{name}: expected a new repository or one of crossflare's, found another model there ({other[0]}); "
            "nothing was pushed, choose another name"
        )


def _refusal(
    name: str, error: Exception, revision: str | None, *, pushing: bool = False, made: bool = False
) -> UserError:
    """Return the one line for an error of the hub's client."""
    said = disk_error(error)
    if said is not None and said.errno in DISK:
        from huggingface_hub import constants

        return storage_error(Path(str(said.filename or constants.HF_HUB_CACHE)), said)
    left = "; the repository was made, and is empty" if made else ""
    reason = _push_reason(error) if pushing else fetch_reason(error, revision)
    return UserError(f"{name}: {'nothing was pushed' + left + ': ' if pushing else ''}{reason}", "artefact")


def _push_reason(error: Exception) -> str:
    """Return why an upload failed, and what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return "the hub does not know who you are; log in with `hf auth login`, with a token that may write"
    if status in (403, 404):
        return "the hub does not let you write there; check the owner's name, and that your token may write"
    if status in (409, 412):
        return "someone else changed the repository meanwhile; push again"
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return f"the hub refuses the metadata of {README} ({' '.join(str(error).split()):.200}); check --licence"
    if isinstance(error, OfflineModeIsEnabled):
        return "the hub's client is set to work offline; unset HF_HUB_OFFLINE"
    return f"{told(error)}; check the name and the network, and push again"
