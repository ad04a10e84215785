"""Why the model hub's client did not bring something, in one line that says what to do."""


def fetch_reason(error: Exception, revision: str | None) -> str:
    """Return why a fetch failed, and what to do.

    Args:
        error: The client's error, or one of its transport, which have no common class.
        revision: The commit, tag or branch that was asked for; None: none.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "its owner gives it to those who accept its terms; do so on its page, and log in with `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"the hub has it, but not its revision '{revision}'; check the revision, or leave it out"
    if isinstance(error, RepositoryNotFoundError):
        return "no such folder, and no such public model on the hub; check it, or log in with `hf auth login`"
    if isinstance(error, OfflineModeIsEnabled):
        return "the hub is switched off (HF_HUB_OFFLINE); switch it on, or name a folder"
    if isinstance(error, LocalEntryNotFoundError):
        at = f" at revision '{revision}'" if revision else ""
        return f"no such folder, not whole in the hub's cache{at}, and no hub in reach; check the path or the network"
    return f"could not be fetched ({told(error)}); check the name and the network"


def told(error: Exception) -> str:
    """Return the first line of an error, and its class."""
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said:.200}"
