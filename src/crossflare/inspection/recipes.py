"""A look at the rows that a recipe reads."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice

from crossflare.inspection.found import Look
from crossflare.inspection.look import Looker, Share
from crossflare.inspection.tokens import BaseTokenizer
from crossflare.inspection.work import jobs
from crossflare.languages import tag_of
from crossflare.recipe.needs import needs
from crossflare.recipe.spec import Spec
from crossflare.tasks.dataset import PARTS, DataSet, aligned_by, iterate_part
from crossflare.tasks.example import Example


def look_at(
    spec: Spec, data: DataSet, *, sizes: Mapping[tuple[str, str], int] | None = None, most: int | None = None,
    more: bool = True,
) -> Look:  # fmt: skip
    """Look at the rows that a recipe reads.

    Args:
        spec: The recipe.
        data: Its set.
        sizes: (language, part) -> rows, where they are known.
        most: Of more rows than these only so many are looked at for their characters and tokens; `sizes` must be known.
        more: Also compare the targets' test rows with those of the source language, which the recipe may not read.

    Raises:
        UserError: A row cannot be read, or the base model is not there.
    """
    wanted = list(dict.fromkeys((need.language, need.part) for need in needs(spec)))
    order = list(dict.fromkeys([spec.source, *spec.targets, *(language for language, _ in wanted)]))
    wanted.sort(key=lambda each: (order.index(each[0]), PARTS.index(each[1])))
    shares = [Share(*each, _reader(spec, data, *each), _limit(spec, each[0])) for each in wanted]
    if more and aligned_by(data) != "none" and spec.source in map(tag_of, data.languages):
        there = [part for part in data.parts(spec.source) if (spec.source, part) not in wanted]
        parts = [part for part in there if any(each[1] == part for each in wanted)]
        shares += [Share(spec.source, part, _reader(spec, data, spec.source, part), 0, True) for part in parts]
    total = None if sizes is None else sum(sizes.get(each, 0) for each in wanted)
    work = jobs(spec)
    looker = Looker(
        spec.name,
        list(data.task.labels),
        spec.task.asks,
        spec.source,
        BaseTokenizer(spec.model.name, spec.model.revision),
        spec.model.name,
        aligned_by(data),
        1 if most is None or not total else -(-total // most),
        frozenset(each for job in work for each in job.parts),
    )
    looker.read(shares, total)
    return replace(looker.found(), work=[looker.work(job) for job in work])


def _reader(spec: Spec, data: DataSet, language: str, part: str) -> Callable[[], Iterable[Example]]:
    """Return what reads the rows of a part, as many as the recipe takes."""
    limit = getattr(spec.task.limit, part)
    return lambda: islice(iterate_part(data, language, part), limit)


def _limit(spec: Spec, language: str) -> int:
    if spec.task.long == "windows":
        return 0  # nothing is cut
    return (spec.stage1 if language == spec.source else spec.stage2).max_length
