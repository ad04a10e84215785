"""The guard of every undocumented name: when a library has moved it, the first use fails with one line that says so.

Only pyproject.toml states the tested versions; the installed package carries them in its metadata.
"""

import os
import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from crossflare.errors import UserError

MOVING = ("torch", "transformers", "peft", "accelerate", "datasets", "ctranslate2", "bitsandbytes")
"""Libraries whose undocumented names crossflare uses."""
TORCH = SpecifierSet("==2.13.*")
"""The tested release of torch; pyproject.toml allows others, which users have for their GPU."""
ADVICE = "install a tested version, or run `crossflare doctor --self-test` to see whether this one is right"


class LibraryError(UserError):
    """A library lacks something that crossflare needs."""


@cache
def tested(library: str) -> SpecifierSet:
    """Return the versions of a library that crossflare is tested with, such as `<5.25,>=5.15`; any if unknown."""
    if library == "torch":
        return TORCH
    try:
        wanted = [Requirement(untested_line) for untested_line in requires("crossflare") or ()]
    except PackageNotFoundError:  # the sources alone, not installed
        wanted = []
    name = canonicalize_name(library)
    return next((each.specifier for each in wanted if each.name == name and each.specifier), SpecifierSet())


def installed(library: str) -> str | None:
    """Return the version of a library; None if it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def outside(library: str) -> str | None:
    """Return how an installed version is outside of the tested ones, such as `newer than tested (>=5.15,<5.25)`."""
    found, bounds = installed(library), tested(library)
    if found is None or bounds.contains(found, prereleases=True):
        return None
    older = Version(found) < min(Version(each.version.removesuffix(".*")) for each in bounds)
    shown = ",".join(sorted(map(str, bounds), reverse=True))  # the lower bound first
    return f"{'older' if older else 'newer'} than tested ({shown})"


def untested() -> list[str]:
    """Return a clause for each installed library whose version is outside of the tested range."""
    return [f"{library} {installed(library)} is {how}" for library in MOVING if (how := outside(library)) is not None]


def fail(library: str, what: str) -> LibraryError:
    """Return the error that says what a library lacks: library, version found, versions tested, what to do."""
    return LibraryError(
        f"{library} {installed(library) or '(not installed)'} has no {what}, which crossflare needs; tested with "
        f"{library} {tested(library)}: {ADVICE}"
    )


@cache
def name(place: str) -> Any:
    """Return the object at `module:attribute.attribute` of a library.

    Raises:
        LibraryError: The module or an attribute is not there.
    """
    module, _, path = place.partition(":")
    library = module.partition(".")[0]
    try:
        found: Any = import_module(module)
        for part in path.split(".") if path else ():
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise fail(library, place.replace(":", ".")) from error
    return found


def part(library: str, owner: object, path: str) -> Any:
    """Return `owner.path`, an attribute of an object that a library made.

    Raises:
        LibraryError: The attribute is not there.
    """
    found: Any = owner
    try:
        for each in path.split("."):
            found = getattr(found, each)
    except AttributeError as error:
        raise fail(library, f"{type(owner).__name__}.{path}") from error
    return found


SAID = "CROSSFLARE_UNTESTED_SAID"
"""The environment variable that holds the line once it is shown: workers inherit it, and do not repeat the line."""


class UntestedVersions(UserWarning):
    """A library's version is outside of the range that crossflare is tested with."""


@cache
def untested_line() -> str | None:
    """Return the line about untested versions, None if all are tested; read only the packages' metadata."""
    found = untested()
    return f"{', '.join(found)}: run `crossflare doctor --self-test`" if found else None


def news() -> str | None:
    """Return the line about untested versions if it was not shown yet, and note that it is shown."""
    text = untested_line()
    if text is None or os.environ.get(SAID) == text:
        return None
    os.environ[SAID] = text
    return text


def warn_once() -> None:
    """Warn once, as a library does, of untested versions; for functions that the user calls."""
    text = news()
    if text is not None:
        warnings.warn(text, UntestedVersions, stacklevel=3)
