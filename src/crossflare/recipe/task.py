"""What a recipe says of its data: a named set, a repository on the hub, or own files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from crossflare.errors import UserError
from crossflare.recipe.marks import Bounds, Checked, Label, LanguageTag, Names, PathMark, PathText
from crossflare.recipe.translation import Count, Limit
from crossflare.tasks.hub import HUB_NAME, is_on_hub
from crossflare.tasks.kinds import Metric, QuestionMetric
from crossflare.tasks.layout import Align, FileLayout, FilePart, paths_of
from crossflare.tasks.sets import KNOWN_SETS, KnownSet

Part = Literal["train", "dev", "test"]
Answering = Literal["head", "text"]
Long = Literal["cut", "windows"]
"""What becomes of a text that is longer than the model's window: its end is left out, or it is read piece by piece."""


@dataclass(frozen=True)
class PartSpec(FilePart):
    """The files of one part where they are not as those of the task."""

    path: PathText | tuple[PathText, ...] = ()
    """A file, a pattern as `train-*.csv`, or a list of them."""


_NAME_OR_FOLDER = PathMark(maybe_name=True)


def _check_hub(place: str) -> None:
    if not _NAME_OR_FOLDER.takes(place) and not HUB_NAME.fullmatch(place):
        raise UserError(f"expected owner/name, or a folder that starts with . or /, got {place!r:.60}")


@dataclass(frozen=True)
class TaskSpec(FileLayout):
    """Where the labelled rows come from: a named set, a repository on the hub, or the user's own files."""

    set: Annotated[str, Names("set", lambda: tuple(KNOWN_SETS))] | None = None
    """A named set; None: `files` says where the rows are."""
    folder: PathText | None = None
    """Where the named set lies on this machine."""
    hub: Annotated[str, Checked(_check_hub), _NAME_OR_FOLDER] | None = None
    """A repository of data on the hub, `owner/name`, or a folder (starting with `.`, `~`, `$` or `/`) that is a copy of
    one. Its card says which files it has; nothing in it is run. `texts`, `label` and the rest are as for own files."""
    revision: str | None = None
    """The commit, tag or branch of `hub`; None: the newest."""
    language_names: dict[LanguageTag, str] = field(default_factory=dict[str, str])
    """Language -> its configuration in `hub`, or its name in `language_column`, where that is no name of it."""
    language_column: str | None = None
    """The column that says the language, where one configuration of `hub` holds all; None: each has one of its own."""
    dev_from_train: Count | None = None
    """Rows of train that become dev instead; None: the set has a dev part."""
    limit: Limit = field(default_factory=Limit)
    draw: Annotated[int, Bounds(0, 2**32 - 1)] | None = None
    """A seed: `limit` takes rows drawn by it, the same ids in every language; None: the first rows."""
    form: Answering = "head"
    """How the model answers: by a new head over its states, or in its own words (models that write)."""
    words: dict[str, str] = field(default_factory=dict[str, str])
    """With form `text`: label -> the word that the model writes for it, where that is not the label itself."""
    long: Long = "cut"
    """A text of more than max_length tokens, of one text by a head: `cut`, or read in `windows` of so many tokens, and
    answered by the mean of the windows' log-probabilities. A model trains on the first window. Questions have windows
    of their own."""
    questions: bool = False
    """The own files hold questions with a context and answers, in SQuAD's layout or as flat rows."""
    labels: tuple[Label, ...] = ()
    """The label names, in the order of the classifier's outputs; numbers and truth values go by their text."""
    aliases: dict[str, Label] = field(default_factory=dict[str, str])
    """Other spellings of labels found in the files: spelling -> label."""
    files: dict[LanguageTag, dict[Part, PathText | tuple[PathText, ...] | PartSpec]] = field(
        default_factory=dict[str, dict[Part, str | tuple[str, ...] | PartSpec]]
    )
    """language -> part -> its file, a pattern as `train-*.csv`, a list of them, or `path` with options of its own."""
    align: Align | None = None
    """How the own files of two languages correspond: by the rows' names, by their place, or not at all. None: by name
    where `id` names a column or the rows are questions, else by place."""
    main_metric: Literal[Metric, QuestionMetric] | None = None
    """By which models are chosen; None: as a named set says, else accuracy of labels, f1 of answers."""

    @property
    def asks(self) -> bool:
        """Whether the task is to answer questions."""
        return self.questions or (self._known is not None and self._known.asks)

    @property
    def fetched(self) -> bool:
        """Whether rows come from the hub."""
        if self.set is not None:
            return self.folder is None and self._known is not None and self._known.on_hub
        files = [path for parts in self.files.values() for given in parts.values() for path in paths_of(given)]
        return (self.hub is not None and not Path(self.hub).is_absolute()) or any(map(is_on_hub, files))

    @property
    def lexicon(self) -> Callable[[str], Mapping[str, str]] | None:
        """The dictionary that the named set brings; None: it has none."""
        return None if self._known is None else self._known.lexicon

    @property
    def _known(self) -> KnownSet | None:
        return KNOWN_SETS.get(self.set or "")

    def choosing(self) -> dict[str, Any]:
        """Return what a trained model is named by, too: what is not so by default of metric and long texts."""
        usual = "f1" if self.asks else "accuracy" if self.set is None else None  # a named set of labels has its own
        named = self.main_metric not in (None, usual)
        return ({"main_metric": self.main_metric} if named else {}) | (
            {} if self.long == "cut" else {"long": self.long}
        )
