"""A name that is gone is one line, which says what is missing, which version is there, and what to do."""

import pytest

from crossflare.errors import UserError
from crossflare.libraries import guard


@pytest.mark.parametrize(
    ("place", "missing"),
    [("json:no.such", r"json\.no\.such"), ("json.no_such", r"json\.no_such"), ("json:dumps.no", r"json\.dumps\.no")],
)
def test_a_name_that_is_gone(contract, monkeypatch, place: str, missing: str) -> None:
    monkeypatch.setattr(guard, "installed", lambda library: "9.9")
    with pytest.raises(UserError, match=contract.one_line("json", missing)):
        guard.name(place)


def test_a_part_that_is_gone(contract, monkeypatch) -> None:
    monkeypatch.setattr(guard, "installed", lambda library: "9.9")
    assert guard.part("peft", 1 + 2j, "real.imag") == 0
    with pytest.raises(guard.LibraryError, match=contract.one_line("peft", r"complex\.real\.no")):
        guard.part("peft", 1 + 2j, "real.no")


def test_names_that_are_there() -> None:
    import json

    assert guard.name("json") is json
    assert guard.name("json:JSONDecoder.decode") is json.JSONDecoder.decode


def test_what_is_untested_is_told(monkeypatch) -> None:
    monkeypatch.setattr(guard, "installed", lambda library: "99.0" if library == "peft" else None)
    (clause,) = guard.untested()
    assert clause.startswith("peft 99.0 is newer than tested (")
