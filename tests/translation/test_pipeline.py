"""Laws of a command that is kept running: one answer per message, or an error that says how far it came."""

import os
import sys
import time

import pytest

from crossflare.translation.engines.apertium import Pipeline, PipelineError

ECHO = """
import sys
data = b""
while block := sys.stdin.buffer.read1(65536):
    *whole, data = (data + block).split(b"\\0")
    for message in whole:
        {act}
        sys.stdout.buffer.write(message.upper() + b"\\0")
        sys.stdout.buffer.flush()
"""


def command(act: str = "pass") -> list[str]:
    return [sys.executable, "-c", ECHO.format(act=act)]


def test_answers_in_order_and_stays() -> None:
    pipeline = Pipeline(command())
    assert pipeline.ask([b"a", b"b[1]", b""]) == [b"A", b"B[1]", b""]
    first = pipeline._process
    many = [b"x%d" % number * 100 for number in range(5000)]  # more than a pipe holds, both ways
    assert pipeline.ask(many) == [message.upper() for message in many]
    assert pipeline._process is first
    pipeline.close()
    assert pipeline.ask([b"again"]) == [b"AGAIN"]
    pipeline.close()


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("if b'die' in message: sys.exit(1)", "ended"),
        ("message = b'' if b'die' in message else message", "answered with a part"),
        ("import time; time.sleep(60 if b'die' in message else 0)", "was silent for 1 seconds"),
        (
            "import time\n        while b'die' in message: sys.stdout.write('.'); sys.stdout.flush(); time.sleep(0.05)",
            "wrote no end of an answer in 1 seconds",
        ),
        ("while b'die' in message: sys.stdout.write('x' * 65536)", "wrote more than 1048[0-9]+ bytes for one answer"),
    ],
)
def test_failures_say_how_far_it_came(act: str, reason: str) -> None:
    pipeline = Pipeline(command(act), patience=1.0)
    with pytest.raises(PipelineError, match=reason) as caught:
        pipeline.ask([b"a", b"die", b"c"])
    assert caught.value.answered == [b"A"]
    assert pipeline.ask([b"c"]) == [b"C"]
    pipeline.close()


def test_all_processes_end_with_the_object() -> None:
    pipeline = Pipeline(["bash", "-c", f"cat | {sys.executable} -c 'import time; time.sleep(60)' | cat"], patience=0.2)
    with pytest.raises(PipelineError):
        pipeline.ask([b"a"])
    assert pipeline._process is None
    pipeline = Pipeline(command())
    pipeline.ask([b"a"])
    assert pipeline._process is not None
    group = pipeline._process.pid
    del pipeline
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("the processes are still there")
