"""A lane that fails names the library."""

import pytest

from tools import lane, minors

LOCKED = {
    "transformers": "5.2",
    "tokenizers": "2",
    "huggingface-hub": "3",
    "peft": "2",
    "numpy": "2",
    "rich": "9",
    "old": "1",
}
HERE = {
    "transformers": "5.1",
    "tokenizers": "1",
    "huggingface-hub": "3",
    "peft": "1",
    "numpy": "1",
    "rich": "9",
    "new": "1",
}


def test_steps_hold_what_differs_and_tied_libraries_go_together():
    assert [str(step) for step in lane.steps(LOCKED, HERE)] == [
        "transformers 5.1 (locked: 5.2), tokenizers 1 (locked: 2)",
        "peft 1 (locked: 2)",
        "numpy 1 (locked: 2)",
    ]
    assert lane.steps(LOCKED, LOCKED) == []


@pytest.mark.parametrize("count", range(9))
def test_the_first_bad_step_is_found(count):
    for bad in range(1, count + 2):
        asked = []

        def fails(k, bad=bad, asked=asked):
            asked.append(k)
            return k >= bad

        assert lane.culprit(count, fails) == (bad if bad <= count else None)
        assert len(asked) <= count.bit_length() + 1


@pytest.mark.parametrize(
    ("bad", "verdict"),
    [
        ({"peft": "1"}, "1 of 1 failures come with peft 1 (locked: 2)"),
        ({"tokenizers": "1"}, "1 of 1 failures come with transformers 5.1 (locked: 5.2), tokenizers 1 (locked: 2)"),
        ({"rich": "9"}, "the same tests fail with the locked versions: no library of this lane is the cause"),
        ({"rich": "9", "numpy": "1"}, "1 of 2 failures come with numpy 1 (locked: 2)"),
        ({"nothing": "1"}, "the tests passed when they were run again: the failure does not depend on a version"),
    ],
)
@pytest.mark.parametrize("starts", [True, False], ids=["tests fail", "pytest cannot start"])
def test_blame_installs_until_it_knows(monkeypatch, tmp_path, bad, verdict, starts):
    """Each library of `bad` has one test, which fails with that version of it."""
    environment, last = dict(HERE), []

    def pip(folder, *arguments):
        assert arguments[0] == "--no-deps"
        environment.update(argument.split("==") for argument in arguments[1:])

    def run_tests(folder, tests, *options):
        if not starts:
            assert tests == ["tests", "--collect-only"]
        last[:] = [name for name in bad if (name in tests or not starts) and environment.get(name) == bad[name]]
        return len(last)

    monkeypatch.setattr(lane, "pip", pip)
    monkeypatch.setattr(lane, "run_tests", run_tests)
    monkeypatch.setattr(lane, "failed_tests", lambda folder: last)
    if starts:
        assert lane.blame(tmp_path, LOCKED, HERE, list(bad), ["tests"]) == verdict
        assert environment["old"] == environment["new"] == "1"
    elif len(bad) == 1:
        assert lane.blame(tmp_path, LOCKED, HERE, [], ["tests"]) == verdict


def test_names_of_failed_tests_are_pytest_s(tmp_path):
    assert lane.failed_tests(tmp_path) == []
    cache = tmp_path / "pytest" / "v" / "cache"
    cache.mkdir(parents=True)
    (cache / "lastfailed").write_text('{"tests/b.py": true, "tests/a.py::test_x": true}')
    assert lane.failed_tests(tmp_path) == ["tests/a.py::test_x", "tests/b.py"]


def test_minor_releases_are_those_between_the_bounds():
    assert minors.minors(["torch>=2,<3", "transformers>=5.8,<5.11"]) == ["5.8", "5.9", "5.10"]
    for wrong in ("transformers>=5.8", "transformers>=4.8,<5.2"):
        with pytest.raises(SystemExit, match="expected"):
            minors.minors([wrong])
