"""What the service says about itself: versions, limits, languages, and the essentials of the adapters' cards."""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.languages import find_language
from crossflare.service.messages import Info, LanguageServed
from crossflare.service.service import Service
from crossflare.serving.card import Saved
from crossflare.serving.rows import text_columns

SHOWN = ("torch", "transformers", "peft")
"""Libraries whose versions matter for what is predicted."""


def info_of(service: Service) -> Info:
    """Return versions, limits and adapters."""
    return Info(
        versions={name: version(name) for name in ("crossflare", *SHOWN)},
        limits=asdict(service.limits),
        adapters={name: _essentials(saved) for name, saved in service.adapters.saved.items()},
    )


def languages_served(service: Service) -> list[LanguageServed]:
    """Return what the service does with the texts of each language."""
    found: list[LanguageServed] = []
    for name, saved in service.adapters.saved.items():
        engine = service.engines.get(name)
        encoder = service.encoders.get(name)
        found.append(
            LanguageServed(
                language=name,
                name=_called(name),
                task=saved.task.name,
                labels=[*saved.task.labels],
                texts=[*text_columns(saved.task)],
                reads_source=saved.kind.reads == "both",
                source_language=saved.card.get("source"),
                engine=str(encoder.identity["engine"]) if encoder else engine.name if engine else None,
                available=engine is None or engine.state == "ready",
            )
        )
    return found


def _essentials(saved: Saved) -> dict[str, Any]:
    """Return what a user should know of an adapter; a folder of this machine is named without its place."""
    reading = saved.reading_in_training()
    return {
        "method": saved.name,
        "task": saved.task.name,
        "labels": [*saved.task.labels],
        "language": saved.card.get("language"),
        "source": saved.card.get("source"),
        "base": Path(saved.base.name).name if Path(saved.base.name).is_absolute() else saved.base.name,
        "max_length": reading.max_length,
        "long": saved.long,
        "licence": saved.card.get("licence"),
        "calibrated": saved.calibration is not None,
    }


def _called(name: str) -> str:
    try:
        return find_language(name).name
    except UserError:
        return ""
