"""The guard of every undocumented name: when a library has moved it, the first use fails with one line that says so.

The tested versions stand in pyproject.toml alone; the installed package carries them in its metadata.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from crossflare.errors import UserError

MOVING = ("torch", "transformers", "peft", "accelerate", "datasets", "ctranslate2", "bitsandbytes")
"""Libraries whose inner names crossflare uses; each has its module here, torch excepted."""
TORCH = SpecifierSet("==2.13.*")
"""pyproject.toml admits other releases of torch, which users have for their GPU; tested is this one."""
ADVICE = "install a tested version, or run `crossflare doctor --self-test` to see whether this one is right"


class LibraryError(UserError):
    """A library does not have what crossflare needs of it."""


@cache
def tested(library: str) -> SpecifierSet:
    """Return the versions of a library that crossflare is tested with, such as `<5.25,>=5.15`."""
    if library == "torch":
        return TORCH
    wanted = (Requirement(line) for line in requires("crossflare") or ())
    return next((each.specifier for each in wanted if each.name == library and each.specifier), SpecifierSet())


def installed(library: str) -> str | None:
    """Return the version of a library; None where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def untested() -> list[str]:
    """Return a clause for each installed library whose version is outside of the tested range."""
    return [
        f"{library} {found} (tested: {tested(library)})"
        for library in MOVING
        if (found := installed(library)) is not None and not tested(library).contains(found, prereleases=True)
    ]


def fail(library: str, what: str) -> LibraryError:
    """Return the error that says what a library lacks: library, version found, versions tested, what to do."""
    return LibraryError(
        f"{library} {installed(library) or '(not installed)'} has no {what}, which crossflare needs; tested with "
        f"{library} {tested(library)}: {ADVICE}"
    )


@cache
def name(place: str) -> Any:
    """Return what stands at `module:attribute.attribute` of a library.

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
        LibraryError: It is not there.
    """
    found: Any = owner
    try:
        for each in path.split("."):
            found = getattr(found, each)
    except AttributeError as error:
        raise fail(library, f"{type(owner).__name__}.{path}") from error
    return found
