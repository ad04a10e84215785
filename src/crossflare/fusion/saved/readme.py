"""The README of a saved folder, which the model hub shows: complete without editing, and nothing that is not known.

Its head is metadata for the hub (languages as BCP-47 tags, base, tags, scores); its text says how to load the folder,
what it was trained on under which licences, what it scores, and where it ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from crossflare.fusion.identity import BaseIdentity, named_by_path, without_path
from crossflare.tasks.hub import HUB_NAME

UNKNOWN = "licence not known"
What = Literal["adapter", "probe", "model"]
TITLES: Mapping[What, tuple[str, str | None]] = {
    "adapter": ("An adapter of {}", "adapter"),
    "probe": ("A probe on {}", None),
    "model": ("{}, all of its weights trained", "finetune"),
}
"""The title, and what the folder is to its base, where the hub has a word for that."""
AUTO = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
}
"""peft's type of task -> transformers' class of its base."""
AFTER = (
    "`load_adapter` checks every file, and merges stage 1 if there is one. Where there is none, peft loads it after\n"
    "`import crossflare`.",
    "`pip install crossflare` brings the library. Files that `manifest.json` does not name are never read, and no\n"
    "code of this repository runs. `crossflare predict` does the same for a file of texts.",
)
"""The text below the code, for a card without a kind of method and for one with it."""


@dataclass(frozen=True, slots=True)
class Score:
    """A score on test rows, from 0 to 1, with its 95 % interval over these rows."""

    metric: str
    language: str
    score: float
    low: float
    high: float
    rows: int
    """The number of test rows."""
    how: str
    """The method that read the rows, and how their sources were made."""


@dataclass(frozen=True, slots=True)
class About:
    """What a README says beyond the card of its folder."""

    what: What = "adapter"
    place: str = "."
    """The name on the hub or the folder that its code opens."""
    licence: str | None = None
    """The licence that the owner gives it."""
    reads: str = "target"
    """What the model gets: see `Reads` in `recipe.kinds`."""
    task_type: str | None = None
    """peft's type of task, for an adapter without a card of a run."""
    scores: Sequence[Score] = ()
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """What was translated for its tests -> the engine's identity."""


def readme(base: BaseIdentity, card: Mapping[str, Any], about: About) -> str:
    """Return the text of README.md.

    Args:
        base: The model that the folder belongs to.
        card: The folder's card; the text leaves out what it lacks.
        about: The rest.
    """
    title = TITLES[about.what][0].format(without_path(base.name))
    sections = {
        "How to load it": ["```python", *_code(base, card, about), "```", "", AFTER[bool(card.get("kind"))]],
        "What it was made from": _made_from(base, card, about),
        "Scores": _scores(card, about.scores),
        "Limits": _limits(card, about),
    }
    text = ["---", _head(base, card, about, title).rstrip(), "---", "", f"# {title}", "", _first(card)]
    for name, lines in sections.items():
        text += ["", f"## {name}", "", *lines]
    return "\n".join(text) + "\n"


