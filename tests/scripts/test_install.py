"""scripts/install.sh with a stand-in for Python, setup.py's metadata, and what holds for all shell scripts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import corpus
import pytest

SCRIPT = "scripts/install.sh"
SHELL = sorted(
    path.relative_to(corpus.CHECKOUT).as_posix()
    for folder in ("scripts", "data-prep")
    for path in (corpus.CHECKOUT / folder).glob("*.sh")
    if path.name != "lib.sh"  # sourced by the others
)
#: Says to be of some version, makes environments of itself, and notes what pip is asked for.
STAND_IN = """#!/bin/sh
case "$1 $2" in
  "-c "*%d.%d*) echo "$VERSION" ;;
  "-c "*) echo "$VERSION.0" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") shift 3; echo "$*" >>"$CALLS"; exit "$PIP_FAILS" ;;
esac
"""


@pytest.fixture
def python(tmp_path):
    """Stands in for every Python that install.sh looks for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python3.10", "python3.11", "python3.12", "python3"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    system = shutil.which("env").rpartition("/")[0]
    return {"PATH": f"{folder}:{system}:/bin", "VERSION": "3.12", "CALLS": str(tmp_path / "calls"), "PIP_FAILS": "0"}


def asked(python):
    """What pip was asked for so far, without the flags that are always there."""
    always = re.compile(r".*--constraint \S*scripts/constraints\.txt ")
    return [always.sub("", line) for line in corpus.lines(Path(python["CALLS"]))]


def platform(tmp_path, name):
    (tmp_path / "bin" / "uname").write_text(f"#!/bin/sh\necho '{name}'\n")
    (tmp_path / "bin" / "uname").chmod(0o755)


def test_it_installs_once_and_again_when_something_changed(tmp_path, python):
    platform(tmp_path, "Linux x86_64")
    venv = ["--venv", tmp_path / "venv"]
    assert "done: " in corpus.succeed(SCRIPT, *venv, **python)
    assert asked(python) == [f"--editable {corpus.CHECKOUT}[test]"]
    assert "is up to date" in corpus.succeed(SCRIPT, *venv, **python)
    assert len(asked(python)) == 1
    corpus.succeed(SCRIPT, *venv, "--extras", "plot,test", **python)
    assert asked(python)[1:] == [f"--editable {corpus.CHECKOUT}[plot,test]"]


def test_a_failed_install_is_tried_again(tmp_path, python):
    platform(tmp_path, "Linux x86_64")
    assert corpus.run(SCRIPT, "--venv", tmp_path / "venv", **(python | {"PIP_FAILS": "1"})).returncode == 1
    assert "done: " in corpus.succeed(SCRIPT, "--venv", tmp_path / "venv", **python)


def test_python_3_10_gets_upstream_fairseq_without_its_metadata(tmp_path, python):
    """On any platform; and what pip installs with it is what setup.py asks for."""
    platform(tmp_path, "Darwin arm64")
    corpus.succeed(SCRIPT, "--venv", tmp_path / "venv", "--extras", "plot,test", **(python | {"VERSION": "3.10"}))
    requirements, fairseq, plugin, test, plot = asked(python)
    assert requirements.endswith("scripts/requirements-py310.txt")
    assert fairseq == "--no-deps fairseq==0.12.2" and plugin == f"--no-deps --editable {corpus.CHECKOUT}"
    extras = metadata(tmp_path)[1]
    assert test.split() == extras["test"] and plot.split() == extras["plot"]


@pytest.mark.parametrize("version", ["3.9", "3.13", "3.14", "2.7"])
def test_a_python_without_fairseq_is_refused(tmp_path, python, version):
    given = tmp_path / "bin" / "python3"
    error = corpus.fail(SCRIPT, "--python", given, "--venv", tmp_path / "venv", **(python | {"VERSION": version}))
    assert f"--python {given} is Python '{version}'; fairseq runs on Python 3.11 or 3.12 on Linux x86-64" in error
    error = corpus.fail(SCRIPT, "--venv", tmp_path / "venv", **(python | {"VERSION": version}))
    assert "no Python that fairseq runs on was found; give --python PATH" in error
    assert not (tmp_path / "venv").exists() and not (tmp_path / "calls").exists()


@pytest.mark.parametrize("name", ["Darwin arm64", "Linux aarch64"])
def test_a_platform_without_wheels_is_refused(tmp_path, python, name):
    platform(tmp_path, name)
    error = corpus.fail(SCRIPT, "--venv", tmp_path / "venv", **python)
    assert f"wheels for Linux x86-64 only, and this is {name}; use Python 3.10" in error
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [("--fast", "unknown flag '--fast'"), ("--venv", "--venv needs a value"), ("--python none", "is Python ''")],
)
def test_bad_arguments_are_named(python, arguments, named):
    assert named in corpus.fail(SCRIPT, *arguments.split(), **python)


def metadata(tmp_path):
    """setup.py's PKG-INFO, and what it requires: by extra and marker."""
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", tmp_path]
    subprocess.run(command, cwd=corpus.CHECKOUT, check=True, capture_output=True)
    sections, name = {"": []}, ""
    for line in (tmp_path / "fairseq_intra.egg-info" / "requires.txt").read_text().split("\n"):
        if line.startswith("["):
            name = line.strip("[]")
            sections[name] = []
        elif line:
            sections[name].append(line)
    return (tmp_path / "fairseq_intra.egg-info" / "PKG-INFO").read_text(), sections


def test_the_metadata_names_the_fairseq_for_every_python(tmp_path):
    information, requires = metadata(tmp_path)
    assert re.search(r"^Requires-Python: (>=3\.10,<3\.13|<3\.13,>=3\.10)$", information, re.MULTILINE)
    found = {requirement: marker for marker, names in requires.items() for requirement in names}
    markers = found["ve-fairseq==0.12.3"]
    assert (
        'python_version >= "3.11" and python_version < "3.13"' in markers
        and 'platform_machine == "x86_64"' in markers
    )
    assert 'sys_platform == "linux"' in markers
    assert found["fairseq==0.12.2"] == ':python_version < "3.11"'
    assert {"torch>=2.6", "sacrebleu>=2.3", "sentencepiece", "sacremoses"} <= set(requires[""])


@pytest.mark.parametrize("script", SHELL)
def test_a_shell_script_stops_at_the_first_failure_and_helps(script):
    text = (corpus.CHECKOUT / script).read_text(encoding="utf-8")
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", corpus.CHECKOUT / script], check=True)
    done = corpus.run(script, "--help")
    assert done.returncode == 0 and not done.stderr
    # Every flag that the script takes is told.
    taken = set(re.findall(r"^    (--[a-z-]+)\)(?! die)", text, re.MULTILINE)) - {"--help"}
    assert (taken or "\nbecome_command " in text) and all(flag in done.stdout for flag in taken)
