"""The README of a saved adapter: what a person, and the hub, should know of it first."""

from collections.abc import Mapping
from typing import Any, cast

from crossflare.fusion.identity import BaseIdentity


def readme(base: BaseIdentity, card: Mapping[str, Any]) -> str:
    """Return the text of README.md: tags for the hub in its front matter, and the licences of the translations.

    Args:
        base: The model that the adapter belongs to.
        card: As `save_adapter` takes it; what it lacks is left out.
    """
    languages = list(dict.fromkeys(str(card[name]) for name in ("source", "language") if card.get(name)))
    front = ["library_name: peft", f"base_model: {_quoted(base.name)}", "tags: [crossflare, lora]"]
    front += [f"language: [{', '.join(map(_quoted, languages))}]"] if languages else []
    lines = ["---", *front, "---", "", f"# An adapter of {base.name}", ""]
    if card.get("kind"):
        task = cast(dict[str, Any], card.get("task") or {}).get("name", "a task")
        lines += [f"Kind: {card['kind']}; task: {task}; languages: {', '.join(languages) or 'not named'}.", ""]
    engines = _engines(card)
    for what, engine in engines.items():
        licence = str(engine.get("licence", "not stated"))
        model = f" ({engine['model']})" if engine.get("model") else ""
        lines.append(f"- {what}: {engine.get('engine')}{model}, licence {licence}")
    if any("-nc" in str(engine.get("licence", "")).lower() for engine in engines.values()):
        lines += ["", "**Not for commercial use:** the licence of a translation that was trained on forbids it."]
    lines += [
        "",
        "Load it with `crossflare.load_adapter`, which checks it and merges its stage 1; or, where it has none,",
    ]
    lines += ["with peft after `import crossflare`."]
    return "\n".join(lines) + "\n"


def _engines(card: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return who translated, by what was translated."""
    named = {"texts translated by": card.get("to_target"), "sources translated by": card.get("train_source")}
    return {what: cast(Mapping[str, Any], engine) for what, engine in named.items() if isinstance(engine, Mapping)}


def _quoted(text: str) -> str:
    """Return a text as YAML reads it back: `no` is a language."""
    return "'" + text.replace("'", "''") + "'"
