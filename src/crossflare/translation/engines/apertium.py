"""Apertium: rule-based translation between related languages, on any processor, without a download of weights."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from crossflare.disk.files import content_id, digest_file
from crossflare.errors import UserError
from crossflare.languages import find_language
from crossflare.translation.engines.debian import PROGRAMS, advice, pivot_advice
from crossflare.translation.engines.debian import mode_path as _mode
from crossflare.translation.engines.protocol import check_pair, translate_filled

LEAST, LONGER = 1 << 20, 64
"""The bytes that an answer may always have, and the further bytes for each byte of its message."""


class PipelineError(RuntimeError):
    """The command ended, was too slow, lost count or wrote too much; `answered` messages were answered before that."""

    def __init__(self, reason: str, answered: list[bytes]) -> None:
        super().__init__(reason)
        self.answered = answered


class Pipeline:
    """Starts the command at the first message; all of its processes form a group that ends with this object."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, patience: float = 120.0) -> None:
        """Take the command, its environment, and after how many seconds without an answer it counts as stuck."""
        self._command, self._env, self._patience = list(command), env, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Pipeline] | None = None

    def ask(self, messages: Sequence[bytes]) -> list[bytes]:
        """Return the answer to each message; no message holds a NUL.

        A message ends with `[n]`, n its number, which the answer must repeat: when one program of a pipe dies, the
        others go on and answer with nothing or with parts.

        Raises:
            PipelineError: The command ended, took too long for one answer or wrote too much for one, or an answer lacks
                its number; the pipeline is then closed.
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
                left = since + self._patience - time.monotonic()  # for the whole answer, not for its next bytes
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
    with suppress(OSError):  # the reader reports the reason
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


MODES = "/usr/share/apertium/modes"
LICENCE = "GPL-2.0-or-later or GPL-3.0-or-later, by language pair"

# Each line is a message of its own, so that line breaks stay where they are; NUL ends a message.
_LINE_BREAKS = re.compile("([\\0\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+)")
# Blanks other than one space, and `~`, a mark of the last stage's own, go in brackets, which leaves them unchanged.
_RESERVED = re.compile(r"(?P<kept>[^\S ]+|\s{2,}|~+)|(?P<sign>[\\^$/@<>\[\]{}])")
_READ_BACK = re.compile(r"\[(?P<kept>[^\]]*)\]|\\(?P<sign>.)|(?P<gap> {2,})", re.DOTALL)


class Apertium:
    """Translates one pair of languages, in the installed directions, if necessary through other languages."""

    def __init__(self, source: str, target: str, modes: str = MODES, via: Sequence[str] = ()) -> None:
        """Find the installed pairs in `modes`.

        Args:
            source: BCP-47 tag.
            target: BCP-47 tag.
            modes: Apertium's folder of modes.
            via: Tags of the languages to go through, one pair after the other (`es` for English to Catalan).

        Raises:
            UserError: Apertium or a pair is not installed; the message names the Debian package. Or this is Windows.
        """
        if sys.platform == "win32":
            raise UserError(
                "the engine apertium runs programs that Windows lacks; use WSL, or another engine, such as transformers"
            )
        self._pair = (find_language(source).tag, find_language(target).tag)
        check_pair(*self._pair)
        self._stops = [self._pair[0], *(find_language(tag).tag for tag in via), self._pair[1]]
        there = list(pairwise(self._stops))
        for pair in there:
            check_pair(*pair)
        if shutil.which("apertium-wblank-mode") is None:
            raise UserError("the engine apertium needs the program apertium; install the package: apt install apertium")
        pairs = dict.fromkeys([*there, *((pair[1], pair[0]) for pair in there)])
        self._modes = {pair: path for pair in pairs if (path := _mode(Path(modes), *pair)) is not None}
        for pair in there:
            if pair not in self._modes:
                raise UserError(advice(*pair, modes) + ("" if via else pivot_advice(*pair, modes)))
        for pair in there:
            for program in _programs(self._modes[pair]):
                if shutil.which(program) is None:
                    package = PROGRAMS.get(program, program)
                    raise UserError(
                        f"apertium {self._modes[pair].stem} needs the program {program}; install the package:"
                        f" apt install {package}"
                    )
        self._pipelines: dict[tuple[str, str], Pipeline] = {}
        # For each direction: the content of its stages and of the linguistic data that they read.
        digests = {f"{pair[0]}-{pair[1]}": _digest(path) for pair, path in self._modes.items()}
        self.identity: dict[str, Any] = {"engine": "apertium", "format": 1, "modes": digests, "licence": LICENCE}
        if via:
            self.identity["via"] = self._stops[1:-1]

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`; words that Apertium does not know are copied, without its marks.

        Raises:
            UserError: The pair is not that of this engine, or its programs fail twice at the same text; the text is
                named.
        """
        pair = (find_language(source).tag, find_language(target).tag)
        stops = self._stops[::-1] if pair == (self._pair[1], self._pair[0]) else self._stops
        hops = list(pairwise(stops))
        if source != target and ({*pair} != {*self._pair} or not {*hops} <= self._modes.keys()):
            known = " and back" if all((b, a) in self._modes for a, b in pairwise(self._stops)) else ""
            raise UserError(
                f"this engine translates {' to '.join(self._pair)}{known}; {advice(*pair, 'the folder of modes')}"
            )

        def engine(filled: list[str]) -> list[str]:
            for hop in hops:
                filled = self._lines(filled, hop)
            return filled

        return translate_filled(texts, source, target, engine)

    def close(self) -> None:
        """End the programs; they start again when needed."""
        for pipeline in self._pipelines.values():
            pipeline.close()

    def _lines(self, texts: list[str], pair: tuple[str, str]) -> list[str]:
        split = [_LINE_BREAKS.split(text) for text in texts]
        lines = [piece for pieces in split for piece in pieces[::2] if piece.strip()]
        done = iter(self._ask(lines, pair))
        for pieces in split:
            pieces[::2] = [next(done) if piece.strip() else piece for piece in pieces[::2]]
        return ["".join(pieces) for pieces in split]

    def _ask(self, lines: list[str], pair: tuple[str, str]) -> list[str]:
        """Translate lines; when a program dies, start all of them again, once, at the first line without an answer."""
        if pair not in self._pipelines:
            self._pipelines[pair] = Pipeline(*_command(self._modes[pair]))
        answers: list[bytes] = []
        failed_at = -1
        while len(answers) < len(lines):
            try:
                answers += self._pipelines[pair].ask([to_stream(line) for line in lines[len(answers) :]])
            except PipelineError as error:
                answers += error.answered
                if failed_at == len(answers):
                    mode, line = self._modes[pair].stem, lines[len(answers)]
                    raise UserError(
                        f"apertium {mode} {error}, twice, at the text {line[:80]!r}; take it out"
                    ) from error
                failed_at = len(answers)
        return [from_stream(answer, line) for answer, line in zip(answers, lines, strict=True)]


