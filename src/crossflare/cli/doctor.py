"""The checks of `crossflare doctor`, and a line for each law of its self-test."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import requires
from pathlib import Path

import typer

from crossflare import devices
from crossflare.cli.terminal import BAD, OK, plain, print_json, say
from crossflare.errors import UserError
from crossflare.libraries.guard import MOVING, installed, outside, untested
from crossflare.selftest import Verdict, in_one_line


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is present or missing."""

    group: str
    name: str
    ok: bool
    found: str
    advice: str = ""
    """What to do where it is missing."""
    needed: bool = False
    """Whether crossflare cannot work without it."""


def examine() -> Iterator[Check]:
    """Yield all checks as they become known: first those without imports, last those with torch and transformers."""
    yield from _libraries()
    yield from _extras()
    yield from _translation()
    yield _data()
    yield from _device()
    yield from _models()


def _libraries() -> Iterator[Check]:
    yield _library("crossflare")
    yield Check("versions", "python", True, f"{platform.python_version()} on {platform.platform()}", needed=True)
    for name in ("torch", "transformers", "peft", "datasets", "safetensors"):
        yield _library(name)


def _library(name: str) -> Check:
    found = installed(name)
    how = outside(name)
    said = (
        "missing" if found is None else found if how is None else f"{found}, {how}: run `crossflare doctor --self-test`"
    )
    return Check("versions", name, found is not None, said, f"pip install {name}", needed=True)


def _device() -> list[Check]:
    try:
        import torch

        from crossflare.training.loop.memory import resolve
    except ImportError as error:
        return [Check("device", "torch", False, f"cannot be imported ({error})", "install it again", needed=True)]
    device = devices.best_device()
    kind = "cpu" if device.type == "cpu" else "gpu"
    name = f"{platform.machine()}, {os.cpu_count()} cores" if kind == "cpu" else devices.name_of(device)
    memory = devices.memory(device)
    fast = resolve("auto", device) == "bf16"
    return [
        Check("device", kind, True, name if memory is None else f"{name}, {memory / 2**30:.0f} GiB"),
        Check("device", "bf16", fast, "fast" if fast else "no instructions for it: fp32 is used"),
        Check("device", "threads", True, str(torch.get_num_threads())),
    ]


def _extras() -> Iterator[Check]:
    for extra, packages in _extra_packages().items():
        missing = [name for name in packages if installed(name) is None]
        found = f"missing {', '.join(missing)}" if missing else ", ".join(packages)
        yield Check("extras", extra, not missing, found, f'pip install "crossflare[{extra}]"')


def _extra_packages() -> dict[str, list[str]]:
    """Return the packages of each extra as the installed distribution declares them."""
    from packaging.requirements import Requirement

    extras: dict[str, list[str]] = {}
    for text in requires("crossflare") or []:
        wanted = Requirement(text)
        for extra in ("report", "demo", "multilingual", "mt", "bergamot", "language-id", "quant"):
            if wanted.marker is not None and wanted.marker.evaluate({"extra": extra}) and wanted.name != "crossflare":
                extras.setdefault(extra, []).append(wanted.name)
    return extras


def _models() -> Iterator[Check]:
    yield _hub()
    try:
        from crossflare.training.bases.packaged import BASES
    except ImportError:  # already reported with torch above
        return
    for base in BASES.values():
        try:
            weights, made = base.weights(), base.place()
        except UserError as error:
            yield Check("models", base.name, False, str(error))
            continue
        if base.conversion is not None and made is not None and not made.is_dir():
            size = f"its folder of {base.conversion.megabytes} MB is made at first use"
        else:
            size = _size(made or weights.parent)
        yield Check("models", base.name, True, f"{size}, hash as known, licence {base.licence} ({base.hub})")


def _hub() -> Check:
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    where = "offline: only cached models" if HF_HUB_OFFLINE else f"models are kept in {_short(Path(HF_HUB_CACHE))}"
    return Check("models", "hub", True, where)


def _data() -> Check:
    folder = os.environ.get("CROSSFLARE_DATA")
    advice = "export CROSSFLARE_DATA=FOLDER for recipes that name it"
    if not folder:
        return Check("data", "CROSSFLARE_DATA", False, "not set", advice)
    if not Path(folder).is_dir():
        return Check("data", "CROSSFLARE_DATA", False, f"{folder} is no folder", advice)
    from crossflare.tasks.sets import KNOWN_SETS

    there = [name for name in KNOWN_SETS if (Path(folder) / name).is_dir()]
    return Check("data", "CROSSFLARE_DATA", True, f"{_short(Path(folder))}: {', '.join(there) or 'no known set'}")


def _translation() -> list[Check]:
    checks = [Check("translation", "dictionary", True, "built in"), _bergamot()]
    command = shutil.which("apertium")
    advice = "install apertium and a pair (on Debian and Ubuntu: apt-get install apertium apertium-en-es)"
    if command is None:
        return [*checks, Check("translation", "apertium", False, "not installed", advice)]
    pairs = _apertium_pairs(command)
    return [*checks, Check("translation", "apertium", bool(pairs), ", ".join(pairs) or "no pair installed", advice)]


def _bergamot() -> Check:
    from crossflare.translation.engines.bergamot import PACKAGE

    found = installed(PACKAGE)
    said = "not installed" if found is None else f"English and Portuguese, {PACKAGE} {found}"
    return Check("translation", "bergamot", found is not None, said, 'pip install "crossflare[bergamot]"')


def _apertium_pairs(command: str) -> list[str]:
    try:
        listed = subprocess.run([command, "-l"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted(line.strip() for line in listed.splitlines() if line.strip())


def _size(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 2**20:.0f} MiB"


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


IMPORTS = "the libraries can be imported"


def show_self_test(as_json: bool) -> None:
    """Check the laws and print the results; exit with 1 if any fails."""
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
    except Exception as error:  # a library may raise anything, and the user wants to see it
        yield Verdict(IMPORTS, time.perf_counter() - start, in_one_line(error))
        return
    yield Verdict(f"{IMPORTS}, and compute on {device}", time.perf_counter() - start)
    yield from self_test(device)
