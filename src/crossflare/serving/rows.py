"""A caller's texts as rows: with the sources that the adapter reads, and checked."""

from collections.abc import Iterable, Mapping

from crossflare.errors import UserError
from crossflare.recipe.kinds import Reads
from crossflare.serving.card import Saved
from crossflare.serving.prediction import Text, examples_from, given_of, reads_of, translated
from crossflare.tasks.example import Example
from crossflare.translation.engines.protocol import Translator

ALONE = "sources=[None, ...] reads the texts alone"
ADVICE: Mapping[Reads, str] = {
    "both": f"give them as sources, or a translator; {ALONE}",
    "latents": f"give its engine, `Transformers`, as translator; {ALONE}",
}


def ready(
    saved: Saved,
    texts: Iterable[Text],
    sources: Iterable[Text | None] | None,
    translator: Translator | None,
    language: str | None,
) -> tuple[list[Example], Reads]:
    """Return a caller's N texts as rows with their sources, and what the adapter reads of each.

    Raises:
        UserError: See `TrainedAdapter.predict`.
    """
    examples, any_source = examples_from(texts, sources, saved.task.text_count)
    if not examples:
        return [], "target"
    reads = reads_of(saved, given_of(sources is not None, any_source, translator), ADVICE)
    if translator is not None and reads == "both":
        examples = translated(saved, examples, translator, language)
    return examples, reads


def check_batch_size(batch_size: int) -> None:
    """Raise `UserError` for a batch without rows."""
    if batch_size < 1:
        raise UserError(f"batch_size: expected at least 1, got {batch_size}")
