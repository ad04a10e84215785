"""Translations against references: BLEU and chrF of sacrebleu (the extra `quality`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from crossflare.errors import UserError
from crossflare.languages import find_language
from crossflare.translation.translate import UNSPACED


@dataclass(frozen=True, slots=True)
class Quality:
    """Scores between 0 and 1 of a set of translations, with the signatures of sacrebleu."""

    bleu: float
    chrf: float
    """chrF++ where words are written apart, else chrF."""
    signatures: tuple[str, str]
    texts: int


def measure(outputs: Sequence[str], references: Sequence[str], language: str) -> Quality:
    """Score translations against one reference each.

    Args:
        outputs: What the engine gave.
        references: What it should have given, in the same order.
        language: BCP-47 tag of both; decides how words are told apart.

    Raises:
        UserError: sacrebleu is not installed, or the counts differ or are zero.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise UserError("BLEU and chrF need sacrebleu; install it: pip install 'crossflare[quality]'") from error
    if len(outputs) != len(references) or not outputs:
        raise UserError(
            f"expected as many translations as references, one or more, found {len(outputs)} and {len(references)}"
        )
    script = find_language(language).script
    chinese = script in ("Hans", "Hant", "Hani")
    bleu = BLEU(tokenize="zh" if chinese else "char" if script in UNSPACED else "13a")
    chrf = CHRF(word_order=0 if script in UNSPACED else 2)
    scores = [metric.corpus_score(list(outputs), [list(references)]).score / 100 for metric in (bleu, chrf)]
    signatures = (str(bleu.get_signature()), str(chrf.get_signature()))
    return Quality(scores[0], scores[1], signatures, len(outputs))
