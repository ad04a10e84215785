"""A command that answers one message per message, ended by NUL, kept running between calls."""

import os
import select
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress

LEAST, LONGER = 1 << 20, 64
"""Bytes that an answer may have, and further ones for each byte of its message."""


class PipelineError(RuntimeError):
    """The command ended, was too slow, lost count or wrote too much; `answered` messages were answered before."""

    def __init__(self, reason: str, answered: list[bytes]) -> None:
        super().__init__(reason)
        self.answered = answered


class Pipeline:
    """Starts the command at the first message; all of its processes form a group that ends with this object."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, patience: float = 120.0) -> None:
        """Take the command, its environment, and the seconds after which it is held to be stuck in one answer."""
        self._command, self._env, self._patience = list(command), env, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Pipeline] | None = None

    def ask(self, messages: Sequence[bytes]) -> list[bytes]:
        """Return the answer to each message; no message holds a NUL.

        A message ends with `[n]`, n its number, which the answer must repeat: when one program of a pipe dies, the
        others go on and answer with nothing or with parts.

        Raises:
            PipelineError: The command ended, was too long in giving one answer or gave too much for one, or an answer
                lacks its number; it is then closed.
            OSError: The command cannot be started.
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        data = b"".join(message + b"[%d]\0" % number for number, message in enumerate(messages))
        writer = threading.Thread(target=_write, args=(process.stdin.fileno(), data), daemon=True)
        writer.start()
        answers: list[bytes] = []
        rest, since = b"", time.monotonic()
        try:
            while len(answers) < len(messages):
                left = since + self._patience - time.monotonic()  # a drip of bytes is no answer
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    said = "wrote no end of an answer in" if rest else "was silent for"
                    raise PipelineError(f"{said} {self._patience:.0f} seconds", answers)
                block = os.read(process.stdout.fileno(), 1 << 16)
                if not block:
                    raise PipelineError("ended", answers)
                *whole, rest = (rest + block).split(b"\0")
                if whole:
                    since = time.monotonic()
                if len(rest) > (most := LEAST + LONGER * len(messages[len(answers)])):
                    raise PipelineError(f"wrote more than {most} bytes for one answer", answers)
                for answer in whole:
                    number = b"[%d]" % len(answers)
                    if not answer.endswith(number):
                        raise PipelineError("answered with a part", answers)
                    answers.append(answer[: -len(number)])
        except BaseException:
            self.close()
            raise
        finally:
            writer.join(1.0)
        return answers

    def close(self) -> None:
        """End all processes; the next `ask` starts new ones."""
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._end = weakref.finalize(self, _end, self._process)
        return self._process


def _write(handle: int, data: bytes) -> None:
    with suppress(OSError):  # the reader finds out why
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]


def _end(process: "subprocess.Popen[bytes]") -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
