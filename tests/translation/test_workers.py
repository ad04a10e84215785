"""Laws of workers: each job once, a worker that dies costs time and no text, and none outlives its parent."""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossflare.errors import UserError
from crossflare.translation.workers import AHEAD, Cluster, Job, Processes, Route

pytestmark = pytest.mark.slow
JOBS = ["a", "b", "bad", "c", "d", "e", "f", "g"]


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("deadly").Deadly


def test_after_a_death_every_job_still_comes_once(
    deadly: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    route = deadly(tmp_path, deaths=1)
    found = list(Processes(2).run(Job(route, (text, f"{text}\u2028")) for text in JOBS))
    assert sorted(job.texts[0] for job, _ in found) == sorted(JOBS)
    assert all(done == [text.upper() for text in job.texts] for job, done in found)
    assert len(list(tmp_path.iterdir())) == 1
    assert "the workers are started again, once" in caplog.text


def test_a_second_death_is_one_line_and_what_was_done_was_given_out(deadly: Any, tmp_path: Path) -> None:
    route = deadly(tmp_path, deaths=9)
    finished = Processes(1).run(Job(route, (text,)) for text in JOBS)
    found = [next(finished)[0].texts[0] for _ in range(2)]
    with pytest.raises(UserError, match=r"processes died twice .*finished rows are kept: start the command again"):
        next(finished)
    assert found == ["a", "b"]
    assert len(list(tmp_path.iterdir())) == 2


def test_jobs_are_asked_for_when_a_worker_is_free(deadly: Any, tmp_path: Path) -> None:
    asked: list[str] = []

    def jobs() -> Iterator[Job]:
        for text in JOBS:
            asked.append(text)
            yield Job(deadly(tmp_path), (text,))

    for done, _ in enumerate(Processes(1).run(jobs())):
        assert len(asked) <= done + 1 + AHEAD


def test_an_engine_s_own_error_comes_through(tmp_path: Path) -> None:
    route = Route.of({"engine": "dictionary", "lexicon": str(tmp_path / "none.tsv")}, "en", "sw", split=True)
    with pytest.raises(UserError, match=r"none\.tsv: expected a text file"):
        list(Processes(1).run([Job(route, ("a",))]))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"a cluster needs Ray; install it: pip install 'crossflare\[ray\]'"):
        Cluster(2)


PARENT = """
import sys
from pathlib import Path
from deadly import Deadly
from crossflare.translation.workers import Job, Processes
if __name__ == "__main__":
    list(Processes(2).run(Job(Deadly(Path(sys.argv[1])), ("slow", str(n))) for n in range(2)))
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "pids")], env=environment)
    for _ in range(3000):
        if len(list((tmp_path / "pids").iterdir())) == 2:
            break
        time.sleep(0.01)
    workers = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    for _ in range(500):
        if not any(Path(f"/proc/{worker}").exists() for worker in workers):
            break
        time.sleep(0.01)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
