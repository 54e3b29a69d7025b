"""The wheel: what is in it, and that whoever has only installed it can do everything."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import corpus
import pytest
from documents import blocks

PACKAGE = corpus.CHECKOUT / "fairseq_intra"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    base = tmp_path_factory.mktemp("wheel")
    # A copy, as setuptools leaves build/ behind.
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(corpus.CHECKOUT / name, base)
    shutil.copytree(PACKAGE, base / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            base,
            base,
        ],
        env=corpus.environment(),
        check=True,
    )
    (made,) = base.glob("*.whl")
    return made


def test_it_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entry_points,) = (archive.read(name) for name in archive.namelist() if name.endswith("entry_points.txt"))
    expected = {
        path.relative_to(corpus.CHECKOUT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".md")
    }
    assert found == expected
    assert b"fairseq-intra = fairseq_intra.cli:main" in entry_points


def overlay(folder, wheel):
    """An environment with the wheel, beside the packages of this one but for the checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Of a folder in a .pth file, other .pth files are not read, which is how the checkout is there.
    (packages / "of_this_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # By which commands of fairseq are started on Python 3.10.
    for script in Path(sys.executable).parent.glob("fairseq-*"):
        if not python.with_name(script.name).exists():
            python.with_name(script.name).symlink_to(script)
    return python


def fresh(folder, wheel):
    """An environment into which pip has installed the wheel and what it requires."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    constraints = corpus.CHECKOUT / "scripts/constraints.txt"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel], check=True)
    return python


@pytest.mark.parametrize("environment", [overlay, pytest.param(fresh, marks=pytest.mark.slow)])
def test_your_own_data_in_five_lines_in_another_folder(wheel, tmp_path, environment):
    """As the README shows it, but for smaller numbers."""
    programs = environment(tmp_path / "venv", wheel).parent
    for seed, (split, count) in enumerate({"train": 300, "valid": 12, "test": 10}.items()):
        corpus.write_pairs(tmp_path / "TEXT", split, corpus.sentences(count, seed), ("de", "en"))
    readme = (corpus.CHECKOUT / "README.md").read_text(encoding="utf-8")
    script = blocks(readme.split("## Your own data")[1], "bash")[0]
    for shown, run in {
        "prepare parallel": "prepare parallel --vocab-size 120 --workers 1",
        "--preset tiny": "--preset tiny --updates 3",
        "evaluate --checkpoint": "evaluate --beam 1 --max-len-b 9 --checkpoint",
    }.items():
        assert shown in script
        script = script.replace(shown, run)
    done = subprocess.run(
        ["bash", "-euc", f"fairseq-intra user-dir\n{script}"],
        cwd=tmp_path,
        env=corpus.environment(PATH=f"{programs}:{os.environ['PATH']}", PYTHONPATH="", OMP_NUM_THREADS="1"),
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    user_dir = done.stdout.split("\n")[0]
    assert Path(user_dir).is_relative_to(tmp_path / "venv")
    for method in ("plain", "intra"):
        assert f"'user_dir': '{user_dir}'" in (tmp_path / "RUNS" / method / "train.log").read_text(encoding="utf-8")
    assert "| pair | plain | intra-distillation | difference | p-value |" in done.stdout
    assert "| de-en |" in done.stdout
