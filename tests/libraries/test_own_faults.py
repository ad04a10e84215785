"""A base that is known to be wrong in a release of transformers is told of in one line when it gets an adapter."""

import warnings

import pytest

from crossflare.fusion.tuner import BaseWarning
from crossflare.libraries import guard
from crossflare.libraries.transformers import FAULTS
from writing_models import adapted, build


def release(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(guard, "installed", lambda library: version)


def test_before_the_release_that_is_right_it_is_said_once_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    release(monkeypatch, "5.17.1")
    with pytest.warns(BaseWarning) as said:
        adapted("umt5")
    (one,) = [str(each.message) for each in said if each.category is BaseWarning]
    assert "\n" not in one
    assert one.startswith("umt5 in transformers 5.17.1: ")
    assert one.endswith("install transformers 5.18 or newer")


@pytest.mark.parametrize(("family", "version"), [("umt5", "5.18.0"), ("umt5", "6.0"), ("mt5", "5.17.1")])
def test_right_releases_and_other_models_need_no_word(
    monkeypatch: pytest.MonkeyPatch, family: str, version: str
) -> None:
    release(monkeypatch, version)
    with warnings.catch_warnings():
        warnings.simplefilter("error", BaseWarning)
        adapted(family)


def test_the_table_names_types_of_models() -> None:
    assert {build(family).config.model_type for family in FAULTS} == {*FAULTS}
