"""The rows that every later stage passes on: an example, its source, and the split that holds it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from crossflare.disk.files import content_id


@dataclass(frozen=True, slots=True)
class Answer:
    """One gold answer to a question."""

    text: str
    start: int | None = None
    """Code points of the context before it; None: it is not a span of the context."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled or unlabelled item in one language, with its translation where there is one."""

    id: str
    """Unique in its split, and the same in every language of a parallel set."""
    texts: tuple[str, ...]
    """One text, or two: premise and hypothesis, or question and context."""
    label: int | None = None
    """Index into the task's labels; None when unlabelled."""
    source: tuple[str, ...] | None = None
    """The same texts in the source language; None: no source is known."""
    origin: str = ""
    """`file:line` the row was read from, for messages."""
    answers: tuple[Answer, ...] = ()
    """Of a question: every gold answer, in `texts`' own language."""
    clean_source: tuple[str, ...] | None = None
    """The labelled text that a machine-made `source` stands for; None: there is no other source than `source`."""
    source_answers: tuple[Answer, ...] = ()
    """Of a question: the gold answers in `source`, where it is labelled."""

    def with_source(self, source: tuple[str, ...] | None) -> "Example":
        """Return the same example with another source, of which no more is known."""
        return replace(self, source=source, clean_source=None, source_answers=())


@dataclass(frozen=True, slots=True)
class Split:
    """The examples of one part of a set in one language."""

    part: str
    """`train`, `dev` or `test`."""
    language: str
    """BCP-47 tag of `Example.texts`."""
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @property
    def digest(self) -> str:
        """Content id over ids, texts, labels, sources, answers, clean sources and the sources' answers, in order."""
        rows = [[e.id, e.texts, e.label, e.source] for e in self.examples]
        answers = [[[a.text, a.start] for a in e.answers] for e in self.examples]
        if any(e.clean_source or e.source_answers for e in self.examples):
            others = [[e.clean_source, [[a.text, a.start] for a in e.source_answers]] for e in self.examples]
            return content_id([rows, answers, others])
        return content_id([rows, answers] if any(answers) else rows)
