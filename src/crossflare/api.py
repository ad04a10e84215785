"""The command line's main steps from Python: run a recipe, read its scores, open its adapters, translate texts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossflare import progress
from crossflare.errors import UserError, choose
from crossflare.languages import tag_of
from crossflare.libraries.heard import listening
from crossflare.recipe.grid import Recipe, load_recipe

if TYPE_CHECKING:
    import pandas

    from crossflare.report.results import Results
    from crossflare.serving.adapter import TrainedAdapter


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its folder, and what is in it. In a notebook it shows its scores."""

    folder: Path

    def scores(self) -> "pandas.DataFrame":
        """Return all scores with their intervals.

        Returns:
            A row for each cell of a grid, metric, method and language: `score`, `low` and `high` (95 % interval)
            between 0 and 1, `seeds` (how many). `language` is `macro` for the mean over several.
        """
        import pandas

        folders = self._folders
        rows = [
            {
                **({"cell": folder.name} if len(folders) > 1 else {}),
                "metric": each.metric,
                "method": each.method,
                "language": each.language,
                "score": each.score.score,
                "low": each.score.low,
                "high": each.score.high,
                "seeds": len(each.seeds),
            }
            for folder in folders
            for each in _collected(folder).cells.values()
            if each.score is not None
        ]
        return pandas.DataFrame(rows)

    def adapter(self, method: str, language: str, seed: int) -> "TrainedAdapter":
        """Open the adapter that a method trained for a language, alone or with others, with a seed.

        See `crossflare.open_adapter`.

        Raises:
            UserError: The run has no such adapter; the message names those that it has.
        """
        from crossflare.evaluation.folder import RunFiles
        from crossflare.serving.adapter import open_adapter

        there = {path.name: path for folder in self._folders for path in sorted(RunFiles(folder).adapters.glob("*"))}
        if not there:
            raise UserError(f"{self.folder}: expected trained adapters, found none; run a recipe that trains some")
        tag, first, last = tag_of(language), f"{method}-", f"-seed{seed}"
        ours = (name for name in there if name.startswith(first) and name.endswith(last))
        joint = (name for name in ours if tag in name.removeprefix(first).removesuffix(last).split("+"))
        return open_adapter(there[next(joint, None) or choose("adapter", f"{first}{tag}{last}", there)])

    def report(self, *, show: bool = False) -> Path:
        """Write the report into the run's folder; return its page, or its Markdown if the extra `report` is missing.

        Args:
            show: Open the page in the browser, too.
        """
        from crossflare.report import build_report
        from crossflare.report.overview import build_overview, is_grid

        made = build_overview(self.folder) if is_grid(self.folder) else build_report(self.folder)
        page = made.html or made.markdown
        if show:
            import webbrowser

            webbrowser.open(page.resolve().as_uri())
        return page

    @property
    def _folders(self) -> list[Path]:
        """The run's folder, or the folders of a grid's cells."""
        from crossflare.evaluation.folder import RunFiles

        return [cell.folder for cell in RunFiles(self.folder).cells] or [self.folder]

    def _repr_html_(self) -> str:
        return self.scores().to_html(index=False, float_format=lambda value: f"{value:.3f}")


def _collected(folder: Path) -> "Results":
    from crossflare.report.results import collect

    return collect(folder)


def run(recipe: str | Path | Mapping[str, Any] | Recipe, *, runs: str | Path = "runs", workers: int = 1) -> FinishedRun:
    """Run all steps of a recipe that are not done yet, and show progress.

    If the run is killed, a new call goes on where it stopped. In a notebook the result shows its scores with their
    intervals.

    >>> done = crossflare.run("reviews.yaml")
    >>> list(done.scores().columns)
    ['metric', 'method', 'language', 'score', 'low', 'high', 'seeds']
    >>> adapter = done.adapter("flare", "sw", seed=0)

    Args:
        recipe: A recipe, or what `load_recipe` takes.
        runs: The folder of all runs.
        workers: Processes that share the work.

    Returns:
        The run, with `scores()`, `adapter(method, language, seed)` and `report()`.

    Raises:
        UserError: The recipe cannot start, or a step failed; all steps that could still run are done.
    """
    from crossflare.experiment.running.run import run as make_missing

    known = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    with progress.display(), listening(lambda line: progress.keep_line(f"note: {line}")):
        return FinishedRun(make_missing(known, Path(runs), workers))


def translate(
    texts: Iterable[str], *, from_: str, to: str, engine: str, store: str | Path | None = None, **options: Any
) -> list[str]:
    """Translate texts with an engine that a recipe can name.

    >>> crossflare.translate(["filamu mbaya"], from_="sw", to="en", engine="dictionary", lexicon="words.tsv")
    ['film bad']

    Args:
        texts: N texts.
        from_: Their language, written in any way that `crossflare languages` knows.
        to: The language to translate into.
        engine: The engine's name, such as `apertium`, `transformers` or `dictionary`.
        store: A folder in which translations are kept, so that none is made twice; None: they are not kept.
        options: The engine's options, as in a recipe, such as `model="facebook/nllb-200-distilled-600M"`.

    Returns:
        N translations; a blank text stays as it is.

    Raises:
        UserError: The engine, an option or a language is unknown, or the engine lacks the pair.
    """
    from crossflare.recipe.engines import build_engine
    from crossflare.recipe.translation import engine_from_values
    from crossflare.translation.store import Store
    from crossflare.translation.translate import for_long_texts, translate_all

    given: list[Any] = [] if isinstance(texts, str) else list(texts)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in given):
        raise UserError("texts: expected a list of texts; put a single one into a list")
    pair = tag_of(from_), tag_of(to)
    built = for_long_texts(build_engine(engine_from_values(engine, options), *pair))
    if store is None:
        return built.translate(given, source=pair[0], target=pair[1])
    return translate_all(Store(store), built, given, *pair)
