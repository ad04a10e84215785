"""The JSON that goes in and out, as OpenAPI describes it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

TextOrTexts = str | Annotated[list[str], Field(min_length=2, max_length=2)]
"""A text; or two, premise and hypothesis, or question and context."""
EXAMPLE: dict[str, Any] = {"texts": ["filamu mbaya", "hadithi nzuri"], "language": "sw"}


class PredictRequest(BaseModel):
    """Texts to predict: `text`, or `texts`."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"example": EXAMPLE})

    text: TextOrTexts | None = Field(None, description="One text; a list of two for a task with two texts.")
    texts: list[TextOrTexts] | None = Field(None, description="Many texts, in place of `text`.")
    source: TextOrTexts | None = Field(
        None, description="The text in the source language; null: the service translates it; empty: it is read alone."
    )
    sources: list[TextOrTexts | None] | None = Field(None, description="A source, or null, for each of `texts`.")
    language: str | None = Field(
        None, max_length=64, description="One of `/languages`; null: it is detected where the service has several."
    )
    coverage: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The share of rows to answer; rows on which the adapter is less sure get no label.",
    )


class Source(BaseModel):
    """What was read beside a text."""

    text: str | list[str] | None = Field(description="The text in the source language; null: there was none.")
    how: Literal["given", "translated", "none"] = Field(description="Where it comes from.")


class Predicted(BaseModel):
    """What an adapter says about one text."""

    label: str | None = Field(description="The most probable label; null: the adapter abstains, or the task has none.")
    answer: str | None = Field(description="The answer to a question; null for other tasks.")
    probability: float = Field(
        description="That of the label; for an answer, that of its place in its passage, or the mean of its words'.",
    )
    probabilities: dict[str, float] = Field(description="Each label's probability; empty for a question.")
    calibrated: bool = Field(description="Whether the probabilities are calibrated on dev rows.")
    abstained: bool = Field(description="Whether the probability is too low for the coverage that was asked for.")
    language: str = Field(description="The language whose adapter answered.")
    source: Source
    cut: bool = Field(description="Whether the text, or its source, was longer than the model reads, and was cut.")
    windows: int = Field(description="The number of windows in which the text was read.")


class PredictResponse(BaseModel):
    """The answers, in the order of the texts."""

    predictions: list[Predicted]


class LanguageServed(BaseModel):
    """A language, and what the service can do with its texts."""

    language: str
    name: str = Field(description="The language's name, if it has one.")
    task: str
    labels: list[str]
    texts: list[str] = Field(description="What the one or two texts of a row are.")
    reads_source: bool
    source_language: str | None
    engine: str | None = Field(description="The engine that translates texts without a source; null: none does.")
    available: bool = Field(description="Whether the engine works now; texts with a source do not need it.")


class LanguagesResponse(BaseModel):
    """All languages of the service."""

    languages: list[LanguageServed]


class Health(BaseModel):
    """Whether the process lives, or takes requests."""

    status: Literal["ok", "ready", "stopping"]


class Info(BaseModel):
    """Versions, limits, and what the cards of the adapters say."""

    versions: dict[str, str]
    limits: dict[str, int | float]
    adapters: dict[str, dict[str, Any]]


class ErrorResponse(BaseModel):
    """Why a request is not answered."""

    error: str = Field(description="One line: what was expected, what came, what to do.")
    id: str = Field(description="The request's name in the log of the service.")


_EXPECTED: Mapping[str, str] = {
    "text": "a text, or a list of two texts",
    "texts": "a list of texts, or of lists of two texts",
    "source": "a text, a list of two texts, or null",
    "sources": "a list with a text, a list of two texts or null for each of the texts",
    "language": "the name of a language, of at most 64 signs",
    "coverage": "a number above 0 and at most 1",
}


def expectation(errors: Sequence[Any]) -> str:
    """Return one line for the errors that pydantic finds in a request; it repeats nothing of the texts."""
    place = next((error["loc"] for error in errors), ())
    names = [part for part in place if part in _EXPECTED]
    if names:
        index = next((f"[{part}]" for part in place if isinstance(part, int)), "")
        return f"{names[0]}{index}: expected {_EXPECTED[str(names[0])]}, with whole characters; see /openapi.json"
    if any(error["type"] == "extra_forbidden" for error in errors):
        return f"the body has a field that is not known; known are {', '.join(_EXPECTED)}"
    return "expected a JSON object with `text` or `texts`; see /openapi.json"
