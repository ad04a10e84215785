"""What only some systems have is used behind a guard, and text is never in whatever encoding a system prefers."""

import ast

import pytest

ABSENT = {"fcntl", "termios", "pwd", "grp", "resource", "pty", "tty", "syslog", "readline", "curses"}
"""Modules that Windows lacks."""
ABSENT_NAMES = {
    "os.fork", "os.killpg", "os.setpgrp", "os.setpgid", "os.setsid", "os.getuid", "os.geteuid", "os.chown", "os.nice",
    "os.uname", "os.mkfifo", "os.sync", "os.pread", "os.pwrite", "os.fchmod", "os.O_DIRECTORY", "os.O_NOFOLLOW",
    "os.O_NONBLOCK", "os.kill", "os.getloadavg", "os.sched_getaffinity", "select.select", "select.poll",
    "signal.SIGKILL", "signal.SIGHUP", "signal.SIGUSR1", "signal.SIGUSR2", "signal.SIGALRM", "signal.SIGCHLD",
    "signal.SIGPIPE", "signal.SIGXFSZ", "signal.pause", "signal.alarm", "signal.pthread_sigmask",
}  # fmt: skip
"""Names that Windows lacks, or that do another thing there: os.kill ends a process at once, whatever the signal."""
UNIX = {
    "crossflare.translation.engines.apertium": "runs Apertium's programs, which Windows lacks: the engine refuses there"
}
PLAIN = {"crossflare.fusion.saved.adapter_files": "writes JSON in which everything but ASCII is escaped"}
TEXT = {"read_text": 0, "write_text": 1}
"""Methods of Path that take an encoding, and at which place."""


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def guarded(tree: ast.Module) -> set[ast.AST]:
    """Return the nodes that run on some systems only: those below `if sys.platform ...`, on either side."""
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp) and "sys.platform" in ast.unparse(node.test):
            inside |= set(ast.walk(node))
    return inside


def of_one_system(name: str, tree: ast.Module) -> list[str]:
    free, wrong = guarded(tree), []
    for node in ast.walk(tree):
        if node in free or name in UNIX:
            continue
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names if alias.name.split(".")[0] in ABSENT]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found = [module] if module.split(".")[0] in ABSENT else []
            found += [each for alias in node.names if (each := f"{module}.{alias.name}") in ABSENT_NAMES]
        elif isinstance(node, ast.Attribute):
            found = [dotted(node)] if dotted(node) in ABSENT_NAMES else []
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("get_context"):
            kinds = [each.value for each in node.args if isinstance(each, ast.Constant)]
            found = [f"get_context({kind!r})" for kind in kinds or ["default"] if kind != "spawn"]
        wrong += [f"{name}:{node.lineno} uses {each}" for each in found]
    return wrong


def in_any_encoding(name: str, tree: ast.Module) -> list[str]:
    wrong = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or name in PLAIN or any(k.arg == "encoding" for k in node.keywords):
            continue
        function, last = dotted(node.func), dotted(node.func).split(".")[-1]
        if last in TEXT and isinstance(node.func, ast.Attribute):
            text = len(node.args) <= TEXT[last]
        elif last == "open" and function not in ("os.open", "wave.open"):
            at = 1 if function in ("open", "io.open", "gzip.open") else 0
            modes = [k.value for k in node.keywords if k.arg == "mode"] + node.args[at : at + 1]
            # `path.open(what)` is no mode but another kind of opening; `open(path, what)` may be text.
            mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else "r" if at or not modes else None
            text = isinstance(mode, str) and set(mode) <= set("rwaxbt+") and "b" not in mode
        else:
            text = False
        if text:
            wrong.append(f"{name}:{node.lineno} calls {function or last} without an encoding")
    return wrong


def test_nothing_needs_one_system(trees: dict[str, ast.Module]) -> None:
    assert [line for name, tree in trees.items() for line in of_one_system(name, tree)] == []


def test_text_has_an_encoding(trees: dict[str, ast.Module]) -> None:
    assert [line for name, tree in trees.items() for line in in_any_encoding(name, tree)] == []


def test_exceptions_are_still_needed(trees: dict[str, ast.Module]) -> None:
    for name in UNIX:
        assert of_one_system("crossflare.x", trees[name])
    for name in PLAIN:
        assert in_any_encoding("crossflare.x", trees[name])


@pytest.mark.parametrize(
    "code",
    [
        "import fcntl",
        "def f():\n    import resource",
        "from termios import tcgetattr",
        "from os import fork",
        "import os\nos.fork()",
        "import signal\nsignal.signal(signal.SIGHUP, f)",
        "os.kill(1, signal.SIGTERM)",
        "flags = os.O_DIRECTORY",
        "multiprocessing.get_context('fork')",
        "get_context()",
        "import sys\nif sys.flags.debug:\n    import pwd",
    ],
)
def test_control_what_one_system_lacks_is_seen(code: str) -> None:
    assert of_one_system("crossflare.x", ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nif sys.platform != 'win32':\n    import fcntl",
        "if sys.platform == 'win32':\n    a()\nelse:\n    os.setpgrp()",
        "signal.signal(signal.SIGTERM, f)",
        "get_context('spawn')",
        "os.getpid()",
    ],
)
def test_control_guarded_names_are_let_through(code: str) -> None:
    assert not of_one_system("crossflare.x", ast.parse(code))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open(path)", 1),
        ("path.open()", 1),
        ("path.open('a')", 1),
        ("path.read_text()", 1),
        ("path.write_text(text)", 1),
        ("path.open('rb')", 0),
        ("open(path, 'wb')", 0),
        ("open(path, encoding='utf-8')", 0),
        ("path.read_text('utf-8')", 0),
        ("path.write_text(text, 'utf-8')", 0),
        ("path.read_bytes()", 0),
        ("os.open(path, os.O_RDONLY)", 0),
        ("known.open(Path(folder))", 0),
    ],
)
def test_control_text_without_an_encoding_is_seen(code: str, found: int) -> None:
    assert len(in_any_encoding("crossflare.x", ast.parse(code))) == found
