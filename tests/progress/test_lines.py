"""Without a terminal: a line for what is finished, one at least every 30 seconds, nothing that drives a terminal."""

import io
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from rich.console import Console

from crossflare import progress
from crossflare.progress.lines import Lines

MOST = 30
"""Seconds that a log may be silent."""


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Log(io.StringIO):
    """A file that knows when each of its lines was written."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.times: list[float] = []

    def write(self, text: str) -> int:
        self.times += [self.clock.now] * text.count("\n")
        return super().write(text)

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> Log:
    return Log(clock)


@pytest.fixture
def lines(clock: Clock, log: Log) -> Lines:
    return Lines(log, clock=clock)


def pass_time(lines: Lines, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1
        lines.beat()


def nothing(lines: Lines) -> None:
    """No bar: imports, a large file that is being loaded."""


def one_that_never_moves(lines: Lines) -> None:
    lines.begin((0, 0), "translating", 100, 0)


def a_step_of_a_run(lines: Lines) -> None:
    lines.begin((0, 0), "steps", 12, 0)
    lines.begin((0, 1), "stage 2 flare, es, seed 0", None, 0)
    lines.begin((0, 2), "training", 360, 0)


def two_workers(lines: Lines) -> None:
    lines.begin((0, 0), "steps", 12, 0)
    for worker in (1, 2):
        lines.begin((worker, 0), f"stage 1 en, seed {worker}", None, 0)


@pytest.mark.parametrize("work", [nothing, one_that_never_moves, a_step_of_a_run, two_workers])
def test_no_silence_is_longer_than_30_seconds(
    work: Callable[[Lines], None], lines: Lines, clock: Clock, log: Log
) -> None:
    start = clock.now
    work(lines)
    pass_time(lines, clock, 200)
    lines.say("a step is finished")  # it counts as a sign of life, too
    pass_time(lines, clock, 100)
    times = [start, *log.times, clock.now]
    assert max(after - before for before, after in pairwise(times)) <= MOST
    assert len(log.times) < 300 / 10  # nor is it told every second


def test_the_clock_is_watched_while_the_work_goes_on(clock: Clock, log: Log) -> None:
    def over(seconds: float) -> bool:
        assert seconds > 0
        clock.now += 1
        return clock.now > 1100

    lines = Lines(log, clock=clock, over=over)
    lines.begin((0, 0), "loading", None, 0)
    with lines:
        pass
    assert log.lines[:2] == ["loading, 2 s so far", "loading, 27 s so far"]


def test_a_line_says_what_of_how_many_and_the_time_left(lines: Lines, clock: Clock, log: Log) -> None:
    a_step_of_a_run(lines)
    lines.move((0, 0), 3, "", 200.0)
    lines.move((0, 2), 10, "loss 0.310", None)
    pass_time(lines, clock, 2)
    lines.move((0, 2), 90, "", None)
    pass_time(lines, clock, 28)
    assert log.lines == [
        "steps 3 of 12: stage 2 flare, es, seed 0: training 10 of 360 (loss 0.310), about 2 min left; "
        "about 4 min left in all",
        "steps 3 of 12: stage 2 flare, es, seed 0: training 90 of 360 (loss 0.310), about 2 min left; "
        "about 3 min left in all",
    ]


def test_each_worker_has_a_line_of_its_own(lines: Lines, clock: Clock, log: Log) -> None:
    two_workers(lines)
    lines.begin((2, 1), "training", 8, 0)
    pass_time(lines, clock, 2)
    assert log.lines == [
        "steps 0 of 12: stage 1 en, seed 1, 2 s so far",
        "steps 0 of 12: stage 1 en, seed 2: training 0 of 8, 2 s so far",
    ]


def test_what_was_done_before_makes_the_rest_no_faster(lines: Lines, clock: Clock, log: Log) -> None:
    lines.begin((0, 0), "training", 1000, 900)
    lines.move((0, 0), 901, "", None)
    pass_time(lines, clock, 2)
    assert log.lines == ["training 901 of 1,000, about 4 min left"]  # 99 at 2 s each, not at 2 / 901 s


def test_what_took_a_while_says_that_it_is_done_and_what_is_quick_says_nothing(
    lines: Lines, clock: Clock, log: Log
) -> None:
    lines.begin((0, 0), "quick", 4, 0)
    lines.move((0, 0), 4, "", None)
    pass_time(lines, clock, 1)
    lines.end((0, 0), True)
    for number, whole in enumerate((True, False), 1):
        lines.begin((0, number), "writing", 4, 0)
        lines.move((0, number), 3 + whole, "", None)
        pass_time(lines, clock, 5)
        lines.end((0, number), whole)
    assert [line for line in log.lines if "left" not in line] == [
        "writing 4 of 4: done in 5 s",
        "writing 3 of 4: stopped after 5 s",
    ]


def test_nothing_drives_a_terminal(lines: Lines, clock: Clock, log: Log) -> None:
    lines.say("\x1b[31mred\x1b[0m\rover\nnext [bold]é 語[/]")
    lines.begin((0, 0), "\x1b]0;title\x07", 3, 0)
    pass_time(lines, clock, 3)
    assert re.findall(r"[^\x20-\x7eé語\n]", log.getvalue()) == []
    assert len(log.lines) == 2
    assert "[bold]é 語[/]" in log.lines[0]  # a text is no markup


def test_a_log_that_cannot_be_written_stops_nothing(clock: Clock) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    closed = io.StringIO()
    closed.close()
    for file in (Full(), closed):
        lines = Lines(file, clock=clock)
        a_step_of_a_run(lines)
        lines.say("done")
        pass_time(lines, clock, 60)
        lines.end((0, 2), True)


def test_a_file_gets_lines_and_a_terminal_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    written: dict[bool, str] = {}
    for terminal in (False, True):
        file = io.StringIO()
        with progress.display(Console(file=file, force_terminal=terminal, width=90)), progress.bar("steps [y]", 2, 1):
            progress.keep_line("step 1 of 2 done: [x]")
        written[terminal] = file.getvalue()
    assert written[False] == "step 1 of 2 done: [x]\n"
    assert "step 1 of 2 done: [x]" in written[True]
    assert "steps [y]" in written[True]
    assert "1/2" in written[True]
    assert "\x1b[" in written[True]
    monkeypatch.setenv("TERM", "dumb")  # can draw nothing: it gets lines
    file = io.StringIO()
    with progress.display(Console(file=file, force_terminal=True)):
        progress.keep_line("a line")
    assert file.getvalue() == "a line\n"


def test_outside_of_a_display_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.bar("steps", 2) as done:
        done(1, note="x", left=3.0)
        progress.keep_line("a line")
    assert list(progress.track([1, 2], "items")) == [1, 2]
    assert not progress.is_displayed()
    assert capfd.readouterr() == ("", "")


def test_a_display_inside_of_another_gives_back_to_it() -> None:
    outer, inner = io.StringIO(), io.StringIO()
    with progress.display(Console(file=outer)):
        with progress.display(Console(file=inner)):
            progress.keep_line("inside")
        progress.keep_line("outside")
    assert (outer.getvalue(), inner.getvalue()) == ("outside\n", "inside\n")
