"""The tiny laboratory that the tests of runs share."""

import gc
import shutil
from pathlib import Path

import pytest

from crossflare.experiment.running.run import run
from crossflare.recipe.spec import Spec
from tiny_experiment import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("lab"))
    gc.collect()
    gc.freeze()  # each training collects garbage: let it not look through all libraries every time
    return made


@pytest.fixture(scope="module")
def ran(lab: Lab, spec: Spec) -> Path:
    """The run of a module's own recipe `spec`, in the module's lab."""
    return run(spec, lab.folder / "runs", workers=1)


@pytest.fixture
def own_lab(tmp_path: Path, lab: Lab) -> Lab:
    """A copy of the lab whose files may be changed."""
    shutil.copytree(lab.folder, tmp_path / "lab", ignore=shutil.ignore_patterns("runs"))
    return Lab(tmp_path / "lab")
