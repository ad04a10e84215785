"""Whole files into other languages, row by row in bounded memory: the file's rows with columns of translations."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.jobs import Pool
from crossflare.languages import find_language
from crossflare.progress import Advance, bar
from crossflare.tasks.files import Row
from crossflare.translation.engines.protocol import Translator, check_pair, engine_id
from crossflare.translation.quality import Flag, find_flags
from crossflare.translation.rows import blocks, check_output, count_lines, iterate, written
from crossflare.translation.store import Shelf, Store
from crossflare.translation.translate import translate_block
from crossflare.translation.workers import Job, Route, translate_jobs

TEXTS = 256
"""How many texts a worker gets in one job."""


@dataclass(slots=True)
class TranslatedLanguage:
    """The result for one target language."""

    target: str
    engine: str
    """The engine's id."""
    licence: str
    translated: int = 0
    """How many texts the engine got; the others were in the store, or occurred twice."""
    characters: int = 0
    """The characters of the translated texts."""
    flags: dict[str, int] = field(default_factory=dict[str, int])
    """How many texts have each flag, and `flagged`: how many have any."""


@dataclass(frozen=True, slots=True)
class TranslatedFile:
    """The result for a file."""

    rows: int
    texts: int
    """How many cells of one language are not blank."""
    seconds: float
    directions: tuple[TranslatedLanguage, ...]


class _Meter:
    """An engine that counts the texts that it gets."""

    def __init__(self, route: Route, counts: TranslatedLanguage) -> None:
        self._engine, self._counts = route.engine(), counts
        self.identity = self._engine.identity

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        done = self._engine.translate(texts, source=source, target=target)
        self._counts.translated += len(texts)
        self._counts.characters += sum(map(len, texts))
        return done


def translate_file(
    input: Path,
    output: Path,
    *,
    source: str,
    targets: Sequence[str],
    engine: Mapping[str, Any],
    store: Path,
    columns: Sequence[str] = ("text",),
    split: bool = True,
    quotes: bool | None = None,
    pool: Pool | None = None,
) -> TranslatedFile:
    """Translate columns of a file into one language or more.

    Args:
        input: CSV, TSV, JSONL or Parquet. Any other file has one text per line; its texts become the column `text`.
        output: `.jsonl` or `.csv`; written whole at the end. Each row keeps its cells; for a column `text` and the
            language `sw` it gets the columns `text_sw` and `text_sw_flags`.
        source: Tag or name of the language of the texts.
        targets: Tags or names of the languages to translate into.
        engine: `engine` and its options; `source` and `target` are added where it takes them.
        store: Folder of the translations; a text in it is not translated again, even after a kill.
        columns: The columns with the texts.
        quotes: Whether the cells of a TSV file are quoted; None: found out from the file.
        split: Give the engine one sentence at a time (see `BySentence`).
        pool: Workers that share the texts that the store lacks; by default this process alone.

    Raises:
        UserError: A file cannot be read or written, an engine lacks a pair, or a column is missing.
    """
    begin = time.monotonic()
    source, tags = find_language(source).tag, list(dict.fromkeys(find_language(target).tag for target in targets))
    for tag in tags:
        check_pair(source, tag)
    if not tags or not columns:
        raise UserError("expected a language to translate into and a column with texts, found none; name them")
    check_output(input, output)
    _check_columns(input, columns, tags, quotes)
    routes = [Route.of(engine, source, tag, split) for tag in tags]
    with ExitStack() as stack:
        shelves: list[Shelf] = []
        directions: list[TranslatedLanguage] = []
        engines: list[Translator] = []
        for route in routes:
            identity = route.engine().identity
            directions.append(
                TranslatedLanguage(route.target, engine_id(identity), str(identity.get("licence", "unknown")))
            )
            engines.append(_Meter(route, directions[-1]))
            shelves.append(stack.enter_context(Store(store).shelf(identity, source, route.target)))
        lines = count_lines(input)
        total = None if lines is None else lines * len(routes)
        if pool is not None:
            with bar("translating", total) as advance:
                _fill(pool, routes, shelves, directions, _texts(input, columns, quotes), _Speed(advance, directions))
        rows = texts = 0
        with (
            bar("translating" if pool is None else "writing", total) as advance,
            written(output) as write,
        ):
            speed = _Speed(advance, directions)
            for block in blocks(input, quotes):
                cells = [row.text(column) for row in block for column in columns]
                done: list[list[str]] = []
                flags: list[list[frozenset[Flag]]] = []
                for shelf, each, counts in zip(shelves, engines, directions, strict=True):
                    known = translate_block(shelf, each, cells, source, counts.target)
                    done.append([known.get(text, text) for text in cells])
                    flags.append([find_flags(text, known.get(text, text), source, counts.target) for text in cells])
                    for raised in flags[-1]:
                        for name in (*map(str, raised), "flagged") if raised else ():
                            counts.flags[name] = counts.flags.get(name, 0) + 1
                    speed(len(block))
                names = [[f"{column}_{tag}" for column in columns] for tag in tags]
                write(_extended(block, names, done, flags))
                rows, texts = rows + len(block), texts + sum(1 for text in cells if text.strip())
    return TranslatedFile(rows, texts, time.monotonic() - begin, tuple(directions))


