"""The tests' guard against calls that will go away: it bites on ours, however a library says it, and on no others."""

import sys
from pathlib import Path

import pytest

from deprecations import Deprecations

LIBRARY = """
import warnings
def old():
    warnings.warn("old is deprecated, use new", {kind})
"""
BETWEEN = """
import library
def call():
    library.old()
"""
LOGS = """
from transformers.utils import logging
def test_it():
    logging.get_logger("transformers.models").warning_once("{said}")
"""


def outcome(folder: Path, test: str, kind: str = "DeprecationWarning") -> dict[str, int]:
    """Run a test of ours beside two libraries of others and return how many passed and failed."""
    for name, text in {
        "lib/library.py": LIBRARY.format(kind=kind),
        "lib/between.py": BETWEEN,
        "ours/test_it.py": test,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    counted: dict[str, int] = {"passed": 0, "failed": 0}

    class Count:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            counted[report.outcome] += report.when == "call" or report.failed

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "lib")
        for name in ("library", "between", "test_it", "ours.test_it", "ours"):
            patch.delitem(sys.modules, name, raising=False)
        options = [
            "-q",
            "-p",
            "no:cacheprovider",
            "--import-mode=importlib",
            f"--rootdir={folder}",
            "--noconftest",
            str(folder / "ours"),
        ]
        pytest.main(options, plugins=[Deprecations([folder / "ours"]), Count()])
    return counted


@pytest.mark.parametrize("kind", ["DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"])
def test_a_warning_of_our_call_fails(tmp_path: Path, kind: str) -> None:
    assert outcome(tmp_path, "import library\ndef test_it(): library.old()", kind)["failed"] == 1


def test_a_line_in_a_librarys_log_fails_each_time(tmp_path: Path) -> None:
    """transformers says such a thing once in a process: the next test must hear it all the same."""
    test = LOGS.format(said="`old` is deprecated! Use `new` instead!")
    assert outcome(tmp_path, test)["failed"] == 1
    assert outcome(tmp_path, test)["failed"] == 1
    assert outcome(tmp_path, LOGS.format(said="this model has no padding token")) == {"passed": 1, "failed": 0}


def test_in_a_fixture_too(tmp_path: Path) -> None:
    test = "import library, pytest\n@pytest.fixture(autouse=True)\ndef old(): library.old()\ndef test_it(old): pass"
    assert outcome(tmp_path, test)["failed"] == 1


def test_what_libraries_do_with_each_other_passes(tmp_path: Path) -> None:
    assert outcome(tmp_path, "import between\ndef test_it(): between.call()") == {"passed": 1, "failed": 0}


def test_other_warnings_pass_and_a_test_may_listen_itself(tmp_path: Path) -> None:
    assert outcome(tmp_path, "import library\ndef test_it(): library.old()", "UserWarning")["passed"] == 1
    listens = "import library, pytest\ndef test_it():\n with pytest.warns(DeprecationWarning): library.old()"
    assert outcome(tmp_path, listens)["passed"] == 1
