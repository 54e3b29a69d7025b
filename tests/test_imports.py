"""Imports run one way: a module imports from its own level or below, and never in a circle."""

import ast
import subprocess
import sys

import corpus
import pytest

PACKAGE = corpus.CHECKOUT / "fairseq_intra"
#: From the bottom up: what a module or folder may be imported by stands further down.
LEVELS = [
    {
        "__init__",
        "run_fairseq",
        "import_hooks",
        "cores",
        "deferred_imports",
        "undisturbed_imports",
        "user_dir",
        "errors",
        "console",
        "files",
        "json_files",
        "write_errors",
        "processes",
        "languages",
        "last_checkpoint",
        "limits",
        "methods",
        "loss",
    },
    {"passes", "patches", "data"},
    {"checkpoint", "intra_distillation", "model_outputs"},
    {"adaptive_alpha", "criterion", "self_distillation"},
    {"late_start"},
    {"task", "fine_tuning"},
    {"runs", "translation"},
    {"sensitivity", "transfer"},
    {"cli", "plugin"},
]
#: `__init__` imports `plugin` where fairseq is loaded: the one arrow upward. What reads fairseq's registries at run
#: time sees to it by importlib.import_module that they are filled.
EXCEPTIONS = {("__init__", "plugin")}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """The modules of the package that a module imports, anywhere in it, as names with dots."""
    package = path.relative_to(PACKAGE.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1] * bool(node.level), *(node.module or "").split(".")]
            names = [".".join(filter(None, [*base, alias.name])) for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith(f"{PACKAGE.name}."):
                yield module_of(name.split(".")[1:])


def module_of(parts):
    """The module of the package that has these parts, of which the last may be a name in it."""
    path = PACKAGE.joinpath(*parts)
    return ".".join(parts if path.is_dir() or path.with_suffix(".py").exists() else parts[:-1]) or "__init__"


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def room(name):
    return name.split(".")[0]


def test_every_module_has_a_level():
    rooms = {room(name_of(path)) for path in modules()}
    assert rooms <= set().union(*LEVELS)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_arrow_points_upward(path):
    level = {name: number for number, names in enumerate(LEVELS) for name in names}
    here = room(name_of(path))
    for name in imported(path):
        arrow = (here, room(name))
        assert level.get(arrow[1], -1) <= level[here] or arrow in EXCEPTIONS, f"{here} imports {name}"


def test_there_is_no_circle():
    arrows = {name_of(path): set(imported(path)) for path in modules()}
    arrows["__init__"].discard("plugin")
    state = {}

    def visit(name, trail):
        assert state.get(name) != "open", " -> ".join([*trail, name])
        if name in arrows and name not in state:
            state[name] = "open"
            for other in arrows[name]:
                visit(other, [*trail, name])
            state[name] = "done"

    for name in arrows:
        visit(name, [])


def test_no_folder_is_one_that_fairseq_imports_by_itself():
    assert not {"tasks", "models"} & {path.name for path in PACKAGE.iterdir()}


def run(code, **more):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=corpus.environment(**more),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_the_loss_needs_torch_alone(tmp_path):
    """In an environment without fairseq, numpy's friends and all else that only fairseq brings."""
    for name in ("fairseq", "omegaconf", "hydra", "sacrebleu", "sklearn"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')\n")
    names = "intra_distillation_loss, intra_distillation_loss_on_features, x_divergence, js_divergence"
    code = f"from fairseq_intra.loss import {names}; import torch; print(x_divergence(torch.zeros(2, 3, 5)).tolist())"
    done = run(code, PYTHONPATH=f"{tmp_path}:{corpus.CHECKOUT}")
    assert done.stdout == "[0.0, 0.0, 0.0]\n", done.stderr


def test_without_fairseq_the_plugin_says_what_is_missing(tmp_path):
    code = "import sys, fairseq_intra; sys.modules['fairseq'] = None\n"
    code += "import importlib.util as u; find = u.find_spec\n"
    code += "u.find_spec = lambda name, *more: None if name == 'fairseq' else find(name, *more)\n"
    code += "import fairseq_intra.plugin"
    done = run(code)
    assert done.returncode == 1 and "ImportError: fairseq is not installed for Python 3" in done.stderr
    assert "scripts/install.sh" in done.stderr


@pytest.mark.parametrize("first", ["import fairseq_intra.loss", "import fairseq_intra", "import fairseq"])
def test_the_plugin_is_active_whatever_was_imported_first(first):
    code = f"""
{first}
import argparse
from fairseq import criterions, utils
utils.import_user_module(argparse.Namespace(user_dir={str(PACKAGE)!r}))
print("intra_distillation" in criterions.CRITERION_REGISTRY, hasattr(utils.import_user_module, "memo"))
from fairseq import checkpoint_utils
print(hasattr(checkpoint_utils.load_checkpoint_to_cpu, "__wrapped__"))
"""
    done = run(code)
    assert done.stdout == "True True\nTrue\n", done.stderr


def test_importing_the_package_loads_nothing():
    done = run("import sys, fairseq_intra; print('torch' in sys.modules, 'fairseq' in sys.modules)")
    assert done.stdout == "False False\n", done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version", "user-dir"])
def test_light_commands_load_neither_torch_nor_fairseq(argument):
    code = f"""
import sys
from fairseq_intra import cli
try:
    cli.main([{argument!r}])
except SystemExit as end:
    assert not end.code
print({{"torch", "fairseq", "numpy", "sacrebleu"}} & set(sys.modules))
"""
    done = run(code)
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


@pytest.mark.parametrize("module", ["runs.tables", "runs.task_table", "transfer.table", "sensitivity.table"])
def test_tables_are_made_without_torch_and_fairseq(module):
    """Which take longer to import than a table to make."""
    done = run(f"import sys, fairseq_intra.{module}\nprint({{'torch', 'fairseq'}} & set(sys.modules))")
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr
