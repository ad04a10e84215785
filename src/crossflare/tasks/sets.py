"""The named data sets, and how to open one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crossflare.errors import UserError, choose
from crossflare.tasks import named_sets
from crossflare.tasks.dataset import DataSet
from crossflare.tasks.kinds import QuestionTask
from crossflare.tasks.phrasebook import lexicon, phrasebook
from crossflare.tasks.released import Release, open_folder, open_on_hub


@dataclass(frozen=True, slots=True)
class KnownSet:
    """What is known about a named set without opening it; a new set needs only one row like this."""

    name: str
    title: str
    citation: str
    licence: str
    """The licence as the authors of the set state it: it covers the data, and crossflare never ships the rows."""
    release: Release | None = None
    """The places and layout of its files; None: the set has no files."""
    make: Callable[..., DataSet] | None = None
    """Makes the rows; `train`, `dev` and `test` say how many rows a part has. None: rows are read."""
    makes_questions: bool = False
    """Whether `make` makes questions."""
    lexicon: Callable[[str], Mapping[str, str]] | None = None
    """Returns the set's own dictionary from a language into its source language; None: it has none."""

    @property
    def asks(self) -> bool:
        """Whether its rows are questions."""
        return self.makes_questions or (self.release is not None and isinstance(self.release.task, QuestionTask))

    @property
    def on_hub(self) -> bool:
        """Whether it can be fetched from the hub."""
        return self.release is not None and self.release.hub is not None


def _of_the_laboratory(name: str, title: str, asks: bool = False) -> KnownSet:
    def make(**sizes: int) -> DataSet:
        from crossflare_lab.sets import load_lab_set

        return load_lab_set(name, **sizes)

    return KnownSet(name, title, "written for crossflare", "Apache-2.0", make=make, makes_questions=asks)


KNOWN_SETS: dict[str, KnownSet] = {
    known.name: known
    for known in (
        KnownSet(
            "nusax",
            "NusaX-senti: sentiment in 10 languages of Indonesia, Indonesian and English",
            "Winata et al., EACL 2023, https://aclanthology.org/2023.eacl-main.57",
            "CC BY-SA 4.0",
            named_sets.NUSAX,
        ),
        KnownSet(
            "xnli",
            "XNLI: entailment in 15 languages",
            "Conneau et al., EMNLP 2018, https://aclanthology.org/D18-1269",
            "CC BY-NC 4.0",
            named_sets.XNLI,
        ),
        KnownSet(
            "sib200",
            "SIB-200: topics of sentences in 200 languages",
            "Adelani et al., EACL 2024, https://arxiv.org/abs/2309.07445",
            "CC BY-SA 4.0",
            named_sets.SIB200,
        ),
        KnownSet(
            "afrisenti",
            "AfriSenti: sentiment of tweets in 14 languages of Africa",
            "Muhammad et al., EMNLP 2023, https://aclanthology.org/2023.emnlp-main.862",
            "CC BY 4.0",
            named_sets.AFRISENTI,
        ),
        KnownSet(
            "masakhanews",
            "MasakhaNEWS: topics of news in 16 languages spoken in Africa",
            "Adelani et al., IJCNLP-AACL 2023, https://arxiv.org/abs/2304.09972",
            "see its repository; for research, the texts belong to their news sites",
            named_sets.MASAKHANEWS,
        ),
        KnownSet(
            "afrixnli",
            "AfriXNLI: entailment in 16 languages of Africa, English and French",
            "Adelani et al., 2024, https://arxiv.org/abs/2406.03368",
            "see its repository; the texts are those of XNLI, CC BY-NC 4.0",
            named_sets.AFRIXNLI,
        ),
        KnownSet(
            "americasnli",
            "AmericasNLI: entailment in 10 indigenous languages of the Americas",
            "Ebrahimi et al., ACL 2022, https://aclanthology.org/2022.acl-long.435",
            "CC BY-SA 4.0",
            named_sets.AMERICASNLI,
        ),
        KnownSet(
            "paws-x",
            "PAWS-X: paraphrases in 7 languages",
            "Yang et al., EMNLP 2019, https://aclanthology.org/D19-1382",
            "free for any purpose, with thanks to Google",
            named_sets.PAWSX,
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
            named_sets.TYDIQA,
        ),
        KnownSet(
            "xquad",
            "XQuAD: questions of SQuAD in 12 languages",
            "Artetxe et al., ACL 2020, https://aclanthology.org/2020.acl-main.421",
            "CC BY-SA 4.0",
            named_sets.XQUAD,
        ),
        _of_the_laboratory("lab-qa", "Questions about made-up texts in made-up languages", asks=True),
    )
}
"""The sets, in the order in which a recipe's mistakes list them."""


def load_set(name: str, folder: Path | str | None = None, **sizes: int) -> DataSet:
    """Open a named data set.

    Args:
        name: A key of `KNOWN_SETS`.
        folder: The folder with its files, in the layout of its release; None: they are fetched from the hub, or made.
        sizes: For a set that is made, how many rows its parts `train`, `dev` and `test` have; others are read whole.

    Raises:
        UserError: The name is unknown, or the folder does not hold the set.
    """
    known = KNOWN_SETS[choose("data set", name, KNOWN_SETS)]
    if folder is None and known.make is not None:
        return known.make(**sizes)
    if known.release is not None and folder is None:
        if not known.on_hub:
            raise UserError(f"{name}: expected the folder that holds it, got none; name it")
        return open_on_hub(known.release)
    if known.release is None or folder is None:
        raise UserError(f"{name} is made, not read; give no folder")
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: expected the folder that holds {name}, found none; check the path")
    return open_folder(known.release, Path(folder))
