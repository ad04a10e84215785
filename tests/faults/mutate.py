"""Take each flush, rename, lock and check out of the reliability code, one at a time: some test must turn red.

    python tests/faults/mutate.py [MODULE ...]      only these modules, such as files.py; --list: only say what there is

The package is copied; each mutation is made in the copy, and the tests named for its module run in a fork of this
process, which has imported the libraries already. Whatever survives is printed at the end, and is a failure. Counts and
survivors are kept for docs/reliability.md.
"""

import ast
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
STATE = ROOT / "docs" / "results" / "reliability.json"
CALLS = {
    "fsync", "sync", "replace", "ftruncate", "chmod", "acquire", "release", "recover_dir", "clear_unfinished", "_swap",
    "_cut_torn_line", "leave_to_parent", "truncate", "remove", "_refuse_step", "load_state_dict", "unpack_random",
    "unpack_optimizer", "put_trained", "act", "write_json", "compare", "_drop", "_warn",
}  # fmt: skip
"""Calls that stand for themselves, and that something depends on."""
CHECKS = ("check", "_check")
"""How functions are called that refuse."""
TESTS = {
    "disk/files.py": [
        "files/test_order.py", "files/test_open.py", "files/test_point_to.py", "files/test_faults.py",
        "outside/test_stranger_folder.py",
    ],
    "disk/locks.py": ["test_locks.py"],
    "disk/untrusted.py": ["outside/test_stranger_folder.py", "outside/test_stranger_card.py"],
    "translation/store.py": ["translation/test_store.py", "outside/test_damaged_translations.py"],
    "translation/states.py": ["translation/test_states.py"],
    "fusion/saved/adapter_files.py": [
        "fusion/test_damage.py", "fusion/test_saving.py", "outside/test_stranger_folder.py",
    ],
    "fusion/saved/adapter_check.py": [
        "fusion/test_damage.py", "outside/test_stranger_folder.py", "outside/test_stranger_peft.py",
    ],
    "fusion/saved/adapter_config.py": ["fusion/test_damage.py", "outside/test_stranger_card.py"],
    "training/loop/checkpoints.py": [
        "training/test_recipe.py", "training/test_resume.py", "faults/test_training.py",
    ],
    "training/loop/loop.py": ["training/test_recipe.py", "training/test_resume.py", "faults/test_training.py"],
    "training/loop/fit.py": [
        "training/test_recipe.py", "training/test_distributed.py", "training/test_resume.py", "faults/test_training.py",
    ],
    "training/loop/interrupts.py": ["training/test_interrupts.py", "faults/test_training.py"],
    "evaluation/record.py": ["evaluation/test_record.py", "experiment/test_damage.py"],
    "experiment/running/news.py": ["experiment/test_news.py", "faults/test_grid.py"],
}  # fmt: skip
"""Module -> the tests that must see a mutation of it, below tests/."""
SAME = {
    "translation/store.py: lock.release()": "a lock that nothing refers to is freed as well",
    "translation/store.py: leave_to_parent(lock)": "only older releases of filelock free a forked process's lock",
    "disk/locks.py: lock.release()": "a lock that nothing refers to is freed as well",
    "disk/locks.py: if lock is not None": "a lock that nothing refers to is freed as well",
}
"""Mutations that change nothing that could be seen, and why."""
SECONDS = 600
"""After so long a run of tests counts as one that hangs, which is seen, too."""


class Mutation(NamedTuple):
    """One thing taken out."""

    module: str
    line: int
    what: str
    text: str
    """The whole module without it."""


def mutations(module: str, text: str) -> Iterator[Mutation]:
    """Yield each mutation of a module."""
    lines = text.encode().splitlines(keepends=True)

    def without(node: ast.AST, instead: str) -> str:
        begin, end = node.lineno - 1, node.end_lineno - 1  # type: ignore[attr-defined]
        before = b"".join(lines[:begin]) + lines[begin][: node.col_offset]  # type: ignore[attr-defined]
        after = lines[end][node.end_col_offset :] + b"".join(lines[end + 1 :])  # type: ignore[attr-defined]
        return (before + instead.encode() + after).decode()

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr | ast.Return) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func).split(".")[-1]
            if name in CALLS or name.startswith(CHECKS):
                instead = "pass" if isinstance(node, ast.Expr) else "return None"
                if isinstance(node, ast.Expr) or name in CALLS:
                    yield Mutation(module, node.lineno, ast.unparse(node).splitlines()[0], without(node, instead))
        elif isinstance(node, ast.If) and _refuses(node.body):
            yield Mutation(module, node.lineno, f"if {ast.unparse(node.test)}", without(node.test, "False"))


