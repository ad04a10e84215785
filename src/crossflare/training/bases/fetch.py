"""Models of the hub, or of another folder, as folders of safetensors that work without a network.

A model's weights, configuration, tokenizer and card are taken (see `weights`); anything else stays where it is: weights
in other forms, and code.
"""

import errno
import glob
import re
import shutil
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from crossflare.disk.files import MANIFEST, clear_unfinished, commit_dir, content_id, digest_file, open_dir, read_json
from crossflare.disk.locks import in_turn
from crossflare.disk.storage import StorageError, disk_error, storage_error
from crossflare.disk.untrusted import LARGEST, read_small_json, regular
from crossflare.errors import UserError, listed
from crossflare.libraries.hub import fetch_reason
from crossflare.training.bases.packaged import BASES
from crossflare.training.bases.weights import CONFIG, ModelFiles, check_weights, choose_files, convert_weights
from crossflare.translation.engines.model_files import card_licence

FOLDER = Path("models")
"""Where a model is put by default, under its own name."""
NOT_SAID = "not said"
"""The licence of a model whose card has none."""
DISK = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO")
"""Errors of the disk; the hub's client has others of the same class for the network."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model in a folder."""

    folder: Path
    about: Mapping[str, Any]
    """What the folder's manifest says: model, revision, licence, the sha256 of each file, and what was converted."""
    new: bool
    """Whether it was not there before."""
    code: str | None
    """The code that its configuration names, which was not fetched; None: none."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a model comes from."""

    model: str
    commit: str
    """The commit on the hub, or the content id of a folder's files."""
    sizes: Mapping[str, int]
    """File -> its bytes."""
    hashes: Mapping[str, str] = field(default_factory=dict[str, str])
    """File -> its sha256, where the hub says it."""
    folder: Path | None = None
    """The folder; None: the hub."""

    @property
    def name(self) -> str:
        """The name that the manifest has: of a folder without its path, which is of this machine alone."""
        return self.model if self.folder is None else self.folder.name


def fetch_model(model: str, revision: str | None = None, to: Path | None = None) -> Fetched:
    """Bring a model into a folder.

    Args:
        model: A name on the hub; or a folder, such as one with weights that `torch.save` wrote.
        revision: The commit, tag or branch of a name on the hub; None: the newest.
        to: The folder; None: the model's name in `FOLDER`. If it has this model already, nothing is done; if it has
            another revision of it, that is replaced.

    Raises:
        UserError: There is no such model or revision, or the hub does not give it; it has no weights that are read; the
            folder has other contents; or there is too little space.
    """
    source = Path(model).expanduser().resolve()
    origin = _of_folder(model, source, revision) if source.is_dir() else _of_hub(model, revision)
    final = (to or FOLDER / source.name).expanduser().resolve()
    files = choose_files(model, origin.sizes)
    with in_turn(final.with_name(f".{final.name}.lock")):
        new = not _is_there(final, origin)
        if new:
            clear_unfinished(final)
            _check_space(final, origin, files)
            if origin.folder is None:
                _from_hub(final, origin, files)
            else:
                _make(final, origin, files, origin.folder)
    return Fetched(final, read_json(final / MANIFEST), new, _code(final))


def _of_folder(model: str, source: Path, revision: str | None) -> _Origin:
    if revision is not None:
        raise UserError(f"{model}: revision '{revision}' is for a name on the hub, and this is a folder; leave it out")
    sizes = {path.name: path.stat().st_size for path in source.iterdir() if path.is_file()}
    hashes = {name: digest_file(regular(source, name)) for name in choose_files(model, sizes).all}
    return _Origin(model, content_id(hashes), sizes, hashes, source)


def _of_hub(model: str, revision: str | None) -> _Origin:
    """Ask the hub for the commit and the files of a model."""
    if model in BASES:
        raise UserError(f"{model} is in the package {BASES[model].package}, and needs no fetching; name it in a recipe")
    if not re.fullmatch(r"\w[\w.-]*(?:/\w[\w.-]*)?", model, re.ASCII):
        raise UserError(f"{model}: there is no such folder, and this is no name on the hub; check it (OWNER/NAME)")
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(model, revision=revision, files_metadata=True)
    except Exception as error:  # the hub's client raises errors of its transport, without a common class
        raise UserError(f"{model}: {fetch_reason(error, revision)}") from error
    siblings = info.siblings or []
    return _Origin(
        model,
        str(info.sha),
        {each.rfilename: each.size or 0 for each in siblings},
        {each.rfilename: each.lfs.sha256 for each in siblings if each.lfs is not None},
    )


