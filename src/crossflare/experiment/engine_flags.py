"""An engine as the command line names it; apart from what predicts, so that translating a file loads no torch."""

from collections.abc import Sequence
from pathlib import Path

from crossflare.experiment import strict_yaml
from crossflare.experiment.fields import Reader
from crossflare.experiment.translation_spec import EngineOptions


def engine_options(engine: str, options: Sequence[str]) -> EngineOptions:
    """Read an engine and its `key=value` options as a recipe would; a path may start at the current folder.

    Raises:
        UserError: An unknown engine or option, or a value of the wrong type; all at once.
    """
    document = strict_yaml.Document({"engine": engine}, "--translate")
    strict_yaml.override(document, options, flag="--option")
    read = Reader(document, Path.cwd()).dataclass(EngineOptions, document.value, ())
    if document.problems or read is None:
        raise strict_yaml.GatheredError(document.report())
    return read
