"""How a task is put to a model, and its answer read: the one thing in which tasks and families differ in training.

labels   a classification head                       any family
words    the label's word follows the prompt         models that write
span     start and end of a span of the context      any family, by a question-answering head
text     the answer follows the prompt               models that write
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from torch import Tensor

from crossflare.recipe.kinds import Mixes
from crossflare.recipe.spec import Answering
from crossflare.tasks.example import Example
from crossflare.training.forms.outputs import Outputs
from crossflare.training.loop.memory import Number
from crossflare.training.loop.state import Batch, Rows
from crossflare.training.text.encoded import Latents

FormName = Literal["labels", "words", "span", "text"]

__all__ = ["Answering", "Form", "FormName", "Mixes"]


class Form(Protocol):
    """One way of putting a task to a model."""

    labels: int
    """K labels to choose from; 0 for questions."""
    longest: int
    """Most tokens that a model meets in one row."""

    def encode(self, examples: Sequence[Example], latents: Latents | None = None) -> Rows:
        """Tokenise examples, their answers too where they are known.

        Args:
            examples: N examples of the task.
            latents: For FLARE MT, the states of a translation encoder.
        """
        ...

    def collate(self, rows: Sequence[Any], /) -> Batch:
        """Return rows as a batch, labelled where all are."""
        ...

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean loss over the rows of a batch, computed in float32 whatever the model computes in.

        Args:
            model: The model.
            batch: What `collate` made; it is used up.
            step: Optimizer steps made so far.
        """
        ...

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Outputs:
        """Let the model answer; `rows` are the examples encoded."""
        ...

    def truncated(self, examples: Sequence[Example]) -> dict[str, int]:
        """Return how many targets and sources are longer than the model is given."""
        ...
