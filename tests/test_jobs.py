"""The rule of jobs: each is done once, a lost one is given out again so many times, and its own error comes through."""

from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from crossflare.jobs import AHEAD, GivenUpError, Pool


class Here(Pool):
    """A worker that does each job when it is given it, and goes away at `bad` for as many times as it has deaths."""

    deaths = 0
    given = 0

    @contextmanager
    def _giving(self, work: Callable[[Any], Any]) -> Generator[Callable[[Any], Future[Any]]]:
        def give(job: Any) -> Future[Any]:
            self.given += 1
            future: Future[Any] = Future()
            if job == "bad" and self.deaths:
                self.deaths -= 1
                future.set_exception(EOFError())
                return future
            try:
                future.set_result(work(job))
            except ValueError as error:
                future.set_exception(error)
            return future

        yield give

    def _is_loss(self, error: BaseException) -> bool:
        return isinstance(error, EOFError)


def test_a_lost_job_comes_once_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    pool = Here(1)
    pool.deaths = 3
    found = list(pool.run(str.upper, ["a", "bad", "b", "c"]))
    assert sorted(filter(None, found)) == [("a", "A"), ("b", "B"), ("bad", "BAD"), ("c", "C")]
    assert len(found) == 4
    assert pool.given == 7
    assert caplog.text.count("a worker disappeared") == 3


@pytest.mark.parametrize("again", [0, 1, 3])
def test_a_job_that_is_lost_again_and_again_is_given_up_and_the_others_are_done(again: int) -> None:
    pool, found = Here(1), list[Any]()
    pool.deaths = 9
    with pytest.raises(GivenUpError):
        found += pool.run(str.upper, ["a", "bad", "b", "c"], again=again)
    assert found == [("a", "A"), ("b", "B"), ("c", "C")]
    assert pool.given == 4 + again


def test_a_job_s_own_error_comes_after_what_was_done_beside_it() -> None:
    found: list[Any] = []
    with pytest.raises(ValueError, match="invalid literal"):
        found += Here(1).run(int, ["1", "x", "2", "3"])
    assert found == [("1", 1)]


def test_jobs_are_asked_for_when_a_worker_is_free() -> None:
    asked: list[int] = []
    jobs = (asked.append(n) or n for n in range(9))
    for done, _ in enumerate(Here(2).run(abs, jobs)):
        assert len(asked) <= done + 2 * AHEAD