def to_stream(line: str) -> bytes:
    """Return a line as Apertium's stream format has it, with the full stop that its stages wait for."""
    escaped = _RESERVED.sub(lambda m: f"[{m['kept']}]" if m["kept"] else f"\\{m['sign']}", line.strip())
    return f"{escaped}.".encode("utf-8", "replace")


def from_stream(answer: bytes, line: str) -> str:
    """Return the text of an answer of Apertium, with the blanks around `line`."""
    raw = answer.decode("utf-8", "replace").removesuffix(".").strip(" ")
    text = _READ_BACK.sub(lambda m: m["kept"] if m["kept"] is not None else m["sign"] or " ", raw)
    if text.count("#") > line.count("#"):  # the mark inside an unknown group of words: `darse# cuenta`
        text = re.sub(r"(\w+)#(?= \w)", lambda m: m[0] if m[0] in line else m[1], text)
    start = len(line) - len(line.lstrip())
    return line[:start] + text + line[len(line.rstrip()) :]


def _programs(mode: Path) -> list[str]:
    """Return the programs of a mode's stages."""
    return [words[0] for stage in mode.read_text(encoding="utf-8").split("|") if (words := stage.split())]


def _command(mode: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command of a mode, in which every stage flushes at NUL, and its environment."""
    words = ["apertium-wblank-mode", "-z", str(mode)]
    try:
        script = subprocess.run(words, capture_output=True, text=True, check=True, errors="replace", timeout=60).stdout
    except subprocess.SubprocessError as error:
        reason = str(error).rpartition(str(mode))[2].lstrip("'] ")
        raise UserError(f"apertium {mode.stem}: apertium-wblank-mode {reason}; install Apertium again") from error
    # -n, the first argument of a mode, leaves unknown words without marks.
    return ["bash", "-c", script, "apertium", "-n", ""], {**os.environ, "LC_ALL": "C.UTF-8"}


def _digest(mode: Path) -> str:
    script = mode.read_text(encoding="utf-8")
    files = [Path(name) for name in re.findall(r"'([^']+)'", script)]
    return content_id([script, [digest_file(path) for path in files if path.is_file()]])