def _refuses(body: list[ast.stmt]) -> bool:
    last = body[-1]
    called = isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and ast.unparse(last.value.func)
    if isinstance(last, ast.Return) and isinstance(last.value, ast.Constant):
        return isinstance(last.value.value, str)  # why a row of the store is damaged
    return isinstance(last, ast.Raise) or (isinstance(called, str) and called.split(".")[-1] in CALLS)


def survives(mutation: Mutation, copy: Path) -> bool:
    """Run the tests of a mutation's module against the copy; whether all of them pass."""
    path = copy / "crossflare" / mutation.module
    sound = path.read_text(encoding="utf-8")
    path.write_text(mutation.text, encoding="utf-8")
    try:
        return _run(TESTS[mutation.module], copy) == 0
    finally:
        path.write_text(sound, encoding="utf-8")


def _run(tests: list[str], copy: Path) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            sink = os.open(copy / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for handle in (1, 2):
                os.dup2(sink, handle)
            sys.path.insert(0, str(copy))
            os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
            sys.dont_write_bytecode = True
            import pytest

            wanted = [f"tests/{name}" for name in tests if (ROOT / "tests" / name).is_file()]
            base = f"--basetemp={copy / 'temporary'}"
            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--timeout=90", base, *wanted])
        finally:
            os._exit(code)
    end = time.monotonic() + SECONDS
    ended = None
    while ended is None and time.monotonic() < end:
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)  # with what its tests have left running
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(words: list[str]) -> int:
    """Print a line for each mutation, and the survivors once more."""
    only = [word for word in words if not word.startswith("-")]
    os.chdir(ROOT)
    import datasets  # noqa: F401
    import hypothesis  # noqa: F401
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401

    torch.set_num_threads(1)
    survivors: list[str] = []
    counts: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        shutil.copytree(ROOT / "src" / "crossflare", copy / "crossflare", ignore=shutil.ignore_patterns("__pycache__"))
        for module in only or TESTS:
            path = ROOT / "src" / "crossflare" / module
            if not path.is_file():
                continue
            found = list(mutations(module, path.read_text(encoding="utf-8")))
            if "--list" in words:
                print("\n".join(f"{each.module}:{each.line} {each.what}" for each in found))
                continue
            if (code := _run(TESTS[module], copy)) != 0:
                print((copy / "log.txt").read_text(encoding="utf-8", errors="replace")[-3000:])
                raise SystemExit(f"{module}: its tests fail before anything is taken out ({code})")
            counts[module] = {"mutations": len(found), "red": 0, "same": 0}
            for each in found:
                survived = survives(each, copy)
                counts[module]["red"] += not survived
                counts[module]["same"] += survived and f"{each.module}: {each.what}" in SAME
                line, same = f"{each.module}:{each.line} {each.what}", SAME.get(f"{each.module}: {each.what}")
                print(
                    "survived" if survived else "red     ", line, f"({same})" if survived and same else "", flush=True
                )
                survivors += [line] if survived and not same else []
            _keep(counts, survivors)
    print(f"{len(survivors)} survived" + "".join(f"\n  {line}" for line in survivors))
    return bool(survivors)


def _keep(counts: dict[str, dict[str, int]], survivors: list[str]) -> None:
    """Put what was found of these modules into the state that docs/reliability.md is written from."""
    state = json.loads(STATE.read_text(encoding="utf-8"))
    state.setdefault("mutations", {}).update(counts)
    # Without their lines, which move with every change.
    others = [line for line in state.get("survivors", []) if line.partition(": ")[0] not in counts]
    ours = [f"{module.partition(':')[0]}: {what}" for module, _, what in (line.partition(" ") for line in survivors)]
    state["survivors"] = others + ours
    STATE.write_text(json.dumps(state, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