def _head(base: BaseIdentity, card: Mapping[str, Any], about: About, title: str) -> str:
    """Return the metadata for the hub, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    languages, data, task = _languages(card), _part(_part(card, "data"), "set"), _part(card, "task")
    pipeline = _pipeline(card, about)
    found = [
        EvalResult(
            task_type=pipeline or "other",
            dataset_type=str(data.get("hub") or task.get("name") or "own-files"),
            dataset_name=str(data.get("name") or task.get("name") or "own files"),
            dataset_config=each.language,
            dataset_split="test",
            metric_type="f1" if each.metric.endswith("_f1") else each.metric,
            metric_value=round(each.score, 4),
            metric_name=f"{each.metric.replace('_', ' ')}, {each.how}, 95 % interval {_range(each)}",
            metric_args={"low": round(each.low, 4), "high": round(each.high, 4), "level": 0.95, "rows": each.rows},
        )
        for each in about.scores
    ]
    hub_base = _hub_base(base, card)
    plain = list(dict.fromkeys(tag.split("-")[0] for tag in languages))
    more: dict[str, Any] = {"language_bcp47": languages if plain != languages else None}
    if hub_base:
        more |= {"base_model_relation": TITLES[about.what][1], "base_model_revision": _revision(card)}
    return ModelCardData(
        language=plain or None,
        license=about.licence,
        library_name="peft" if about.what == "adapter" else "crossflare",
        base_model=hub_base,
        pipeline_tag=pipeline,
        tags=["crossflare", str(card.get("kind") or "lora")],
        datasets=[data["hub"]] if data.get("hub") else None,
        model_name=title if found else None,
        eval_results=found or None,
        **{name: value for name, value in more.items() if value is not None},
    ).to_yaml(line_break="\n")


def _first(card: Mapping[str, Any]) -> str:
    """Return the line that says what it is."""
    if not card.get("kind"):
        return "Put on a base model, it changes what the model says; its card does not say for which task."
    task = _part(card, "task")
    labels = ", ".join(map(str, cast(list[Any], task.get("labels") or [])))
    what = f"labels: {labels}" if labels else "answers to questions"
    named = f"Kind: {card['kind']}; task: {task.get('name', 'a task')} ({what})"
    return f"{named}; languages: {', '.join(_languages(card)) or 'not named'}."


def _code(base: BaseIdentity, card: Mapping[str, Any], about: About) -> list[str]:
    """Return the lines of Python that load it and use it."""
    place, hub = about.place, _hub_base(base, card)
    if not card.get("kind"):
        auto = AUTO.get(str(about.task_type), "AutoModel")
        name = "BASE" if named_by_path(base.name) else base.name
        return [
            "import crossflare",
            f"from transformers import {auto}",
            "",
            f'base = {auto}.from_pretrained("{name}")  # with its head\'s options',
            f'model = crossflare.load_adapter(base, "{place}")',
        ]
    named = f', base="{hub}"' if hub and hub == base.name else ""
    lost = "  # and base=, the folder of its base" if hub is None and place != "." else ""
    pair = '("a question", "its context")' if _questions(card) else '("a text", "another text")'
    text = pair if _part(card, "task").get("texts") == 2 or _questions(card) else '"a text"'
    sources = {
        "both": f"sources = [{text}]  # the same in {card.get('source', 'the source language')}; None: without",
        "latents": "sources = [None]  # or, in predict, translator=: the engine named below",
    }
    code = ["import crossflare", "", f'adapter = crossflare.open_adapter("{place}"{named}){lost}', f"texts = [{text}]"]
    code += [sources[about.reads]] if about.reads in sources else []
    code += [f"for said in adapter.predict(texts{', sources' if about.reads in sources else ''}):"]
    return [*code, "    print(said.label, said.score)"]


def _made_from(base: BaseIdentity, card: Mapping[str, Any], about: About) -> list[str]:
    """Return the table of what it was trained on and with, each with its licence."""
    hub, revision = _hub_base(base, card), _revision(card)
    named = [f"{without_path(base.name)} ({hub})" if hub not in (None, base.name) else without_path(base.name)]
    named += [f"revision {revision}" if revision else "revision not named"]
    named += [f"weights {base.digest[:12]}"] if base.digest else []
    rows = [("base model", ", ".join(named), _part(card, "model"))]
    if card.get("kind"):
        data, known = _part(card, "data"), _part(_part(card, "data"), "set")
        place = "@".join(str(known[key]) for key in ("hub", "revision") if known.get(key))
        said = [str(known.get("name") or _part(card, "task").get("name") or "own files"), place]
        said += [f"{data[key]} rows ({key[2:]})" for key in ("n_train", "n_dev") if key in data]
        rows.append(("data", ", ".join(filter(None, said)), known))
    for what, engine in [*_engines(card), *about.engines.items()]:
        name = f" ({without_path(str(engine['model']))})" if engine.get("model") else ""
        rows.append((what, f"{engine.get('engine')}{name}", engine))
    lines = ["| what | which | licence |", "|---|---|---|"]
    lines += [f"| {what} | {_cell(which)} | {_cell(str(of.get('licence') or UNKNOWN))} |" for what, which, of in rows]
    lines += ["", f"This {about.what} itself: {about.licence or UNKNOWN}."]
    if any("-nc" in str(of.get("licence", "")).lower().replace(" ", "-") for _, _, of in rows):
        lines += ["", "**Not for commercial use:** the licence of something that it was trained on forbids it."]
    return lines


def _scores(card: Mapping[str, Any], scores: Sequence[Score]) -> list[str]:
    """Return the table of test scores; and the score on dev rows, which it was chosen by."""
    lines = ["No scores on test rows are known."]
    if scores:
        lines = ["| language | metric | score | 95 % interval | test rows | read by |", "|---|---|---|---|---|---|"]
        for each in scores:
            cells = (
                each.language,
                each.metric.replace("_", " "),
                f"{each.score:.3f}",
                _range(each),
                each.rows,
                each.how,
            )
            lines.append(f"| {' | '.join(_cell(str(cell)) for cell in cells)} |")
        lines += ["", "The intervals are of the test rows alone (bootstrap), for this one trained model."]
    dev = _part(card, "training").get("dev_score")
    if isinstance(dev, int | float):
        metric = str(_part(card, "task").get("main_metric") or "score").replace("_", " ")
        lines += ["", f"On its dev rows, by which it was chosen, so that this flatters it: {metric} {dev:.3f}."]
    return lines


def _limits(card: Mapping[str, Any], about: About) -> list[str]:
    """Return the limits of its use."""
    lines = ["- It belongs to exactly the base above: on any other, loading it is refused."]
    if not card.get("kind"):
        return lines
    trained = str(card.get("language") or "").replace("+", ", ") or "languages that its card does not name"
    lines += [f"- It was trained for {trained}; nothing is known of other languages, domains or labels."]
    if about.reads == "both":
        lines += ["- It reads each text with its translation; worse translations, or none, cost accuracy."]
    if _engines(card):
        lines += ["- It learnt from machine translations, with their mistakes and their tone."]
    if not _questions(card):
        long = "read in windows" if _part(card, "task").get("long") == "windows" else "cut"
        lines += [f"- Texts longer than {longest} tokens are {long}."] if (longest := card.get("max_length")) else []
        calibrated = ", ".join(_part(card, "calibration")) or "no language"
        lines += [f"- Its probabilities are calibrated for: {calibrated}."]
    return [*lines, "- It predicts what people labelled; do not decide about a person by it alone."]


def _engines(card: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the translation engines with what they translated; a joint adapter has one for each language."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for what, given in {"texts translated by": card.get("to_target"), "sources by": card.get("train_source")}.items():
        if isinstance(given, Mapping) and "engine" in given:
            found.append((what, cast(Mapping[str, Any], given)))
        elif isinstance(given, Mapping):
            each = cast(Mapping[str, Any], given).items()
            found += [(f"{what} ({language})", engine) for language, engine in each if isinstance(engine, Mapping)]
    return found


def _languages(card: Mapping[str, Any]) -> list[str]:
    """Return the languages of its rows, the source first."""
    said = (str(card.get(name) or "") for name in ("source", "through", "language"))
    return [tag for tag in dict.fromkeys(tag for each in said for tag in each.split("+")) if tag]


def _pipeline(card: Mapping[str, Any], about: About) -> str | None:
    """Return the hub's name of the task; None if it is not known."""
    if not card.get("kind"):
        return {"SEQ_CLS": "text-classification", "CAUSAL_LM": "text-generation"}.get(str(about.task_type))
    if _part(card, "task").get("form") == "text":
        return "text-generation"
    return "question-answering" if _questions(card) else "text-classification"


def _questions(card: Mapping[str, Any]) -> bool:
    return _part(card, "task").get("normalisation") is not None


def _hub_base(base: BaseIdentity, card: Mapping[str, Any]) -> str | None:
    """Return the base's name on the hub; None if it has none, as a folder has."""
    name = str(_part(card, "model").get("hub") or base.name)
    return name if HUB_NAME.fullmatch(name) and not Path(name).exists() else None


def _revision(card: Mapping[str, Any]) -> str | None:
    model = _part(card, "model")
    return model.get("revision") or model.get("commit")


def _part(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object of the card, empty if it is not there."""
    found = values.get(key)
    return cast(Mapping[str, Any], found) if isinstance(found, Mapping) else {}


def _range(score: Score) -> str:
    return f"{score.low:.3f} to {score.high:.3f}"


def _cell(text: str) -> str:
    """Return a text for one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
