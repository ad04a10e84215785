"""A published set as a row of a table: the names of its files, in a folder or on the hub, and their columns.

The readers of own files read the rows; this module only says where they are.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.languages import all_languages
from crossflare.tasks.columns import read_examples
from crossflare.tasks.dataset import Align, LanguageParts, Task
from crossflare.tasks.example import Example
from crossflare.tasks.hub import address
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.layout import FileLayout, FilePart, Given, paths_of
from crossflare.tasks.own import set_of_files

LANGUAGE = "{language}"
"""A placeholder in a pattern for the set's own name of a language."""


@dataclass(frozen=True, slots=True)
class OnHub:
    """The place of a set on the hub."""

    repository: str
    """`owner/name`."""
    revision: str
    files: Mapping[str, Given]
    """Part -> pattern of its files, with {language}."""
    layout: FileLayout = field(default_factory=FileLayout)
    """The options in which the files differ from those of the release."""
    languages: Mapping[str, str] = field(default_factory=dict[str, str])
    """Language -> its name there; empty: as in the release."""
    column: str | None = None
    """The column with the language's name, where one file holds all languages."""


@dataclass(frozen=True, slots=True)
class Release:
    """The form in which a set is published."""

    task: Task
    files: Mapping[str, Given]
    """Part -> its file in a folder, with {language}; of several the first that exists."""
    layout: FileLayout = field(default_factory=FileLayout)
    """How the files are written and which column holds what."""
    align: Align = "id"
    """How the files of two languages correspond."""
    languages: Mapping[str, str] = field(default_factory=dict[str, str])
    """Language -> the set's name of it; other names are read as any name of a language is. The hub has only these;
    empty: every language of FLORES-200, by its code there."""
    machine: FilePart | None = None
    """Machine translations of a part that the release has, with {language}, {part} and {source}."""
    hub: OnHub | None = None
    """None: the hub does not have it, or only as a program."""

    def names(self) -> Mapping[str, str]:
        """Return language -> the set's name of it."""
        return self.languages or {row.tag: row.nllb for row in all_languages() if row.nllb}


def open_folder(release: Release, folder: Path) -> LanguageParts:
    """Open a set in a folder, with the languages and parts that the folder has.

    Raises:
        UserError: There is no file of the set.
    """
    tags = {name: tag for tag, name in release.languages.items()}
    files: dict[str, dict[str, Given]] = {}
    for part, given in release.files.items():
        for pattern in paths_of(given):
            for name, path in _matching(folder, pattern.as_posix()):
                files.setdefault(tags.get(name, name), {}).setdefault(part, _at(given, [path]))
    if not files:
        first = paths_of(next(iter(release.files.values())))[0].as_posix()
        example = first.replace(LANGUAGE, release.names()["en" if "en" in release.names() else min(release.names())])
        raise UserError(
            f"{folder}: expected files of {release.task.name} such as {example}, found none; check the path"
        )

    def machine(language: str, part: str, source: str) -> Sequence[Example] | None:
        assert release.machine is not None
        assert isinstance(release.task, TextTask)
        (pattern,) = paths_of(release.machine)
        name = release.languages.get(language, language)
        path = folder / pattern.as_posix().format(language=name, part=part, source=source)
        return read_examples(path, release.task, release.machine.over(release.layout)) if path.is_file() else None

    shipped = None if release.machine is None else machine
    return set_of_files(release.task, files, release.layout, align=release.align, machine=shipped, own=False)


def open_on_hub(release: Release) -> LanguageParts:
    """Open a set on the hub; each part in each language is fetched when it is first read, then cached.

    Raises:
        UserError: (when a part is read) The hub cannot be reached, or the files are not as expected.
    """
    hub = release.hub
    assert hub is not None
    files: dict[str, dict[str, Given]] = {}
    for tag, name in (hub.languages or release.names()).items():
        where = {hub.column: name} if hub.column else {}
        for part, given in hub.files.items():
            paths = [
                address(hub.repository, hub.revision, p.as_posix().replace(LANGUAGE, name)) for p in paths_of(given)
            ]
            files.setdefault(tag, {})[part] = _at(given, paths, where)
    layout = hub.layout.over(release.layout)
    return set_of_files(release.task, files, layout, align=release.align, own=False)


def _matching(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Yield (the set's name of a language, its file) for the files that match a pattern."""
    name = re.compile(re.escape(pattern).replace(re.escape(LANGUAGE), "([^/]+)"))
    for path in sorted(folder.glob(pattern.replace(LANGUAGE, "*"))):
        found = name.fullmatch(path.relative_to(folder).as_posix())
        if found is not None and path.is_file():
            yield found[1], path


def _at(given: Given, paths: Sequence[Path | str], where: Mapping[str, str] | None = None) -> FilePart:
    """Return a part at other paths; with `where`, only matching rows of it are read."""
    options: dict[str, Any] = given.given() if isinstance(given, FilePart) else {}
    options["where"] = {**options.get("where", {}), **(where or {})}
    return FilePart(**options, path=tuple(paths))
