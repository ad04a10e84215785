"""Runs tiny trainings on one process or two, and says how each ended; a program, since only a fresh one may fork.

    python pair.py CONFTEST FOLDER NAME...    each NAME is one of SCENARIOS; prints one JSON object, name -> result

The imports take longer than the runs, so every run is a fork; what torchrun would set is set here.
"""

import dataclasses
import importlib.util
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from crossflare import FlareConfig
from crossflare.training.forms.choosing import HeadForm
from crossflare.training.loop import checkpoints, distributed
from crossflare.training.loop.checkpoints import copy_trained
from crossflare.training.loop.fit import fit
from crossflare.training.loop.settings import Settings

torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("lab", sys.argv[1])
lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lab)
folder = Path(sys.argv[2])
SETTINGS = Settings(
    lr=1e-2,
    epochs=7,
    batch_size=8,
    accumulation=2,
    evaluations=4,
    max_length=16,
    precision="fp32",
    save_steps=1,
    select="last",
)
"""21 steps over 41 rows: the last batch has one row, which leaves one process of two without any."""


def make(kind, dropout=0.0):
    base = lab.make_model(adapter=False, dropout=dropout)
    shape = {"r": 2, "target_modules": ["query", "value"], "task_type": "SEQ_CLS", "lora_dropout": dropout}
    if kind == "lora":
        return get_peft_model(base, LoraConfig(**shape))
    torch.manual_seed(1)
    return get_peft_model(
        base, FlareConfig(**shape, fusion=kind, alignment="none" if "attention" in kind else "position")
    )


def rows_of(form, count, part, seed):
    split = lab.make_split(count, part, seed)
    # Sources are rare: in many a share no row has one, and phi's own weights get no gradient there.
    return split, form.encode(
        [e if n % 9 == 0 else dataclasses.replace(e, source=()) for n, e in enumerate(split.examples)]
    )


def train(name, kind="lora", settings=SETTINGS, loss=None, dropout=0.0):
    model = make(kind, dropout)
    form = HeadForm(lab.TASK, lab.make_tokenizer(), 16, with_source=kind != "lora")
    _, rows = rows_of(form, 41, "train", 0)
    dev, dev_rows = rows_of(form, 20, "dev", 1)

    def score(model, precision):
        assert distributed.is_main(), "the first process scores"
        return lab.accuracy(form.read(model, dev.examples, dev_rows, 8, precision, "scoring"), dev)

    calls = [0]

    def counted(model, batch, *more):
        calls[0] += 1
        value = form.loss(model, batch, *more)
        return value if loss is None else loss(calls[0], value)

    with distributed.together():
        outcome = fit(model, rows, form.collate, counted, score, settings, folder / name, {"data": "tiny"})
    save_file(
        copy_trained(model),
        folder / f"{name}.{distributed.rank()}of{distributed._group.size if distributed._group else 1}",
    )
    return {"curve": [dataclasses.astuple(p) for p in outcome.curve], "chosen": outcome.chosen,
            "best": outcome.best_score, "steps": outcome.steps, "resumed": outcome.resumed_from}  # fmt: skip


def child(work, rank, size, port, path):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    code, said = 1, {}
    try:
        if size > 1:
            distributed.start()
            if rank:
                checkpoints.write_checkpoint = checkpoints.newest = checkpoints.locked = (
                    None  # the first process's business
                )
        said = work() or {}
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        said = {"error": type(end).__name__, "text": str(end)}
    except BaseException as error:
        said = {"error": type(error).__name__, "text": str(error)}
        if not isinstance(error, (distributed.UserError, KeyboardInterrupt)):
            traceback.print_exc()
    path.write_text(json.dumps(said))
    sys.stdout.flush()
    os._exit(code)


