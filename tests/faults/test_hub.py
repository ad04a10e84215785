"""Models of the hub by name, from a cache that is made here: nothing is fetched."""

from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.translation.engines.model_files import revision_of

COMMIT, OTHER = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--someone--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT, encoding="ascii")
    for commit in (COMMIT, OTHER):
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "config.json").write_text("{}", encoding="ascii")
    return repository


def test_a_name_without_a_revision_is_recorded_by_its_commit(cache: Path) -> None:
    assert revision_of("someone/model", None) == COMMIT
    assert revision_of("someone/model", OTHER) == OTHER
    (cache / "refs" / "main").write_text(OTHER, encoding="ascii")  # the branch moved on: another model
    assert revision_of("someone/model", None) == OTHER


def test_what_is_not_here_or_half_here_is_one_line_offline(cache: Path) -> None:
    (cache / "snapshots" / COMMIT / "config.json").unlink()
    (cache / "blobs").mkdir()
    (cache / "blobs" / "0123.incomplete").write_text('{"model_type": "ma', encoding="ascii")  # killed while fetching
    for name, revision in (("someone/model", None), ("someone/model", "c" * 40), ("someone/other", None)):
        with pytest.raises(UserError, match=name) as caught:
            revision_of(name, revision)
        assert "\n" not in str(caught.value)