def _is_there(final: Path, origin: _Origin) -> bool:
    """Return whether a folder has this revision of a model, whole.

    Raises:
        UserError: The folder has other contents, or something in it was changed: it is left as it is.
    """
    if not final.exists() or (final.is_dir() and not any(final.iterdir())):
        return False
    advice = "choose another folder with --to, or remove this one"
    if not (final / MANIFEST).is_file():
        raise UserError(f"{final}: expected a new folder, found one with other contents; {advice}")
    about: Any = read_small_json(regular(final, MANIFEST))
    known = cast(dict[str, Any], about) if isinstance(about, dict) else {}
    same = known.get("revision") == origin.commit
    if known.get("model") != origin.name or not (same or origin.folder is None):
        raise UserError(f"{final}: expected a new folder, found another model or adapter; {advice}")
    try:
        open_dir(final, limits=dict.fromkeys(known.get("sha256") or {}, LARGEST))
    except UserError as error:
        raise UserError(f"{error}; it is left as it is: {advice}") from error
    return same


def _check_space(final: Path, origin: _Origin, files: ModelFiles) -> None:
    """Refuse to begin without the space for all files, and for pickled weights a second time."""
    needed = sum(origin.sizes[name] for name in files.all) * (2 if files.pickled and origin.folder is None else 1)
    free = shutil.disk_usage(final.parent).free
    if free < needed:
        raise StorageError(
            f"{final}: {origin.model} takes {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; free space, or choose "
            "another folder with --to",
            "disk",
        )


class _UnreachedError(UserError):
    """The hub did not give all files: those that came are kept, and the next fetch goes on from there."""


def _from_hub(final: Path, origin: _Origin, files: ModelFiles) -> None:
    """Make the folder out of files on the hub, which come into a folder beside it first."""
    stage = final.with_name(f".{final.name}.{content_id([origin.model, origin.commit])}.part")
    for old in final.parent.glob(f".{glob.escape(final.name)}.{12 * '[0-9a-f]'}.part"):
        if old != stage:
            shutil.rmtree(old, ignore_errors=True)
    kept = False
    try:
        _download(final, origin, files, stage)
        _make(final, origin, files, stage)
    except (_UnreachedError, KeyboardInterrupt, SystemExit):
        kept = True
        raise
    finally:
        if not kept:
            shutil.rmtree(stage, ignore_errors=True)


def _download(final: Path, origin: _Origin, files: ModelFiles, stage: Path) -> None:
    """Fetch files, and compare them with the hashes that the hub says."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    try:
        with _bars_on_terminals():
            snapshot_download(origin.model, revision=origin.commit, allow_patterns=list(files.all), local_dir=stage)
    except Exception as error:
        cause = disk_error(error)
        if cause is not None and errno.errorcode.get(cause.errno or 0) in DISK:
            raise storage_error(final, cause) from error
        kind = UserError if isinstance(error, GatedRepoError) else _UnreachedError
        raise kind(f"{origin.model}: {fetch_reason(error, origin.commit)}") from error
    for name in files.all:
        if name in origin.hashes and digest_file(stage / name) != origin.hashes[name]:
            raise UserError(f"{origin.model}: {name} was damaged on its way (its sha256 differs); run it again")


@contextmanager
def _bars_on_terminals() -> Generator[None]:
    """Hide what the hub's client says of its attempts, and its bars where nobody would see them move."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, logging

    level, hide = logging.get_verbosity(), not sys.stderr.isatty() and not are_progress_bars_disabled()
    logging.set_verbosity_error()
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if hide:
            enable_progress_bars()


def _make(final: Path, origin: _Origin, files: ModelFiles, source: Path) -> None:
    """Make the folder out of the files in another one: a user's are copied, those of the hub are moved."""

    def fill(folder: Path) -> dict[str, Any]:
        for name in (*files.beside, *(() if files.pickled else (*files.weights, *filter(None, [files.index])))):
            move = shutil.move if origin.folder is None else shutil.copyfile
            move(regular(source, name), folder / name)
        converted = convert_weights(origin.model, files, source, folder) if files.pickled else {}
        check_weights(origin.model, files, folder)
        card = folder / "README.md"
        said = card_licence(card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "")
        return {
            "model": origin.name,
            "revision": origin.commit,
            "licence": said or NOT_SAID,
            "converted": converted,
            "left_out": sorted(origin.sizes.keys() - set(files.all)),
        }

    commit_dir(final, fill)


def _code(folder: Path) -> str | None:
    """Return the names of the code that a model's configuration asks for."""
    config: Any = read_small_json(folder / CONFIG, 1 << 24)
    named = cast(dict[str, Any], config).get("auto_map") if isinstance(config, dict) else None
    return listed([str(each) for each in cast(dict[str, Any], named).values()], 3) if isinstance(named, dict) else None
