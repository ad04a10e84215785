"""Apertium as Debian packages it: which pairs exist, what they are called, and what to install for one."""

from pathlib import Path

import langcodes

from crossflare.languages import all_languages, find_language

PROGRAMS = {
    "cg-proc": "cg3",
    "hfst-proc": "hfst",
    "lrx-proc": "apertium-lex-tools",
    "lsx-proc": "apertium-separable",
    "rtx-proc": "apertium-recursive",
    "lt-proc": "lttoolbox",
}
"""Programs of stages -> their Debian packages, where the names differ."""
DEBIAN_PAIRS = (
    "afr-nld arg-cat bel-rus br-fr cat-ita cat-srd dan-nor en-gl eng-cat eng-spa eo-ca eo-en eo-es eo-fr es-gl"
    " es-pt es-ro eu-en eu-es fr-es fra-cat fra-frp hbs-eng hbs-mkd hbs-slv ind-zlm isl-eng isl-swe mkd-bul"
    " mkd-eng nno-nob oc-ca oc-es oci-fra pol-szl por-cat pt-gl rus-ukr spa-arg spa-ast spa-cat spa-ita srd-ita"
    " swe-dan swe-nor urd-hin"
)
"""Pairs that Debian 12 packages as `apertium-<pair>`; most packages translate in both directions."""


def pivots(source: str, target: str, installed: str | None = None) -> list[tuple[str, str, str]]:
    """Return the languages between `source` and `target`: tag, and the packages of both steps.

    Args:
        source: BCP-47 tag.
        target: BCP-47 tag.
        installed: Count only pairs in this folder of modes; None counts what Debian packages.
    """
    found: list[tuple[str, str, str]] = []
    for language in all_languages():
        steps = [(source, language.tag), (language.tag, target)]
        first, second = ("".join(exact_packages(*step)[:1]) for step in steps)
        here = installed is None or all(mode_path(Path(installed), *step) for step in steps)
        if first and second and here and language.tag not in (source, target):
            found.append((language.tag, first, second))
    return found


def exact_packages(source: str, target: str) -> list[str]:
    """Return the Debian packages that hold a pair of languages."""
    ours = (set(codes(source)), set(codes(target)))
    names = [pair for pair in DEBIAN_PAIRS.split() if all(set(pair.split("-")) & codes for codes in ours)]
    return [f"apertium-{name}" for name in names if not ours[0] & ours[1]]


def pivot_advice(source: str, target: str, modes: str) -> str:
    """Return the addition to `advice` for a way through a third language."""
    here = pivots(source, target, modes)
    if here:
        return f"; or go through {find_language(here[0][0]).name}, which is installed: via: {here[0][0]}"
    between = pivots(source, target)
    return f"; or go through {find_language(between[0][0]).name}: via: {between[0][0]}" if between else ""


def codes(tag: str) -> list[str]:
    """Return the codes under which Apertium's modes may know a language."""
    language = find_language(tag)
    if language.apertium is None:
        return []
    short = langcodes.get(tag).language or ""
    group = ["nor"] if short in ("nb", "nn") else []
    return [language.apertium, *group] + ([short] if language.apertium != "hbs" else [])


def mode_path(folder: Path, source: str, target: str) -> Path | None:
    """Return the file of a pair's mode in `folder`; None when there is none."""
    names = [folder / f"{a}-{b}.mode" for a in codes(source) for b in codes(target)]
    return next((path for path in names if path.is_file()), None)


def advice(source: str, target: str, modes: str) -> str:
    """Return the advice for a pair that is not in the folder `modes`."""
    exact = exact_packages(source, target)
    if exact:
        return f"Apertium's {source} to {target} is not in {modes}; install the package: apt install {exact[0]}"
    ours = [set(codes(source)), set(codes(target))]
    sides = {pair: [set(pair.split("-")) & codes for codes in ours] for pair in DEBIAN_PAIRS.split()}
    near = [f"apertium-{pair}" for pair, (a, b) in sides.items() if a or b]
    listed = f"it has {', '.join(near)}" if near else "nor any with either language"
    return f"Debian has no Apertium package for {source} to {target}: {listed}; choose another engine"
