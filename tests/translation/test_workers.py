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
from crossflare.jobs import AGAIN, AHEAD, Cluster, Processes
from crossflare.translation.workers import Job, Route, translate_jobs

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
    found = list(translate_jobs(Processes(2), (Job(route, (text, f"{text}\u2028")) for text in JOBS)))
    assert sorted(job.texts[0] for job, _ in found) == sorted(JOBS)
    assert all(done == [text.upper() for text in job.texts] for job, done in found)
    assert len(list(tmp_path.iterdir())) == 1
    assert caplog.text.count("a worker disappeared") == 1


def test_a_job_that_kills_its_workers_is_given_up_and_the_others_are_done(deadly: Any, tmp_path: Path) -> None:
    route = deadly(tmp_path, deaths=9)
    finished = translate_jobs(Processes(1), (Job(route, (text,)) for text in JOBS))
    found: list[str] = []
    with pytest.raises(UserError, match=r"workers died again and again .*finished rows are kept: start the command"):
        found += (job.texts[0] for job, _ in finished)
    assert set(JOBS) - {"bad", "c"} <= set(found)  # `c` was in the same hands
    assert len(list(tmp_path.iterdir())) == AGAIN + 1


def test_jobs_are_asked_for_when_a_worker_is_free(deadly: Any, tmp_path: Path) -> None:
    asked: list[str] = []

    def jobs() -> Iterator[Job]:
        for text in JOBS:
            asked.append(text)
            yield Job(deadly(tmp_path), (text,))

    for done, _ in enumerate(translate_jobs(Processes(1), jobs())):
        assert len(asked) <= done + 1 + AHEAD


def test_an_engine_s_own_error_comes_through(tmp_path: Path) -> None:
    route = Route.of({"engine": "dictionary", "lexicon": str(tmp_path / "none.tsv")}, "en", "sw", split=True)
    with pytest.raises(UserError, match=r"none\.tsv: expected a text file"):
        list(translate_jobs(Processes(1), [Job(route, ("a",))]))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"a cluster needs Ray; install it: pip install 'crossflare\[ray\]'"):
        Cluster(2)


PARENT = """
import sys
from pathlib import Path
from deadly import Deadly
from crossflare.jobs import Processes
from crossflare.translation.workers import Job, translate_jobs
if __name__ == "__main__":
    list(translate_jobs(Processes(2), (Job(Deadly(Path(sys.argv[1])), ("slow", str(n))) for n in range(2))))
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    (tmp_path / "parent.py").write_text(PARENT)
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
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
