"""The line that says what a number is: scores whose lines differ must not be averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args

from crossflare.disk.files import content_id
from crossflare.errors import UserError, choose
from crossflare.evaluation.metrics import Labels


@dataclass(frozen=True, slots=True)
class Signature:
    """Everything that must be equal for two scores to mean the same, apart from chance."""

    task: str
    task_version: str
    split: str
    """`train`, `dev` or `test`."""
    language: str
    """BCP-47 tag; for a macro average several, joined by `+`."""
    n: int
    """Number of scored examples; for a macro average, the sum."""
    model: str
    """The base model's name."""
    model_digest: str
    source: str
    """How the source text was made: a translation engine's id, `none`, or `oracle` for human translations."""
    method: str
    metric: str
    seeds: tuple[int, ...]
    data: str
    """Content id of the scored examples."""
    version: str
    """The version of crossflare."""
    labels: Labels = "all"
    """The labels that macro-F1 averages over; older records and other metrics have `all`."""
    answers: str = ""
    """Who answered in place of a model of the recipe: `file`, whose name and digest stand for those of the model, or
    `prompt`, a model of its own; empty: a model of the recipe."""

    def __str__(self) -> str:
        """Return one line `task:nusax|version:1|...`."""
        names = {"task_version": "version", "model_digest": "digest", "version": "crossflare"}
        values = {**self._values(), "seeds": "+".join(map(str, self.seeds))}
        return "|".join(f"{names.get(key, key)}:{value}" for key, value in values.items())

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {**self._values(), "seeds": list(self.seeds)}

    def _values(self) -> dict[str, Any]:
        """Return the fields; the rule for labels and who answered only where they differ from older records."""
        usual = (("labels", "all"), ("answers", ""))
        return {name: value for name, value in asdict(self).items() if (name, value) not in usual}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], **more: Any) -> "Signature":
        """Make a signature from the values of `to_json`, replaced by those of `more` where it has them.

        Raises:
            UserError: A field is missing or unknown, or of the wrong type.
        """
        given: dict[str, Any] = {"labels": "all", "answers": "", **values, **more}
        known = {field.name for field in fields(cls)}
        if set(given) != known:
            odd = ", ".join(sorted(set(given) ^ known))
            raise UserError(f"expected a signature of {', '.join(sorted(known))}; missing or unknown: {odd}")
        choose("rule for labels", given["labels"], get_args(Labels))
        seeds = given["seeds"]
        if not isinstance(seeds, list | tuple) or not all(isinstance(seed, int) for seed in seeds):
            raise UserError(f"expected the signature's seeds as a list of whole numbers, got {seeds!r}")
        given["seeds"] = tuple(seeds)
        return cls(**given)


def combine(signatures: Sequence[Signature], *, languages: bool = False) -> Signature:
    """Return the signature of an average over seeds, or over languages.

    Args:
        signatures: At least one.
        languages: True for a macro average: language, data and number may differ, and the source where one kind of
            engine has a model or lexicon for each language; all else, including seeds, must be equal. Files of answers
            may differ with language and seed.

    Raises:
        UserError: They differ in something else (the message has both lines), or a seed or language occurs twice.
    """
    if not signatures:
        raise UserError("expected at least one score to average, got none")
    free = ("language", "data", "n") if languages else ("seeds",)
    first = signatures[0]
    if languages and len({_engine(each) for each in signatures}) == 1:
        free = (*free, "source")
    if all(each.answers == "file" for each in signatures):
        free = (*free, "model_digest")
        first = replace(first, model_digest=_joint_digest([each.model_digest for each in signatures]))
    blank: dict[str, Any] = {name: getattr(first, name) for name in free}
    for other in signatures[1:]:
        if replace(other, **blank) != first:
            odd = [
                f.name for f in fields(first) if f.name not in free and getattr(first, f.name) != getattr(other, f.name)
            ]
            raise UserError(f"scores that differ in {', '.join(odd)} have no average: {first} and {other}")
    names = (
        [each.language for each in signatures] if languages else [seed for each in signatures for seed in each.seeds]
    )
    if len(set(names)) < len(names):
        raise UserError(f"expected each {'language' if languages else 'seed'} once in an average, got {names}")
    if not languages:
        return replace(first, seeds=tuple(sorted(seed for each in signatures for seed in each.seeds)))
    if len(signatures) == 1:
        return first
    ordered = sorted(signatures, key=lambda each: each.language)
    return replace(
        first,
        language="+".join(each.language for each in ordered),
        n=sum(each.n for each in ordered),
        data=content_id([each.data for each in ordered]),
        source=_joint_source([each.source for each in ordered]),
    )


def _engine(signature: Signature) -> str:
    return signature.source.partition("-")[0]


def _joint_source(sources: Sequence[str]) -> str:
    """Return the source that all languages share, or the engine's name with one id for its ids in all languages."""
    if len(set(sources)) == 1:
        return sources[0]
    return f"{sources[0].partition('-')[0]}-{content_id(list(sources))}"


def _joint_digest(digests: Sequence[str]) -> str:
    return digests[0] if len(set(digests)) == 1 else content_id(sorted(digests))


def check_comparable(a: Signature, b: Signature) -> None:
    """Check that two scores differ only in their methods: only method, source and its data id may differ.

    Where a file or a prompt answers, the model is part of the method, and may differ, too.

    Raises:
        UserError: They differ in something else; the message has both lines.
    """
    own: dict[str, Any] = {"method": a.method, "source": a.source, "data": a.data}
    if a.answers or b.answers:
        own |= {"model": a.model, "model_digest": a.model_digest, "answers": a.answers}
    if replace(b, **own) != a:
        raise UserError(f"scores of unlike things have no difference: {a} and {b}")
