"""A dev part cut from the train part, and rows drawn by a seed: the same items in every language."""

from collections.abc import Callable, Collection, Sequence

from crossflare.disk.files import content_id
from crossflare.errors import UserError
from crossflare.tasks.dataset import PARTS, Align, DataSet, Task, aligned_by
from crossflare.tasks.example import Split
from crossflare.tasks.kinds import CONTEXT, QuestionTask

_NAMES = ("first text", "context")


def dev_ids(splits: Sequence[Split], rows: int, seed: int, shared: int = 0) -> frozenset[str]:
    """Choose the ids that go to dev.

    Items that share a text (the premise, or a question's context) in any language go to the same side, together with
    all items that other shared texts link to them. The groups are taken in the order of a hash of `seed` and of their
    smallest id, whatever the order of the rows. A group that no longer fits is skipped.

    Args:
        splits: The train part in every language concerned.
        rows: How many ids to choose. The result has fewer when no group is small enough to fill the rest.
        seed: Another seed gives another choice.
        shared: Which text links items: the first, or `CONTEXT` for questions.

    Raises:
        UserError: `rows` is below 1 or leaves nothing to train on, or every group is too large.
    """
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for split in splits:
        first: dict[str, str] = {}
        for example in split:
            parent.setdefault(example.id, example.id)
            one, other = find(example.id), find(first.setdefault(example.texts[shared], example.id))
            parent[max(one, other)] = min(one, other)
    groups: dict[str, list[str]] = {}
    for key in parent:
        groups.setdefault(find(key), []).append(key)
    if not 0 < rows < len(parent):
        raise UserError(f"cannot cut {rows} dev rows from {len(parent)} train rows; ask for 1 to {len(parent) - 1}")
    chosen: set[str] = set()
    for root in sorted(groups, key=lambda root: content_id([seed, root], 64)):
        if len(chosen) + len(groups[root]) <= rows:
            chosen.update(groups[root])
    if not chosen:
        smallest = min(len(group) for group in groups.values())
        raise UserError(f"cannot cut {rows} dev rows: at least {smallest} rows share a {_NAMES[shared]}; ask for more")
    return frozenset(chosen)


def with_dev(data: DataSet, rows: int, seed: int) -> DataSet:
    """Return the set with a dev part cut from train, the same items in every language; an older dev part is dropped.

    Languages without a train part have no dev part either. Languages that share no id, as in a set that is not
    parallel, are cut separately, each to `rows`. No context of a question is on both sides.

    Raises:
        UserError: No language has a train part; see also `dev_ids`.
    """
    family = [data.split(language, "train") for language in data.languages if "train" in data.parts(language)]
    if not family:
        raise UserError(f"{data.name} has no train part to cut dev from; give it one")
    shared = CONTEXT if isinstance(data.task, QuestionTask) else 0
    chosen = frozenset[str]().union(*(dev_ids(kin, rows, seed, shared) for kin in _families(family)))

    def places(part: str, ids: Sequence[str]) -> list[int]:
        return [n for n, key in enumerate(ids) if part == "test" or (key in chosen) == (part == "dev")]

    return _ChosenRows(data, places, cuts_dev=True)


def _families(splits: Sequence[Split]) -> list[list[Split]]:
    """Group the splits that share ids, directly or through other splits."""
    families: list[tuple[set[str], list[Split]]] = []
    for split in splits:
        ids, kin = {example.id for example in split}, [split]
        for family in [family for family in families if family[0] & ids]:
            families.remove(family)
            ids, kin = ids | family[0], [*family[1], *kin]
        families.append((ids, kin))
    return [kin for _, kin in families]


def with_draw(data: DataSet, seed: int, parts: Collection[str]) -> DataSet:
    """Return the set with the rows of some parts in an order drawn by `seed`, so that the first N are N drawn rows.

    The order is that of a hash of `seed` and the row's id: items with the same id are drawn alike in every language.
    """

    def places(part: str, ids: Sequence[str]) -> Sequence[int]:
        drawn = range(len(ids))
        return sorted(drawn, key=lambda place: content_id([seed, ids[place]], 64)) if part in parts else drawn

    return _ChosenRows(data, places)


class _ChosenRows:
    """`data` with chosen rows of each part, in a chosen order."""

    def __init__(
        self, data: DataSet, places: Callable[[str, Sequence[str]], Sequence[int]], *, cuts_dev: bool = False
    ) -> None:
        """Choose rows.

        Args:
            data: The set.
            places: (part, ids of all rows) -> the places of the chosen rows, in their order.
            cuts_dev: Whether dev rows are some of the rows of train.
        """
        self._data, self._places, self._cuts_dev = data, places, cuts_dev

    @property
    def name(self) -> str:
        return self._data.name

    @property
    def task(self) -> Task:
        return self._data.task

    @property
    def languages(self) -> tuple[str, ...]:
        return self._data.languages

    @property
    def align(self) -> Align:
        return aligned_by(self._data)

    def parts(self, language: str) -> tuple[str, ...]:
        whole = self._data.parts(language)
        return tuple(part for part in PARTS if self._from(part) in whole)

    def split(self, language: str, part: str) -> Split:
        return self._choose(part, self._data.split(language, self._from(part)))

    def parallel(self, language: str, part: str, source: str) -> Split:
        return self._choose(part, self._data.parallel(language, self._from(part), source))

    def machine_source(self, language: str, part: str, source: str = "en") -> list[tuple[str, ...]] | None:
        texts = self._data.machine_source(language, self._from(part), source)
        if texts is None:
            return None
        whole = self._data.split(language, self._from(part))
        return [texts[place] for place in self._places(part, [example.id for example in whole])]

    def _from(self, part: str) -> str:
        return "train" if self._cuts_dev and part == "dev" else part

    def _choose(self, part: str, split: Split) -> Split:
        rows = split.examples
        chosen = tuple(rows[place] for place in self._places(part, [example.id for example in rows]))
        return Split(part, split.language, chosen)
