"""The README of a saved adapter: its languages and the licences of what it was trained on."""

from typing import Any

import pytest
import yaml

from crossflare.fusion.adapter_files import readme
from crossflare.fusion.identity import BaseIdentity

BASE = BaseIdentity("a/model: it's", "0" * 64, 8, 2)


def front(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---")[1])


def test_the_front_matter_is_yaml_with_the_languages() -> None:
    said = front(readme(BASE, {"source": "en", "language": "no", "kind": "lora"}))
    assert said["language"] == ["en", "no"]
    assert said["base_model"] == BASE.name
    assert "language" not in front(readme(BASE, {}))


@pytest.mark.parametrize(("licence", "binds"), [("CC-BY-NC-4.0", True), ("MIT", False)])
def test_a_licence_that_forbids_commerce_is_told(licence: str, binds: bool) -> None:
    card = {"train_source": {"engine": "transformers", "model": "nllb", "licence": licence}, "language": "sw"}
    text = readme(BASE, card)
    assert f"(nllb), licence {licence}" in text
    assert ("Not for commercial use" in text) is binds


def test_a_source_that_nobody_translated_has_no_licence() -> None:
    assert "licence" not in readme(BASE, {"train_source": "original"})
