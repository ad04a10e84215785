"""A name that a library no longer has gives one line: the library, its version, the versions tested, what to do."""

from importlib.metadata import version

import pytest
import torch
from packaging.specifiers import SpecifierSet

from crossflare.libraries import guard


@pytest.mark.parametrize("place", ["peft.nowhere:LoraModel", "peft.mapping:NOWHERE", "torch.nn:Module.nowhere"])
def test_a_missing_name(place: str) -> None:
    library = place.partition(".")[0]
    with pytest.raises(guard.LibraryError) as caught:
        guard.name(place)
    line = str(caught.value)
    assert line == (
        f"{library} {version(library)} has no {place.replace(':', '.')}, which crossflare needs; tested with {library} "
        f"{guard.tested(library)}: {guard.ADVICE}"
    )
    assert "doctor --self-test" in line


def test_a_name_that_is_there() -> None:
    assert guard.name("torch.nn:Module.forward") is torch.nn.Module.forward
    assert guard.name("torch.nn") is torch.nn


def test_a_library_that_is_not_installed() -> None:
    assert guard.installed("nowhere-at-all") is None
    assert "nowhere-at-all (not installed) has no thing" in str(guard.fail("nowhere-at-all", "thing"))


def test_the_tested_versions_are_those_of_the_package() -> None:
    assert version("peft") in guard.tested("peft")
    assert guard.tested("torch") == guard.TORCH
    assert guard.tested("nowhere-at-all") == SpecifierSet()


def test_an_untested_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "installed", lambda library: "99.0" if library == "peft" else None)
    assert guard.untested() == [f"peft 99.0 (tested: {guard.tested('peft')})"]
