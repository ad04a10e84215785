"""Data sets on the Hugging Face Hub: their files, and what the card of a repository says about them.

Files are fetched into the hub's cache and read like files on this machine. No code from a repository is ever run: a
set with a loading script has no files that can be named, or has others beside the script. A file is named
`hf://datasets/OWNER/NAME@REVISION/PATH`, where PATH may be a pattern.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from crossflare.disk.untrusted import SMALL
from crossflare.errors import UserError, listed
from crossflare.languages import tag_of
from crossflare.tasks.layout import Cell, FilePart, Given, paths_of
from crossflare.tasks.objects import class_names

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""`owner/name`."""
_ADDRESS = re.compile(r"hf:/{1,2}datasets/([\w.-]+/[\w.-]+)(?:@(refs/\w+/[\w.-]+|[^/@]+))?/(.+)", re.ASCII)


def address(repository: str, revision: str | None, path: str) -> str:
    """Return the name of a file, or a pattern of files, on the hub."""
    return f"hf://datasets/{repository}{f'@{revision}' if revision else ''}/{path}"


def is_on_hub(path: Path | str) -> bool:
    """Whether a path names a file on the hub."""
    return str(path).startswith("hf:/")


def fetched(paths: Sequence[Path]) -> list[Path]:
    """Return paths on this machine: files on the hub are fetched, unless they are in its cache already.

    Raises:
        UserError: An address is not valid, the hub cannot be reached, or it has no such file.
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
    """Return the files of a data repository that match a pattern, sorted by name.

    Raises:
        UserError: They cannot be fetched, and are not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    try:
        kind = "dataset"
        folder = Path(snapshot_download(repository, repo_type=kind, revision=revision, allow_patterns=[pattern]))
    except Exception as error:  # the hub's client raises its transport's errors, which share no class
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{address(repository, revision, pattern)}: could not be fetched ({type(error).__name__}: {reason}); check "
            "the name, the revision and the network, or take a copy of the files and name its folder"
        ) from error
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [folder / name for name in filter_repo_objects(names, allow_patterns=[pattern])]


SPLITS = {"train": "train", "validation": "dev", "valid": "dev", "val": "dev", "dev": "dev", "test": "test"}
"""A repository's name of a part -> its name here."""


@dataclass(frozen=True)
class Repository:
    """A repository of data: a name on the hub, or a folder with a copy of one."""

    place: str
    """`owner/name`, or the path of the folder."""
    revision: str | None
    card: Mapping[str, Any]
    """The head of its README."""

    @property
    def configurations(self) -> dict[str, dict[str, list[str]]]:
        """Configuration -> part -> patterns of its files."""
        given = self.card.get("configs")
        found: dict[str, dict[str, list[str]]] = {}
        for each in _mappings(given):
            parts = found.setdefault(str(each.get("config_name", "default")), {})
            for split, path in _files_of(each.get("data_files")):
                if split in SPLITS:
                    parts.setdefault(SPLITS[split], []).append(path)
        return found

    def files(
        self, languages: Sequence[str], names: Mapping[str, str], column: str | None
    ) -> dict[str, dict[str, Given]]:
        """Return language -> part -> files, as `own_set` takes them.

        Args:
            languages: Tags; languages that the repository lacks are left out.
            names: Language -> its configuration, or its name in `column`, where that is not a name of the language.
            column: Where one configuration holds all languages, the column that says the language.

        Raises:
            UserError: The repository has none of the languages.
        """
        known = self.configurations
        if column is not None and len(known) > 1 and "default" not in known:
            raise UserError(f"{self.place}: expected one configuration with all languages, found {listed(known)}")
        tags = {tag_of(name): name for name in reversed(known)}
        files: dict[str, dict[str, Given]] = {}
        for language in languages:
            where: dict[str, Cell] = {}
            if column is not None and known:
                chosen = known.get("default", next(iter(known.values())))
                where[column] = names.get(language, language)
            else:
                chosen = known.get(names.get(language, tags.get(language, "")))
            if chosen:
                files[language] = {
                    part: FilePart(path=self._paths(found), where=where) for part, found in chosen.items()
                }
        if not files:
            has = f"it has {listed(known)}" if known else "its card names none"
            raise UserError(
                f"{self.place}: no configuration is named by {listed(languages)}: {has}; say language_names, or write "
                f"its files under task.files as {address('OWNER/NAME', 'REVISION', 'PATH')}"
            )
        return files

    def labels(self, column: str, files: Mapping[str, Mapping[str, Given]]) -> tuple[tuple[str, ...], bool]:
        """Return the names of labels in the order of their numbers, or none, and whether the files have them, too."""
        given = next(part for parts in files.values() for part in parts.values())
        path = fetched(paths_of(given)[:1])[0]
        own = class_names(path).get(column, ()) if path.suffix == ".parquet" else ()
        said: set[tuple[str, ...]] = set()
        for info in _mappings(self.card.get("dataset_info")):
            for feature in _mappings(info.get("features")):
                kind: Any = feature.get("dtype")
                names: Any = kind.get("class_label", {}).get("names") if isinstance(kind, Mapping) else None
                if feature.get("name") == column and names:
                    said.add(tuple(str(name) for name in (names.values() if isinstance(names, Mapping) else names)))
        return (own, True) if own else (said.pop() if len(said) == 1 else (), False)

    def _paths(self, patterns: Sequence[str]) -> tuple[str, ...]:
        if not Path(self.place).is_absolute():
            return tuple(address(self.place, self.revision, pattern) for pattern in patterns)
        found = [path for pattern in patterns for path in sorted(Path(self.place).glob(pattern)) if path.is_file()]
        if not found:
            raise UserError(f"{self.place}: its card names files {listed(patterns)}, found none; take a whole copy")
        return tuple(map(str, found))


def open_repository(place: str, revision: str | None) -> Repository:
    """Read the card of a repository.

    Args:
        place: `owner/name` on the hub, or the path of a folder.
        revision: A commit, tag or branch of the hub; None: the newest.

    Raises:
        UserError: There is no card, or it cannot be fetched or read.
    """
    from huggingface_hub.repocard import metadata_load

    local = Path(place).is_absolute()
    paths = [Path(place) / "README.md"] if local else snapshot_files(place, revision, "README.md")
    if not paths or not paths[0].is_file():
        raise UserError(
            f"{place}: expected a README.md that names configurations and files, found none; say task.files"
        )
    if paths[0].stat().st_size > SMALL:
        raise UserError(f"{paths[0]}: a card of more than {SMALL} bytes is not read; say task.files")
    try:
        card: Any = metadata_load(paths[0])
    except Exception as error:  # YAML's reader may raise anything for an unknown text
        raise UserError(f"{paths[0]}: its head is no YAML ({' '.join(str(error).split())[:120]})") from error
    return Repository(place, revision, cast(Mapping[str, Any], card) if isinstance(card, Mapping) else {})


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings of a list, or the one mapping that is there in place of a list."""
    for each in cast(list[Any], value) if isinstance(value, list) else [value]:
        if isinstance(each, Mapping):
            yield cast(Mapping[str, Any], each)


def _files_of(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (split, pattern) of the entry `data_files` of a card."""
    if isinstance(value, Mapping):
        value = [{"split": split, "path": path} for split, path in cast(Mapping[str, Any], value).items()]
    elif isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        value = [{"split": "train", "path": value}]
    for each in _mappings(value):
        path = each.get("path")
        for pattern in cast(list[Any], path) if isinstance(path, list) else [path]:
            if isinstance(pattern, str) and ".." not in pattern.split("/") and not pattern.startswith("/"):
                yield str(each.get("split", "train")), pattern
