import os
from pathlib import Path

import pytest

from crossflare.tasks.kinds import TextTask


@pytest.fixture
def mood() -> TextTask:
    return TextTask("mood", 1, ("bad", "good"), aliases={"awful": "bad"})


@pytest.fixture(scope="session")
def data() -> Path:
    folder = os.environ.get("CROSSFLARE_DATA")
    if not folder:
        pytest.skip("CROSSFLARE_DATA names no folder")
    return Path(folder)
