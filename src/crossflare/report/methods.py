"""The description of every method of a run in words: its kind, its special options, and its group."""

from collections.abc import Mapping
from typing import Any

from crossflare.recipe.kinds import KINDS, group_of
from crossflare.report.runs import RunFolder

TRAIN_SOURCES = {
    "machine": "its training sources are translations, as at test time",
    "shuffled": "control: in training each row has the translation of another row as source",
    "none": "control: trained without any source",
    "target": "control: in training each text is its own source",
}
TEST_SOURCES = {
    "oracle": "upper bound: it reads the set's own source text at test time",
    "shuffled": "control: at test time each row has the translation of another row as source",
    "none": "control: it reads no source at test time",
    "target": "control: at test time each text is its own source",
}
"""Option -> its meaning; the usual options need no words."""
TOLD = frozenset({"name", "kind", "of", "languages", "trained_in", "through", "train_source", "test_source"})
"""Options that have words of their own."""
GROUPS = {
    "baseline": "Baselines",
    "rival": "Rivals",
    "flare": "FLARE variants",
    "combination": "Combinations",
    "control": "Controls",
    "upper bound": "Upper bounds",
}
"""`Kind.group` -> the heading in a table, in the order of a table."""
GROUPED_FROM = 8
"""With this many methods or more, tables are grouped; fewer are in the recipe's order."""


def grouped(folder: RunFolder) -> dict[str, str]:
    """Return each method with the heading of its group, in the order of a table; no headings where methods are few."""
    if len(folder.methods) < GROUPED_FROM:
        return dict.fromkeys(folder.methods, "")
    groups = {name: _group(folder, name) for name in folder.methods}
    places = list(GROUPS)
    order = sorted(folder.methods, key=lambda name: places.index(groups[name]))
    return {name: GROUPS[groups[name]] for name in order}


def upper_bounds(folder: RunFolder) -> frozenset[str]:
    """Return the upper bounds: the methods that see texts which real applications do not have."""
    return frozenset(x for x in folder.methods if _group(folder, x) == "upper bound")


def unranked(folder: RunFolder) -> frozenset[str]:
    """Return the methods that do not compete with others: controls and upper bounds."""
    return upper_bounds(folder) | {x for x in folder.methods if _group(folder, x) == "control"}


def variants_of_flare(folder: RunFolder) -> tuple[str, ...]:
    """Return the methods that fuse and are no controls, in the recipe's order."""
    return tuple(x for x in folder.methods if _group(folder, x) == "flare")


def descriptions(folder: RunFolder) -> tuple[tuple[str, str], ...]:
    """Return each method's name with a sentence about it; facts that records and recipe do not have are left out."""
    options = {name: _options(folder, name) for name in grouped(folder)}
    found = ((name, "; ".join([*_describe(options[name]), *_special(name, options)])) for name in options)
    return tuple((name, text) for name, text in found if text)


def _special(name: str, options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the other options of a method, where they are given, in which the methods of its kind differ."""
    mine = {key: value for key, value in options[name].items() if value is not None}
    kin = [each for each in options.values() if each.get("kind") == mine.get("kind")]
    odd = [key for key in mine if key not in TOLD and any(each.get(key) != mine[key] for each in kin)]
    return [f"{key.replace('_', ' ')} {mine[key]}" for key in odd]


def _group(folder: RunFolder, name: str) -> str:
    return group_of(_options(folder, name)) or "baseline"


def _options(folder: RunFolder, name: str) -> Mapping[str, Any]:
    said = next((run.record.method for key, run in folder.runs.items() if key[0] == name), {})
    return {**folder.options(name), **said}


def _describe(options: Mapping[str, Any]) -> list[str]:
    kind = str(options.get("kind"))
    about = [KINDS[kind].about + (f" ({KINDS[kind].cites})" if KINDS[kind].cites else "")] if kind in KINDS else []
    about += [f"reads the adapters of {options['of']}"] if options.get("of") else []
    if options.get("through"):
        about.append(f"first trained in {options['through']}")
    if options.get("trained_in"):
        about.append(f"one adapter, trained in {options['trained_in']}, for all languages")
    about += [TRAIN_SOURCES[name] for name in [str(options.get("train_source"))] if name in TRAIN_SOURCES]
    usual = KINDS[kind].fixed.get("test_source", KINDS[kind].test_source) if kind in KINDS else "machine"
    source = str(options.get("test_source"))
    if source != usual and source in TEST_SOURCES:  # else the kind itself says so
        about.append(TEST_SOURCES[source])
    if options.get("languages"):
        about.append(f"run only in {', '.join(map(str, options['languages']))}")
    return about
