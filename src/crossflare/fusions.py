"""The tables of fusion functions and alignments, without their arithmetic, so that names need no torch.

The function of a row is in `crossflare.fusion.functions`, under the row's `function` or, if that is empty, its `name`.
"""

from dataclasses import dataclass

ALIGNMENTS = ("position", "proportional", "attention", "none")


@dataclass(frozen=True, slots=True)
class Fusion:
    """A row of the table of fusion functions."""

    name: str
    formula: str
    function: str = ""
    """The name of a function in `crossflare.fusion.functions`, or of a module there that is built with the rank r;
    empty: the row's own name."""
    aligned: bool = True
    """False: phi reads the whole source itself, so `alignment` must be `none`."""
    linear_alone: bool = True
    """Without a source phi is the identity, so the adapter alone is a plain LoRA."""

    @property
    def alignment(self) -> str:
        """The default alignment."""
        return "position" if self.aligned else "none"

    @property
    def alignments(self) -> str:
        """The alignments that it accepts, in words."""
        *most, last = [name for name in ALIGNMENTS if (name == "none") != self.aligned]
        return f"{', '.join(most)} or {last}" if most else last


FUSIONS: dict[str, Fusion] = {
    row.name: row
    for row in (
        Fusion("add", "S + T"),
        Fusion("mul", "S * T"),
        Fusion("add_relu", "relu(S) + relu(T)", linear_alone=False),
        Fusion("mul_relu", "relu(S) * relu(T)", linear_alone=False),
        Fusion("cross_attention", "T + Attn(Q=T, K=V=S)", "CrossAttention", aligned=False),
        Fusion("cross_attention_paper", "Attn(Q=S, K=V=T)", "CrossAttentionPaper"),
    )
}
"""Name -> row."""
