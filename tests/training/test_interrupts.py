"""A signal waits for the end of the step, and none is lost on the way out."""

import os
import signal
from contextlib import suppress

import pytest

from crossflare.training.loop.interrupts import Interrupts

SIGNALS = [
    (signal.SIGINT, KeyboardInterrupt, None),
    (signal.SIGTERM, SystemExit, 143),
    (signal.SIGHUP, SystemExit, 129),
]


@pytest.fixture(autouse=True)
def _handlers() -> object:
    """Have all three be caught here, whatever this process inherited, and have none end the tests."""

    def caught(number: int, frame: object) -> None:
        raise AssertionError(f"signal {number} went past")

    before = {number: signal.signal(number, caught) for number, _, _ in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _enter(*numbers: int) -> list[int]:
    """Work that gets signals, and is done after the last; return how far it came, whatever ends it."""
    came: list[int] = []
    with suppress(KeyboardInterrupt, SystemExit), Interrupts():
        for number in numbers:
            os.kill(os.getpid(), number)
            came.append(number)
    return came


@pytest.mark.parametrize(("number", "error", "code"), SIGNALS)
def test_a_signal_after_the_last_look_ends_as_itself(number: int, error: type[BaseException], code: int | None) -> None:
    handler, interrupts = signal.getsignal(number), Interrupts()
    interrupts.__enter__()
    os.kill(os.getpid(), number)
    assert interrupts.received == number
    with pytest.raises(error) as caught:
        interrupts.__exit__(None, None, None)
    assert getattr(caught.value, "code", None) == code
    assert signal.getsignal(number) == handler
    assert _enter(number) == [number]


@pytest.mark.parametrize("number", [number for number, _, _ in SIGNALS])
def test_a_second_one_ends_at_once(number: int) -> None:
    assert _enter(signal.SIGTERM, number) == [signal.SIGTERM]


def test_an_error_is_not_hidden_by_a_signal() -> None:
    """What failed is said; and without a signal nothing is raised."""
    assert _enter() == []
    interrupts = Interrupts()
    interrupts.__enter__()
    os.kill(os.getpid(), signal.SIGTERM)
    interrupts.__exit__(LookupError, LookupError(), None)
