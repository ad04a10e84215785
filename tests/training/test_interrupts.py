"""A signal waits for the end of the step, and none is lost on the way out."""

import os
import signal
from collections.abc import Callable

import pytest

from crossflare.training.loop.interrupts import Interrupts

SIGNALS = [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143), (signal.SIGHUP, SystemExit, 129)]


@pytest.fixture(autouse=True)
def _handlers() -> object:
    """Have all three be caught here, whatever this process inherited, and have none end the tests."""

    def caught(number: int, frame: object) -> None:
        raise AssertionError(f"signal {number} went past")

    before = {number: signal.signal(number, caught) for number, _, _ in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "error", "code"), SIGNALS)
def test_a_signal_after_the_last_look_ends_as_itself(number: int, error: type[BaseException], code: int | None) -> None:
    handler = signal.getsignal(number)
    with pytest.raises(error) as caught, Interrupts() as interrupts:
        os.kill(os.getpid(), number)
        assert interrupts.received == number
    assert getattr(caught.value, "code", None) == code
    assert signal.getsignal(number) == handler


@pytest.mark.parametrize(("number", "error", "code"), SIGNALS)
def test_a_second_one_ends_at_once(number: int, error: type[BaseException], code: int | None) -> None:
    passed = False
    with pytest.raises(error) as caught, Interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), number)
        passed = True
    assert getattr(caught.value, "code", None) == code
    assert not passed


def _quiet() -> None:
    """Do nothing."""


def _failing() -> None:
    raise LookupError


@pytest.mark.parametrize(("work", "error"), [(_quiet, None), (_failing, LookupError)])
def test_an_error_is_not_hidden_by_a_signal(work: Callable[[], None], error: type[Exception] | None) -> None:
    """What failed is said; and without a signal nothing is raised."""
    if error is None:
        with Interrupts():
            work()
        return
    with pytest.raises(error), Interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        work()
