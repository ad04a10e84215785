"""The weights of a model for transformers: which of its files have them, and how they become files of safetensors.

Weights in safetensors stay as they are. Those that only `torch.save` wrote are converted by `disk.state_dict`, in a
process of its own whose memory and time are bounded.
"""

import re
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from crossflare.disk.files import MANIFEST, digest_file, write_json
from crossflare.disk.state_dict import to_safetensors
from crossflare.disk.untrusted import read_small_json, regular
from crossflare.errors import UserError, listed
from crossflare.jobs import GivenUpError, Processes

CONFIG = "config.json"
BESIDE = re.compile(
    r"\w[\w.-]*\.(?:json|txt|model|spm|bpe|codes|tiktoken|jinja|md)|(?:LICEN[CS]E|NOTICE|USE_POLICY)[\w-]*", re.ASCII
)
"""Files that are taken beside the weights: configuration, tokenizer, card and licence; none of them can run."""
FORMS = {"safetensors": ("model", "safetensors"), "pickle": ("pytorch_model", "bin")}
"""Form of weights -> the beginning and the ending of their files' names, the better form first."""
MEMORY, SECONDS, PER_SECOND = 4 << 30, 120, 1 << 21
"""The most address space of the process that converts in bytes; its seconds, and the bytes that add one."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Which files of a model are taken."""

    beside: tuple[str, ...]
    weights: tuple[str, ...]
    pickled: bool
    index: str | None
    """The file that says which weights are in which file; None where one file has all."""

    @property
    def all(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.beside, *self.weights, *([self.index] if self.index else []))


def choose_files(model: str, names: Collection[str]) -> ModelFiles:
    """Return the files to take."""
    for form, (stem, ending) in FORMS.items():
        one, index = f"{stem}.{ending}", f"{stem}.{ending}.index.json"
        shards = sorted(name for name in names if re.fullmatch(rf"{stem}-\d+-of-\d+\.{ending}", name, re.ASCII))
        weights = [one] if one in names else shards if index in names else []
        if not weights:
            continue
        if CONFIG not in names:
            raise UserError(f"{model}: it has {weights[0]}, but no {CONFIG}; expected a model of transformers")
        beside = [name for name in names if BESIDE.fullmatch(name) and ".index." not in name and name != MANIFEST]
        return ModelFiles(tuple(sorted(beside)), tuple(weights), form == "pickle", None if one in names else index)
    if "adapter_config.json" in names:
        raise UserError(
            f"{model}: this is an adapter, which crossflare opens by its name; fetch the base that it names"
        )
    found = listed(sorted(names), most=6) or "nothing"
    raise UserError(f"{model}: expected model.safetensors or pytorch_model.bin, found {found}; choose another model")


def convert_weights(model: str, files: ModelFiles, source: Path, folder: Path) -> dict[str, Any]:
    """Write weights that `torch.save` wrote into the folder as safetensors; return what became of each file."""
    made = {name: name.replace("pytorch_model", "model").replace(".bin", ".safetensors") for name in files.weights}
    jobs = [(regular(source, name), folder / made[name]) for name in files.weights]
    seconds = SECONDS + sum(path.stat().st_size for path, _ in jobs) // PER_SECOND
    tied: dict[str, dict[str, str]] = {}
    try:
        for done in Processes(1, partial(_bound, MEMORY, seconds)).run(_converted, jobs, again=0):
            if done is not None:
                tied[done[0][1].name] = done[1]
    except GivenUpError as error:
        raise UserError(
            f"{model}: reading its weights took more memory or time than is allowed; nothing of it was run"
        ) from error
    if files.index is not None:
        index = read_small_json(regular(source, files.index), 1 << 24)
        places = {name: made.get(place, place) for name, place in _weight_map(model, files.index, index).items()}
        left_out = {name for names in tied.values() for name in names}
        places = {name: place for name, place in places.items() if name not in left_out}
        write_json(folder / "model.safetensors.index.json", {**index, "weight_map": places})
    return {
        made[name]: {"from": name, "sha256": digest_file(source / name), "tied": tied[made[name]]}
        for name in files.weights
    }


def _converted(job: tuple[Path, Path]) -> dict[str, str]:
    return to_safetensors(*job)


def _bound(memory: int, seconds: int, number: int) -> None:
    """Bound the memory and the time of this process, where the system can."""
    if sys.platform != "win32":
        import resource

        for what, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
            with suppress(ValueError, OSError):  # a system that lacks this bound, or has a lower one
                resource.setrlimit(what, (most, most))


def _weight_map(model: str, name: str, index: Any) -> dict[str, str]:
    found = cast(dict[str, Any], index).get("weight_map") if isinstance(index, dict) else None
    places = cast(dict[str, Any], found) if isinstance(found, dict) else {}
    if not places or not all(isinstance(place, str) for place in places.values()):
        raise UserError(f"{model}: {name} does not say where the weights are; choose another model")
    return places


def check_weights(model: str, files: ModelFiles, folder: Path) -> None:
    """Open each file of weights, and compare their names with the index."""
    from safetensors import SafetensorError, safe_open

    held: set[tuple[str, str]] = set()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "numpy") as opened:
                held |= {(name, path.name) for name in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UserError(f"{model}: {path.name} is damaged ({error!s:.100}); fetch or copy it again") from error
    if files.index is not None:
        name = "model.safetensors.index.json"
        places = _weight_map(model, name, read_small_json(folder / name, 1 << 24))
        wrong = sorted(each for each, place in places.items() if (each, place) not in held)
        if wrong:
            raise UserError(
                f"{model}: {name} says that {places[wrong[0]]!a:.80} has {wrong[0]!a:.80}, which it has not"
            )
