"""The named data sets, and how to open one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crossflare.errors import UserError, choose
from crossflare.tasks.cutting import dev_ids, split_off_dev, with_dev
from crossflare.tasks.dataset import PARTS, DataSet
from crossflare.tasks.hub import NUSAX_HUB, TYDIQA_HUB, XNLI_HUB, XQUAD_HUB, hub_set
from crossflare.tasks.label_sets import NUSAX, XNLI, open_nusax, open_xnli
from crossflare.tasks.own import own_questions, own_set
from crossflare.tasks.phrasebook import lexicon, phrasebook
from crossflare.tasks.question_sets import TYDIQA, XQUAD, open_tydiqa, open_xquad

__all__ = [
    "KNOWN_SETS",
    "PARTS",
    "DataSet",
    "KnownSet",
    "dev_ids",
    "load_set",
    "own_questions",
    "own_set",
    "split_off_dev",
    "with_dev",
]


@dataclass(frozen=True, slots=True)
class KnownSet:
    """What is known of a named set without opening it; one row is all that a new set takes."""

    name: str
    title: str
    citation: str
    licence: str
    """As its authors state it: it covers the data, and the rows are never shipped with crossflare."""
    open_folder: Callable[[Path], DataSet] | None = None
    """Opens the released layout; None: the set has no files."""
    fetch: Callable[[], DataSet] | None = None
    """Opens the set from the hub; None: it is not there."""
    make: Callable[..., DataSet] | None = None
    """Makes the rows, so many of a part as `train`, `dev` and `test` say; None: they are read."""
    asks: bool = False
    """Whether its rows are questions."""
    lexicon: Callable[[str], Mapping[str, str]] | None = None
    """Returns its own dictionary, of a language into its source language; None: it brings none."""


def _of_the_laboratory(name: str, title: str, asks: bool = False) -> KnownSet:
    def make(**sizes: int) -> DataSet:
        from crossflare_lab.sets import load_lab_set

        return load_lab_set(name, **sizes)

    return KnownSet(name, title, "written for crossflare", "Apache-2.0", make=make, asks=asks)


KNOWN_SETS: dict[str, KnownSet] = {
    known.name: known
    for known in (
        KnownSet(
            "nusax",
            "NusaX-senti: sentiment in 10 languages of Indonesia, Indonesian and English",
            "Winata et al., EACL 2023, https://aclanthology.org/2023.eacl-main.57",
            "CC BY-SA 4.0",
            open_nusax,
            lambda: hub_set(NUSAX, NUSAX_HUB),
        ),
        KnownSet(
            "xnli",
            "XNLI: entailment in 15 languages",
            "Conneau et al., EMNLP 2018, https://aclanthology.org/D18-1269",
            "CC BY-NC 4.0",
            open_xnli,
            lambda: hub_set(XNLI, XNLI_HUB),
        ),
        KnownSet(
            "phrasebook",
            "Phrase book: made-up reviews in English, Spanish, Indonesian and Swahili",
            "written for crossflare",
            "Apache-2.0",
            make=phrasebook,
            lexicon=lexicon,
        ),
        _of_the_laboratory("lab-topic", "Topics of made-up sentences in made-up languages"),
        _of_the_laboratory("lab-nli", "Entailment between made-up sentences in made-up languages"),
        KnownSet(
            "tydiqa",
            "TyDiQA gold passage: questions in 9 languages",
            "Clark et al., TACL 2020, https://aclanthology.org/2020.tacl-1.30",
            "Apache-2.0",
            open_tydiqa,
            lambda: hub_set(TYDIQA, TYDIQA_HUB),
            asks=True,
        ),
        KnownSet(
            "xquad",
            "XQuAD: questions of SQuAD in 12 languages",
            "Artetxe et al., ACL 2020, https://aclanthology.org/2020.acl-main.421",
            "CC BY-SA 4.0",
            open_xquad,
            lambda: hub_set(XQUAD, XQUAD_HUB),
            asks=True,
        ),
        _of_the_laboratory("lab-qa", "Questions about made-up texts in made-up languages", asks=True),
    )
}
"""In the order in which a recipe's mistakes list them."""


def load_set(name: str, folder: Path | str | None = None, **sizes: int) -> DataSet:
    """Open a named data set.

    Args:
        name: A key of `KNOWN_SETS`.
        folder: Where its files are, laid out as in its release; None: fetched from the hub, or made.
        sizes: Of a set that is made, how many rows its parts `train`, `dev` and `test` have; others are read whole.

    Raises:
        UserError: The name is unknown, or the folder does not hold the set.
    """
    known = KNOWN_SETS[choose("data set", name, KNOWN_SETS)]
    if folder is None and known.make is not None:
        return known.make(**sizes)
    if folder is None and known.fetch is not None:
        return known.fetch()
    if folder is None:
        raise UserError(f"{name}: expected the folder that holds it, got none; name it")
    if known.open_folder is None:
        raise UserError(f"{name} is made, not read; give no folder")
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: expected the folder that holds {name}, found none; check the path")
    return known.open_folder(Path(folder))
