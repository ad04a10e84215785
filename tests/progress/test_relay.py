"""What a worker process does is shown by the process that started it."""

import io
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Pipe
from typing import Any

import pytest
from rich.console import Console

from crossflare import progress
from crossflare.progress.relay import OFTEN, Sender, show_relayed


class Seen:
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, *given: Any) -> None:
        self.calls.append(("begin", *given))

    def move(self, *given: Any) -> None:
        self.calls.append(("move", *given))

    def end(self, *given: Any) -> None:
        self.calls.append(("end", *given))

    def say(self, *given: Any) -> None:
        self.calls.append(("say", *given))


def always() -> bool:
    return True


def test_what_is_sent_is_shown_under_the_worker_s_number() -> None:
    pipes, seen, now = [Pipe(duplex=False) for _ in range(2)], Seen(), [0.0]
    senders = [Sender(writer, lambda: now[0]) for _, writer in pipes]
    senders[1].begin((0, 7), "training", 40, 2)
    senders[1].move((0, 7), 3, "loss 0.3", None)
    now[0] += 2 * OFTEN
    senders[1].move((0, 7), 9, "", 5.0)
    senders[1].say("a line")
    senders[1].end((0, 7), True)
    show_relayed([reader for reader, _ in pipes], seen, always)
    assert seen.calls == [
        ("begin", (2, 7), "training", 40, 2),
        ("move", (2, 7), 3, "loss 0.3", None),
        ("move", (2, 7), 9, "", 5.0),
        ("say", "a line"),
        ("end", (2, 7), True),
    ]


def test_a_fast_loop_sends_little() -> None:
    (reader, writer), seen, now = Pipe(duplex=False), Seen(), [0.0]
    sender = Sender(writer, lambda: now[0])
    sender.begin((0, 0), "reading", 10_000, 0)
    for number in range(10_000):
        now[0] += 0.001
        sender.move((0, 0), number, "", None)
    sender.end((0, 0), True)
    show_relayed([reader], seen, always)
    assert 5 <= sum(call[0] == "move" for call in seen.calls) <= 10 / OFTEN + 1


def test_bars_of_a_worker_that_was_killed_are_closed_inside_out() -> None:
    (reader, writer), seen = Pipe(duplex=False), Seen()
    sender = Sender(writer)
    sender.begin((0, 0), "stage 1", None, 0)
    sender.begin((0, 1), "training", 4, 0)
    writer.close()
    show_relayed([reader], seen, lambda: False)
    assert seen.calls[2:] == [("end", (1, 1), False), ("end", (1, 0), False)]


def test_a_worker_goes_on_when_nobody_looks() -> None:
    reader, writer = Pipe(duplex=False)
    reader.close()
    Sender(writer).say("to nobody")


@pytest.mark.parametrize("watched", [True, False])
def test_a_real_process(watched: bool) -> None:
    file = io.StringIO()

    def work() -> None:
        with (
            progress.relay_to_display(1) as senders,
            ProcessPoolExecutor(1, get_context("spawn"), progress.send_to, senders) as pool,
        ):
            assert len(senders) == watched
            if watched:
                pool.submit(progress.keep_line, "from another process").result()

    if watched:
        with progress.display(Console(file=file)):
            work()
    else:
        work()
    assert file.getvalue() == "from another process\n" * watched
