"""Links to finished work: the newest target, in one step, never in the place of a real folder."""

from pathlib import Path

import pytest

from crossflare.disk.files import point_to
from crossflare.errors import UserError


def test_a_link_is_made_kept_and_moved(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
    link = tmp_path / "adapters" / "best"
    for name in ("one", "one", "two"):
        point_to(link, Path("..") / "models" / name)
        assert link.resolve() == tmp_path / "models" / name
    assert [path.name for path in link.parent.iterdir()] == ["best"]


def test_a_real_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "best" / "kept").mkdir(parents=True)
    with pytest.raises(UserError, match="best: could not be written"):
        point_to(tmp_path / "best", Path("elsewhere"))
    assert (tmp_path / "best" / "kept").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
