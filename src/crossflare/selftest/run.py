"""The table of laws, and the function that checks them one by one."""

import time
import warnings
from collections.abc import Callable, Iterator

import torch

from crossflare.libraries.transformers import quiet
from crossflare.selftest import Verdict, in_one_line, many_calls, one_call
from crossflare.selftest.models import Measure, Measures

Law = Callable[[torch.device], Measures]

LAWS: dict[str, Law] = {
    "writing with the cache is writing without it": one_call.cached,
    "a prompt by itself is answered as in a batch": one_call.prompt_alone,
    "a text by itself gives what it gives in a batch": one_call.row_alone,
    "padding changes nothing": one_call.padding,
    "a source changes the result, another one otherwise": one_call.source,
    "no source gives the value of the target alone": one_call.without_source,
    "with lora_B at zero it is the base model": one_call.fresh,
    "what is saved is what is loaded": one_call.saved,
    "checkpointing leaves the gradients as they are": many_calls.checkpointed,
    "two calls before both backwards keep apart": many_calls.two_forwards,
    "two threads keep apart": many_calls.threads,
}
"""Law -> the function that checks it."""
ELSEWHERE: dict[str, Law] = {"the device gives what the CPU gives": one_call.as_on_cpu}
"""More laws, for a device other than the CPU."""


def self_test(device: torch.device) -> Iterator[Verdict]:
    """Check all laws on a device, one after the other; an error in a law is its failure, and the others go on."""
    laws = LAWS if device.type == "cpu" else LAWS | ELSEWHERE
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with models this small, threads only wait for one another
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