def launch(work, size=2):
    """Fork `size` processes that do `work`, and return what each said, its exit code, and the time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [folder / f"said.{rank}" for rank in range(size)]
    for path in paths:
        path.unlink(missing_ok=True)
    begun, children = time.monotonic(), []
    for rank in range(size):
        pid = os.fork()
        if not pid:
            child(work, rank, size, port, paths[rank])
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    said = [json.loads(path.read_text()) if path.exists() else None for path in paths]
    return {"codes": codes, "said": said, "seconds": time.monotonic() - begun}


def difference(first, second):
    a, b = load_file(folder / first), load_file(folder / second)
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max()) for key in a)


def same(kind):
    """One process against two."""
    ends = {size: launch(lambda name=f"{kind}{size}": train(name, kind), size) for size in (1, 2)}
    start = make(kind)
    save_file(copy_trained(start), folder / f"{kind}.start")
    return {
        "ends": ends,
        "between": difference(f"{kind}1.0of1", f"{kind}2.0of2"),
        "processes": difference(f"{kind}2.0of2", f"{kind}2.1of2"),
        "moved": difference(f"{kind}1.0of1", f"{kind}.start"),
    }


def at(number, act, rank=None):
    """Return a loss that acts at its `number`-th call on one process, or on all."""

    def loss(call, value):
        return act(value) if call == number and rank in (None, distributed.rank()) else value

    return loss


def die(value):
    os.kill(os.getpid(), signal.SIGKILL)


def killed():
    """All processes shot twice, with dropout, against an undisturbed pair."""
    whole = launch(lambda: train("whole", dropout=0.1))
    shots = [launch(lambda k=k: train("shot", dropout=0.1, loss=at(k, die))) for k in (9, 14)]
    alone = launch(lambda: train("shot", dropout=0.1), 1)
    again = launch(lambda: train("shot", dropout=0.1))
    return {"whole": whole, "shots": shots, "alone": alone, "again": again,
            "difference": difference("whole.0of2", "shot.0of2")}  # fmt: skip


def regrouped():
    """Without anything random, one process may go on where two were shot."""
    one = launch(lambda: train("one"), 1)
    shot = launch(lambda: train("regrouped", loss=at(20, die)))
    on = launch(lambda: train("regrouped"), 1)
    return {"one": one, "shot": shot, "on": on, "difference": difference("one.0of1", "regrouped.0of1")}


def lost():
    """The second process dies alone; then the first."""
    return [launch(lambda rank=rank: train(f"lost{rank}", loss=at(9, die, rank))) for rank in (1, 0)]


def short(value):
    raise torch.OutOfMemoryError("CUDA out of memory")


def failed():
    """Too little memory on one process, a loss that is not a number, a full disk, a bug."""
    memory = launch(lambda: train("memory", loss=at(9, short, 1)))
    nan = launch(lambda: train("nan", loss=at(9, lambda value: value * float("nan"), 1)))
    bug = launch(lambda: train("bug", loss=at(9, lambda value: {}["key"], 1)))

    def full():
        if distributed.is_main():

            def write(*_):
                raise distributed.UserError("the disk is full")

            checkpoints.write_checkpoint = write
        return train("full")

    return {"memory": memory, "nan": nan, "bug": bug, "full": launch(full)}


def signalled():
    """One process alone gets the signal."""
    end = launch(lambda: train("signalled", loss=at(9, lambda v: os.kill(os.getpid(), signal.SIGTERM) or v, 1)))
    return {**end, "saved": sorted(path.name for path in (folder / "signalled").glob("step-*"))}


def seams():
    """What the group itself promises."""

    def work():
        said = {"outside": distributed.size()}
        with distributed.together():
            said["inside"] = distributed.size()
            said["told"] = distributed.from_main(lambda: [distributed.rank(), distributed.size()])
            order = folder / "order"
            distributed.main_first(lambda: order.open("a").write(str(distributed.rank())))
        with distributed.together():
            said["order"] = order.read_text()
        if distributed.is_main():
            distributed.lead("first")
            distributed.lead(None)
        else:
            said["followed"] = [distributed.follow(), distributed.follow()]
        said["variables"] = [name for name in distributed.LAUNCHER if name in os.environ]
        return said

    return launch(work)


def unlike():
    """The processes do not train the same model."""

    def work():
        if not distributed.is_main():
            lab.make_model = lambda *a, old=lab.make_model, **k: old(5, **k)
        return train("unlike")

    return launch(work)


def wrapped():
    """A FLARE model under torch's own DistributedDataParallel, as with a Trainer of the user's."""
    form = HeadForm(lab.TASK, lab.make_tokenizer(), 16, with_source=True)
    _, rows = rows_of(form, 16, "train", 0)

    def gradients(model, batch):
        form.loss(model, batch).backward()
        inner = getattr(model, "module", model)
        return {n: p.grad.clone() for n, p in inner.named_parameters() if p.grad is not None}

    def work():
        rank, found = distributed.rank(), {}
        for kind in ("add_relu", "cross_attention"):
            whole = gradients(make(kind), form.collate([rows[i] for i in range(16)]))
            ddp = torch.nn.parallel.DistributedDataParallel(make(kind))
            mine = gradients(ddp, form.collate([rows[i] for i in range(8 * rank, 8 * rank + 8)]))
            assert whole.keys() == mine.keys()
            found[kind] = max(float((whole[n] - mine[n]).abs().max()) for n in whole)
        return found

    return launch(work)


SCENARIOS = {
    "lora": lambda: same("lora"), "add_relu": lambda: same("add_relu"), "attention": lambda: same("cross_attention"),
    "killed": killed, "regrouped": regrouped, "lost": lost, "failed": failed, "signalled": signalled, "seams": seams,
    "unlike": unlike, "wrapped": wrapped,
}  # fmt: skip

if __name__ == "__main__":
    print(json.dumps({name: SCENARIOS[name]() for name in sys.argv[3:]}))