class _Speed:
    """Moves a bar, and shows how many characters per second the engines translate."""

    def __init__(self, advance: Advance, directions: Sequence[TranslatedLanguage]) -> None:
        self._advance, self._directions, self._begin = advance, directions, time.monotonic()
        self._rows = 0

    def __call__(self, rows: int) -> None:
        self._rows += rows
        seconds = max(time.monotonic() - self._begin, 1e-3)
        characters = sum(direction.characters for direction in self._directions)
        self._advance(rows, f"{self._rows / seconds:,.0f} rows/s, {characters / seconds:,.0f} characters/s translated")


def _fill(
    pool: Pool,
    routes: Sequence[Route],
    shelves: Sequence[Shelf],
    directions: Sequence[TranslatedLanguage],
    blocks: Iterable[Sequence[str]],
    speed: Callable[[int], None],
) -> None:
    """Let workers translate the texts that the store lacks, each once; a worker's results are kept as it finishes."""
    places = {route: place for place, route in enumerate(routes)}
    given: set[tuple[int, str]] = set()  # the texts that workers have now: never more than a few jobs

    def jobs() -> Iterator[Job]:
        for block in blocks:
            wanted = dict.fromkeys(text for text in block if text.strip())
            for place, route in enumerate(routes):
                known = shelves[place].find(wanted)
                missing = [text for text in wanted if text not in known and (place, text) not in given]
                given.update((place, text) for text in missing)
                for start in range(0, len(missing), TEXTS):
                    yield Job(route, tuple(missing[start : start + TEXTS]))
                speed(len(block))

    for job, translations in translate_jobs(pool, jobs()):
        place = places[job.route]
        shelves[place].append(list(zip(job.texts, translations, strict=True)))
        directions[place].translated += len(job.texts)
        directions[place].characters += sum(map(len, job.texts))
        given.difference_update((place, text) for text in job.texts)


def _texts(path: Path, columns: Sequence[str], quotes: bool | None) -> Iterator[list[str]]:
    for block in blocks(path, quotes):
        yield [row.text(column) for row in block for column in columns]


def _check_columns(path: Path, columns: Sequence[str], tags: Sequence[str], quotes: bool | None) -> None:
    """Check with the first row that the columns exist, and that their translations do not."""
    first = next(iterate(path, quotes))
    for column in columns:
        first.text(column)
        for name in (f"{column}_{tag}" + end for tag in tags for end in ("", "_flags")):
            if name in first.cells:
                raise UserError(f"{path}: it has a column '{name}' already, which would be overwritten; rename it")


def _extended(
    rows: Sequence[Row],
    names: Sequence[Sequence[str]],
    done: Sequence[Sequence[str]],
    flags: Sequence[Sequence[frozenset[Flag]]],
) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        cells = dict(row.cells)
        for language, columns in enumerate(names):
            for place, name in enumerate(columns, number * len(columns)):
                cells[name] = done[language][place]
                cells[f"{name}_flags"] = sorted(flags[language][place])
        made.append(cells)
    return made
