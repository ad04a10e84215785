"""Apertium: rule-based translation between related languages, on any processor, with no download of weights."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import langcodes

from crossflare.errors import UserError
from crossflare.files import content_id, digest_file
from crossflare.languages import find
from crossflare.translation.pipeline import Pipeline, PipelineError
from crossflare.translation.translator import check_pair, translate_filled

MODES = "/usr/share/apertium/modes"
LICENCE = "GPL-2.0-or-later or GPL-3.0-or-later, by language pair"
DEBIAN_PAIRS = [
    "afr-nld",
    "arg-cat",
    "bel-rus",
    "br-fr",
    "cat-ita",
    "cat-srd",
    "dan-nor",
    "en-gl",
    "eng-cat",
    "eng-spa",
    "eo-ca",
    "eo-en",
    "eo-es",
    "eo-fr",
    "es-gl",
    "es-pt",
    "es-ro",
    "eu-en",
    "eu-es",
    "fr-es",
    "fra-cat",
    "fra-frp",
    "hbs-eng",
    "hbs-mkd",
    "hbs-slv",
    "ind-zlm",
    "isl-eng",
    "isl-swe",
    "mkd-bul",
    "mkd-eng",
    "nno-nob",
    "oc-ca",
    "oc-es",
    "oci-fra",
    "pol-szl",
    "por-cat",
    "pt-gl",
    "rus-ukr",
    "spa-arg",
    "spa-ast",
    "spa-cat",
    "spa-ita",
    "srd-ita",
    "swe-dan",
    "swe-nor",
    "urd-hin",
]
"""Pairs that Debian 12 packages as `apertium-<pair>`; most packages translate in both directions."""

# Each line is a message of its own, so that line breaks stay where they are; NUL ends a message.
_LINE_BREAKS = re.compile("([\\0\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+)")
# Blanks other than one space, and `~`, which the last stage would take as its own, travel in brackets, untouched.
_RESERVED = re.compile(r"(?P<kept>[^\S ]+|\s{2,}|~+)|(?P<sign>[\\^$/@<>\[\]{}])")
_READ_BACK = re.compile(r"\[(?P<kept>[^\]]*)\]|\\(?P<sign>.)|(?P<gap> {2,})", re.DOTALL)


class Apertium:
    """Translates one pair of languages, in the directions that are installed."""

    def __init__(self, source: str, target: str, modes: str = MODES) -> None:
        """Find what is installed in `modes`.

        Raises:
            UserError: Apertium or the pair is not installed; names the Debian package.
        """
        self._pair = (find(source).tag, find(target).tag)
        check_pair(*self._pair)
        if shutil.which("apertium-wblank-mode") is None:
            raise UserError("the engine apertium needs the program apertium; install the package: apt install apertium")
        pairs = (self._pair, (self._pair[1], self._pair[0]))
        self._modes = {pair: path for pair in pairs if (path := _mode(Path(modes), *pair)) is not None}
        if self._pair not in self._modes:
            raise UserError(_advice(*self._pair, modes))
        self._pipelines: dict[tuple[str, str], Pipeline] = {}
        # For each direction the content of its stages and of the linguistic data they read.
        digests = {f"{pair[0]}-{pair[1]}": _digest(path) for pair, path in self._modes.items()}
        self.identity: dict[str, Any] = {"engine": "apertium", "format": 1, "modes": digests, "licence": LICENCE}

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`; words that Apertium does not know are copied, without its marks.

        Raises:
            UserError: Not the pair of this engine, or its programs fail twice at the same text; the text is named.
        """
        pair = (find(source).tag, find(target).tag)
        if source != target and pair not in self._modes:
            known = ", ".join(f"{a} to {b}" for a, b in self._modes)
            raise UserError(f"this engine translates {known}; {_advice(*pair, 'the folder of modes')}")
        return translate_filled(texts, source, target, lambda filled: self._lines(filled, pair))

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
        """Translate lines; when a program dies, start all of them again at the line that was not answered, once."""
        if pair not in self._pipelines:
            self._pipelines[pair] = Pipeline(*_command(self._modes[pair]))
        answers: list[bytes] = []
        failed_at = -1
        while len(answers) < len(lines):
            try:
                answers += self._pipelines[pair].ask([encode(line) for line in lines[len(answers) :]])
            except PipelineError as error:
                answers += error.answered
                if failed_at == len(answers):
                    mode, line = self._modes[pair].stem, lines[len(answers)]
                    raise UserError(
                        f"apertium {mode} {error}, twice, at the text {line[:80]!r}; take it out"
                    ) from error
                failed_at = len(answers)
        return [decode(answer, line) for answer, line in zip(answers, lines, strict=True)]


def encode(line: str) -> bytes:
    """Return a line as Apertium's stream format has it, with the full stop that its stages wait for."""
    escaped = _RESERVED.sub(lambda m: f"[{m['kept']}]" if m["kept"] else f"\\{m['sign']}", line.strip())
    return f"{escaped}.".encode("utf-8", "replace")


def decode(answer: bytes, line: str) -> str:
    """Return the text in an answer of Apertium, between the blanks around `line`."""
    raw = answer.decode("utf-8", "replace").removesuffix(".").strip(" ")
    text = _READ_BACK.sub(lambda m: m["kept"] if m["kept"] is not None else m["sign"] or " ", raw)
    if text.count("#") > line.count("#"):  # the mark inside an unknown group of words: `darse# cuenta`
        text = re.sub(r"(\w+)#(?= \w)", lambda m: m[0] if m[0] in line else m[1], text)
    start = len(line) - len(line.lstrip())
    return line[:start] + text + line[len(line.rstrip()) :]


def _codes(tag: str) -> list[str]:
    """Return the codes under which Apertium's modes may know a language."""
    language = find(tag)
    if language.apertium is None:
        return []
    short = langcodes.get(tag).language or ""
    group = ["nor"] if short in ("nb", "nn") else []
    return [language.apertium, *group] + ([short] if language.apertium != "hbs" else [])


def _mode(folder: Path, source: str, target: str) -> Path | None:
    names = [folder / f"{a}-{b}.mode" for a in _codes(source) for b in _codes(target)]
    return next((path for path in names if path.is_file()), None)


def _advice(source: str, target: str, modes: str) -> str:
    ours = [set(_codes(source)), set(_codes(target))]
    sides = {pair: [set(pair.split("-")) & codes for codes in ours] for pair in DEBIAN_PAIRS}
    exact = [pair for pair, (a, b) in sides.items() if a and b]
    if exact:
        return (
            f"Apertium's {source} to {target} is not in {modes}; install the package: apt install apertium-{exact[0]}"
        )
    near = [f"apertium-{pair}" for pair, (a, b) in sides.items() if a or b]
    listed = f"it has {', '.join(near)}" if near else "nor any with either language"
    return f"Debian has no Apertium package for {source} to {target}: {listed}; choose another engine"


def _command(mode: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command of a mode with every stage flushing at NUL, and its environment."""
    script = subprocess.run(
        ["apertium-wblank-mode", "-z", str(mode)], capture_output=True, text=True, check=True, errors="replace"
    ).stdout
    # -n, the first argument of a mode: unknown words without marks.
    return ["bash", "-c", script, "apertium", "-n", ""], {**os.environ, "LC_ALL": "C.UTF-8"}


def _digest(mode: Path) -> str:
    script = mode.read_text(encoding="utf-8")
    files = [Path(name) for name in re.findall(r"'([^']+)'", script)]
    return content_id([script, [digest_file(path) for path in files if path.is_file()]])
