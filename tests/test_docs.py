"""What the READMEs say is so: links, commands and flags exist, examples print what stands there."""

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import corpus
import pytest
from documents import blocks

from fairseq_intra import cli

CHECKOUT = corpus.CHECKOUT
FOLDERS = ("fairseq_intra", "scripts", "data-prep", "tests", "benchmarks")
DOCS = [*CHECKOUT.glob("*.md"), *(path for folder in FOLDERS for path in (CHECKOUT / folder).rglob("*.md"))]
NAMES = [path.relative_to(CHECKOUT).as_posix() for path in DOCS]
EACH = pytest.mark.parametrize("path", DOCS, ids=NAMES)
#: Flags of other programs that the documents show.
FOREIGN = {
    *("--nnodes", "--nproc-per-node", "--rdzv-backend", "--rdzv-endpoint", "--no-python"),  # torchrun
    *(
        "--nodes",
        "--ntasks-per-node",
        "--gpus-per-node",
        "--kill-on-bad-exit",
        "--array",
        "--gres",
        "--gpus",
    ),  # Slurm
    *("--wrap", "--requeue", "--signal", "--time"),
    *("--no-deps", "--no-build-isolation", "--constraint", "--requirement", "--editable", "--no-index"),  # pip
    *("--find-links", "--dest", "--only-binary", "--platform", "--python-version", "--wheel-dir"),
    *("--config-dir", "--config-name"),  # Hydra
    *("--python", "--version", "--depth", "--halt", "--hook-stage"),  # uv, git, GNU parallel, pre-commit
    *("--numprocesses", "--dist", "--durations", "--ignore", "--tb"),  # pytest
    *("--user_dir", "--flag"),  # CTranslate2's converter; any flag
}


def text_of(path):
    return path.read_text(encoding="utf-8")


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@EACH
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text_of(found), re.MULTILINE)
            assert anchor in map(slug, headings), f"{target}: no such heading"


@cache
def our_commands():
    """The flags of every command of `fairseq-intra`, by its words."""
    found = {}

    def walk(parser, words):
        flags = set()
        for action in parser._actions:
            flags |= set(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                for name, sub in action.choices.items():
                    walk(sub, (*words, name))
        found[words] = flags

    walk(cli._parser(), ())
    return found


@cache
def fairseq_flags():
    """All flags of fairseq's commands, of every task, criterion, model, optimizer and schedule."""
    from fairseq import options
    from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
    from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    import fairseq_intra.plugin  # noqa: F401

    parser = argparse.ArgumentParser(conflict_handler="resolve")
    kinds = [CRITERION_DATACLASS_REGISTRY, MODEL_DATACLASS_REGISTRY, TASK_DATACLASS_REGISTRY]
    kinds += [registry["dataclass_registry"] for registry in REGISTRIES.values()]
    names = {name for kind in kinds for made in kind.values() for name in getattr(made, "__dataclass_fields__", ())}
    flags = {f"--{name.replace('_', '-')}" for name in names}
    for model in MODEL_REGISTRY.values():
        with contextlib.suppress(Exception):
            model.add_args(parser)
    for made in (
        options.get_training_parser(),
        options.get_generation_parser(),
        options.get_validation_parser(),
        parser,
    ):
        flags |= {flag for action in made._actions for flag in action.option_strings}
    return flags


@cache
def help_of(script):
    """The text that a script's --help prints, or a benchmark's source, which declares its flags."""
    if script.suffix == ".py":
        return text_of(script)
    done = subprocess.run([str(script), "--help"], env=corpus.environment(), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def all_flags():
    files = [path for folder in ("scripts", "data-prep", "benchmarks") for path in (CHECKOUT / folder).glob("*.*")]
    runnable = [path for path in files if path.suffix == ".py" or (path.suffix == ".sh" and os.access(path, os.X_OK))]
    texts = "".join(map(help_of, runnable))
    known = set(re.findall(r"--[a-z][\w-]*", texts)) | fairseq_flags() | FOREIGN
    return known.union(*our_commands().values())


def shell_words(text):
    """The words of every command line that the bash blocks of a document show."""
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").split("\n"):
            try:
                words = shlex.split(re.sub(r"\$\(|[);]", " ", line), comments=True)
            except ValueError:
                continue
            if words:
                yield words


def command_in(words):
    """(its file or words, its arguments) of the first command of ours on a line."""
    for number, word in enumerate(words):
        if re.match(r"(scripts|data-prep|benchmarks)/", word):
            return CHECKOUT / word, words[number + 1 :]
        if word.endswith("fairseq-intra") and words[number + 1 : number + 2]:
            end = number + 1
            while tuple(words[number + 1 : end + 1]) in our_commands() and end < len(words):
                end += 1
            return tuple(words[number + 1 : end]), words[end:]
    return None, []


@EACH
def test_commands_and_their_flags_exist(path):
    for words in shell_words(text_of(path)):
        command, arguments = command_in(words)
        flags = {word.split("=")[0] for word in arguments if re.match(r"--[a-z]", word)}
        if isinstance(command, Path):
            assert command.exists(), f"{words}: no such script"
            if command.suffix in (".sh", ".py"):
                known = set(re.findall(r"--[a-z][\w-]*", help_of(command))) | fairseq_flags() | FOREIGN
                assert flags <= known, f"{words}: {flags - known}"
        elif command is not None:
            assert command, f"{words}: no such command"
            known = our_commands()[command] | fairseq_flags() | FOREIGN
            assert flags <= known, f"{words}: {flags - known}"


@EACH
def test_flags_in_the_text_exist(path):
    flags = {found for found in re.findall(r"(?<![\w/-])--[a-z][\w-]*[a-z0-9]", text_of(path))}
    assert flags <= all_flags(), flags - all_flags()


@pytest.mark.parametrize("name", ["README.md", "fairseq_intra/loss/README.md"])
def test_python_examples_print_what_stands_there(name):
    text = text_of(CHECKOUT / name)
    code = blocks(text, "python")[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    shown = re.search(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert printed.getvalue().strip() == (shown[1] if shown else blocks(text, "")[0].strip())


def test_the_readme_fits_two_screens():
    assert len(text_of(CHECKOUT / "README.md").split("\n")) <= 151
