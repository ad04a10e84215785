"""The table of laws, and what checks them one by one."""

import time
import warnings
from collections.abc import Callable, Iterator

import torch

from crossflare.progress import quiet
from crossflare.selftest import reading, sharing, writing
from crossflare.selftest.measure import Measure, Measures
from crossflare.selftest.verdict import Verdict, in_one_line

Law = Callable[[torch.device], Measures]

LAWS: dict[str, Law] = {
    "writing with the cache is writing without it": writing.cached,
    "a prompt by itself is answered as in a batch": writing.alone,
    "a text by itself gives what it gives in a batch": reading.alone,
    "padding changes nothing": reading.padding,
    "a source changes the result, another one otherwise": reading.source,
    "no source gives the value of the target alone": reading.no_source,
    "with lora_B at zero it is the base model": reading.fresh,
    "what is saved is what is loaded": reading.saved,
    "checkpointing leaves the gradients as they are": sharing.checkpointed,
    "two calls before both backwards keep apart": sharing.two_forwards,
    "two threads keep apart": sharing.threads,
}
"""What is checked, and how."""
ELSEWHERE: dict[str, Law] = {"the device gives what the CPU gives": reading.as_on_cpu}
"""More laws, on another device than the CPU."""


def device_in_use() -> torch.device:
    """Return the accelerator of this machine, or the CPU where there is none."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


def self_test(device: torch.device) -> Iterator[Verdict]:
    """Check all laws on a device, one after the other; an error in one is its failure, and the others go on."""
    laws = LAWS if device.type == "cpu" else LAWS | ELSEWHERE
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # models this small only wait for one another
    try:
        for name, law in laws.items():
            yield _check(name, law, device)
    finally:
        torch.set_num_threads(threads)


def _check(name: str, law: Law, device: torch.device) -> Verdict:
    start, made, raised = time.perf_counter(), list[Measure](), ""
    with warnings.catch_warnings(), quiet(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            for measure in law(device):
                made.append(measure)
        except Exception as error:
            raised = in_one_line(error)
    broken = [measure for measure in made if not measure.holds]
    failure = raised or ("" if made else "nothing was compared")
    if broken:
        after = f", then {raised}" if raised else ""
        failure = f"{broken[0]} ({len(broken)} of {len(made)} comparisons fail{after})"
    return Verdict(name, time.perf_counter() - start, failure)
