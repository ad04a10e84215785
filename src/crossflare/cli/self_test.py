"""`crossflare doctor --self-test`: a line for each law as soon as it is checked."""

import time
from collections.abc import Iterator
from dataclasses import asdict

import typer

from crossflare.cli.terminal import BAD, OK, plain, print_json, say
from crossflare.libraries.guard import MOVING, installed, untested
from crossflare.selftest.verdict import Verdict, in_one_line

IMPORTS = "the libraries can be imported"


def self_test(as_json: bool) -> None:
    """Check the laws and print how they fare; exit with 1 if any fails."""
    versions = {library: found for library in MOVING if (found := installed(library))}
    if not as_json:
        say("  " + ", ".join(f"{library} {found}" for library, found in versions.items()))
    verdicts: list[Verdict] = []
    for verdict in _verdicts():
        verdicts.append(verdict)
        if not as_json:
            failure = "" if verdict.ok else f": {plain(verdict.failure)}"
            say(f"{OK if verdict.ok else BAD} {verdict.law} [dim]({verdict.seconds:.1f} s)[/]{failure}")
    failed = [verdict for verdict in verdicts if not verdict.ok]
    if as_json:
        laws = [asdict(verdict) | {"ok": verdict.ok} for verdict in verdicts]
        print_json({"ok": not failed, "versions": versions, "untested": untested(), "laws": laws})
    else:
        _sum_up(verdicts, failed)
    if failed:
        raise typer.Exit(1)


def _sum_up(verdicts: list[Verdict], failed: list[Verdict]) -> None:
    seconds = sum(verdict.seconds for verdict in verdicts)
    if not failed:
        say(f"{OK} all hold, {seconds:.1f} s")
        return
    outside = untested()
    cause = (
        f"the likely cause: {', '.join(outside)}; install a tested version"
        if outside
        else "all versions are tested ones: please report it, with what `crossflare doctor --json` prints"
    )
    say(f"{BAD} {len(failed)} of {len(verdicts)} fail; {plain(cause)}")


def _verdicts() -> Iterator[Verdict]:
    start = time.perf_counter()
    try:
        from crossflare.devices import best_device
        from crossflare.selftest.run import self_test

        device = best_device()
    except Exception as error:  # whatever a library raises: it is what the user wants to know
        yield Verdict(IMPORTS, time.perf_counter() - start, in_one_line(error))
        return
    yield Verdict(f"{IMPORTS}, and compute on {device}", time.perf_counter() - start)
    yield from self_test(device)
