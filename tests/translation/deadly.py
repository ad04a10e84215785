"""What stands for a `Route` in the tests of workers: it is put on the path, so that workers can import it."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Deadly:
    """Kills its process at the text `bad`, for as many times as it has deaths; `slow` tells its process and sleeps."""

    folder: Path
    deaths: int = 0
    source: str = "en"
    target: str = "sw"

    def engine(self) -> "Deadly":
        return self

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        if "bad" in texts and len(list(self.folder.iterdir())) < self.deaths:
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "slow" in texts:
            (self.folder / str(os.getpid())).touch()
            time.sleep(60)
        return [text.upper() for text in texts]
