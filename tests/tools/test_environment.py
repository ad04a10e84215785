"""An environment is made in order, torch first and alone, and made anew after a cut."""

import pytest

from tools import environment, locks


@pytest.fixture
def steps(monkeypatch):
    """What would be done to an environment; pip raises at the word in `steps.cut`."""

    class Steps(list):
        cut = "nothing"
        works = False
        torch = ""

    done = Steps()

    def fresh(folder):
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        done.append("fresh")
        done.works = True

    def pip(folder, *arguments):
        done.append(" ".join(arguments))
        if done.cut in done[-1]:
            raise SystemExit("cut")

    monkeypatch.setattr(environment, "fresh", fresh)
    monkeypatch.setattr(environment, "pip", pip)
    monkeypatch.setattr(environment, "works", lambda folder: done.works)
    monkeypatch.setattr(environment, "versions", lambda folder: {"torch": done.torch})
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    return done


TORCH = locks.TORCH.read_text().strip()
LOCK = f"--no-deps --require-hashes -r {locks.DEMO}"
PACKAGE = f"--no-deps --no-build-isolation --editable {locks.ROOT}"


def test_torch_first_then_the_lock_then_the_package(steps, tmp_path, capsys):
    environment.make(tmp_path / "venv", locks.DEMO)
    assert steps == ["fresh", TORCH, LOCK, PACKAGE]
    said = capsys.readouterr().out
    assert environment.TORCH_SIZES in said
    assert environment.SIZES[locks.DEMO] in said


def test_torch_comes_from_another_index_alone(steps, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", "URL")
    environment.make(tmp_path / "venv", locks.DEMO, package=False)
    assert steps == ["fresh", f"-i URL {TORCH}", LOCK]


def test_a_torch_that_is_there_stays(steps, tmp_path):
    steps.works, steps.torch = True, TORCH.removeprefix("torch==") + "+cpu"
    (tmp_path / "venv").mkdir()
    environment.make(tmp_path / "venv", locks.DEMO)
    assert steps == [LOCK, PACKAGE]


@pytest.mark.parametrize("cut", [TORCH, LOCK, PACKAGE])
def test_a_cut_install_is_made_anew_and_a_whole_one_is_kept(steps, tmp_path, cut):
    folder = tmp_path / "venv"
    steps.cut = cut
    with pytest.raises(SystemExit):
        environment.make(folder, locks.DEMO)
    steps.clear()
    steps.cut = "nothing"
    environment.make(folder, locks.DEMO)
    assert steps[0] == "fresh"
    steps.clear()
    environment.make(folder, locks.DEMO)
    assert "fresh" not in steps


def test_a_link_is_never_made_anew(steps, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / ".unfinished").touch()
    (tmp_path / "venv").symlink_to("theirs")
    environment.make(tmp_path / "venv", locks.DEMO)
    assert "fresh" not in steps


def test_pip_speaks_only_when_it_fails(tmp_path, capfd):
    place = tmp_path / "bin" / "python"
    place.parent.mkdir()
    place.write_text('#!/bin/sh\necho "WARNING: $*"\ncase "$*" in *bad*) exit 1;; esac\n')
    place.chmod(0o755)
    environment.pip(tmp_path, "good")
    assert "".join(capfd.readouterr()) == ""
    with pytest.raises(SystemExit, match=r"WARNING: .* bad\n.*failed in"):
        environment.pip(tmp_path, "bad")
