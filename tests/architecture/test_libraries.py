"""Outside of `crossflare.libraries` only the documented API of other libraries is used."""

import ast

import pytest

DOCUMENTED = {
    "transformers": {"transformers", "transformers.utils", "transformers.modeling_outputs"},
    "peft": {"peft"},
    "accelerate": {"accelerate", "accelerate.tracking", "accelerate.utils"},
    "datasets": {"datasets"},
    "ctranslate2": {"ctranslate2", "ctranslate2.converters"},
    "bitsandbytes": {"bitsandbytes", "bitsandbytes.nn", "bitsandbytes.functional"},
}
"""Library -> the modules whose names its reference lists."""
UTILS = {"ModelOutput", "logging"}
"""Of `transformers.utils`, what the reference lists and we use."""
RENAMED = {"past_key_values", "cache"}
"""Arguments of transformers' models that releases name differently: they are read in `crossflare.libraries`."""
FENCED = ("crossflare.libraries",)
"""Where the laws do not hold: behind the fence, and the method, which is being moved behind it."""
PRIVATE = {"_exit": "of the module os, where it is documented"}
"""Private names that may be read of other objects, and why."""


def named(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{named(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def undocumented_imports(name: str, tree: ast.Module) -> list[str]:
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [(node.module or "", alias.name) for alias in node.names]
        elif (
            isinstance(node, ast.Call)
            and named(node.func).split(".")[-1] in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found = [(str(node.args[0].value), "")]
        else:
            continue
        for module, what in found:
            library = module.split(".")[0]
            if library not in DOCUMENTED:
                continue
            hidden = module not in DOCUMENTED[library] or what.startswith("_")
            if hidden or (module == "transformers.utils" and what not in UTILS):
                wrong.append(f"{name}:{node.lineno} imports {what or module} of {module}")
    return wrong


def private_names(name: str, tree: ast.Module) -> list[str]:
    """Return where a name with an underscore is read of anything but this module's own objects.

    A private name that the module itself defines (as a method or on `self`) may be read of its own kind.
    """
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and named(node.value) in ("self", "cls") and isinstance(node.ctx, ast.Store)
    }
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner, attribute = node.value, node.attr
        elif (
            isinstance(node, ast.Call)
            and named(node.func) in ("getattr", "setattr", "hasattr", "delattr")
            and isinstance(node.args[1], ast.Constant)
        ):
            owner, attribute = node.args[0], str(node.args[1].value)
        else:
            continue
        dunder = attribute.startswith("__") and attribute.endswith("__")
        if not attribute.startswith("_") or dunder or attribute in own | PRIVATE.keys():
            continue
        inherited = isinstance(owner, ast.Call) and named(owner.func) == "super"
        if named(owner) not in ("self", "cls") and not inherited:
            wrong.append(f"{name}:{node.lineno} reads {ast.unparse(node)}")
    return wrong


def renamed_names(name: str, tree: ast.Module) -> list[str]:
    """Return where an argument is read or given by a name that some releases do not know."""
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "past_key_values":
            wrong.append(f"{name}:{node.value.lineno} passes {node.arg}")
        elif isinstance(node, ast.Call) and named(node.func).split(".")[-1] in ("get", "pop", "getattr", "hasattr"):
            given = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            wrong += [f"{name}:{node.lineno} asks for {each}" for each in given if each in RENAMED]
    return wrong


LAWS = (undocumented_imports, private_names, renamed_names)


def broken(trees: dict[str, ast.Module]) -> list[str]:
    outside = {name: tree for name, tree in trees.items() if not name.startswith(FENCED)}
    return [line for name, tree in outside.items() for law in LAWS for line in law(name, tree)]


def test_only_documented_names_outside_of_the_fence(trees) -> None:
    assert broken(trees) == []


@pytest.mark.parametrize(
    "code",
    [
        "from transformers.trainer_callback import PrinterCallback",
        "from transformers.utils.generic import ModelOutput",
        "from transformers.utils import cached_file",
        "import transformers.models.bert.modeling_bert",
        "from peft.tuners.lora import LoraLayer",
        "def f():\n    from transformers import _private",
        "import importlib\nimportlib.import_module('peft.mapping')",
        "model.config._attn_implementation",
        "model.config._attn_implementation = 'eager'",
        "type(config) in kind._model_mapping",
        "getattr(config, '_commit_hash', None)",
        "class A:\n    def f(self):\n        return self.model._tied",
        "torch.ops.mkldnn._is_supported()",
        "kwargs.get('past_key_values')",
        "model(past_key_values=None)",
        "getattr(output, 'cache', None)",
    ],
)
def test_control_what_is_undocumented_is_seen(code: str) -> None:
    assert len(broken({"crossflare.training.x": ast.parse(code)})) == 1
    assert broken({"crossflare.libraries.x": ast.parse(code)}) == []


@pytest.mark.parametrize(
    "code",
    [
        "from transformers import AutoConfig, Trainer",
        "from transformers.utils import ModelOutput, logging",
        "from peft import PeftModel",
        "import datasets",
        "class A:\n    def __init__(self):\n        self._x = 1\n    def f(self, other):\n        return other._x",
        "class A(Base):\n    def f(self):\n        return self._inherited + super()._inherited",
        "type(x).__name__",
        "getattr(x, name)",
    ],
)
def test_control_what_is_documented_is_let_through(code: str) -> None:
    assert broken({"crossflare.training.x": ast.parse(code)}) == []
