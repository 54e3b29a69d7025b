"""Flags and kinds of values that the commands of `fairseq-intra prepare` share."""

import argparse
import os
import re
import tempfile
from pathlib import Path

from ..cores import core_count
from ..errors import UsageError
from ..languages import IWSLT14

#: Moses' rule, as the paper has it.
CLEANING = {"max_ratio": 1.5, "min_tokens": 1, "max_tokens": 175}
VOCAB_SIZE = 12000
CHARACTER_COVERAGE = 0.99999995
#: SentencePiece takes no less.
LEAST_COVERAGE = 0.98


def add_out(command, holds="manifest.json in it is written last"):
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"folder to make; {holds}")


def add_cache(command, name):
    command.add_argument(
        "--cache",
        type=Path,
        default=cache(name),
        metavar="DIR",
        help="where what is fetched is kept (default: %(default)s)",
    )


def add_cleaning(command):
    command.add_argument(
        "--clean",
        action="store_true",
        help="leave out pairs of train by Moses' rule, in tokens of sacremoses; valid and test are never cleaned",
    )
    add_limits(command, CLEANING, tuple(CLEANING), "with --clean: ")


def add_limits(command, defaults, names, when=""):
    texts = {
        "max_ratio": "most tokens of one side for a token of the other",
        "min_tokens": "fewest tokens of a side",
        "max_tokens": "most tokens of a side",
    }
    for name in names:
        command.add_argument(
            f"--{name.replace('_', '-')}",
            type=number if name == "max_ratio" else count,
            metavar="R" if name == "max_ratio" else "N",
            help=f"{when}{texts[name]} (default: {defaults[name]})",
        )
    command.set_defaults(cleaning=defaults)
    add_drop_overlap(command)


def add_drop_overlap(command):
    command.add_argument(
        "--drop-overlap",
        action="store_true",
        help="leave out pairs of train whose source or target is one of valid or test (default: they are counted)",
    )


def add_model(command, vocab_size, coverage=CHARACTER_COVERAGE):
    command.add_argument(
        "--vocab-size",
        type=count,
        metavar="N",
        help="types of the joint SentencePiece model (default: "
        f"{vocab_size or 'de, es 12000; it, nl 8000; ar, he, pl 4000; fa 2000'})",
    )
    command.add_argument(
        "--character-coverage",
        type=number,
        metavar="X",
        help=f"share of the text's characters that the model knows (default: {coverage})",
    )
    command.set_defaults(model={"vocab_size": vocab_size, "character_coverage": coverage})
    command.add_argument(
        "--padding-factor",
        type=count,
        metavar="N",
        help="make the dictionary's size a multiple of N by types that never occur: with 8, a GPU's loss and its "
        "matrix products are faster; the method's authors have 1 (default: 8)",
    )


def add_spm_lines(command, lines):
    command.add_argument(
        "--spm-lines",
        type=count,
        default=lines,
        metavar="N",
        help="lines, evenly spread over both sides of train, that the model is trained on (default: "
        f"{lines or 'all'}); 500,000 are enough for a large corpus, and take under 2 GB of memory",
    )


def add_work(command, steps):
    add_workers(command)
    command.add_argument(
        "--steps",
        default=" ".join(steps),
        metavar='"STEP..."',
        help="stop after these, the first of: %(default)s (default: all)",
    )
    command.set_defaults(all_steps=steps)


def add_workers(command):
    command.add_argument(
        "--workers",
        type=count,
        default=core_count(),
        metavar="N",
        help="processes to work with (default: all cores); the result does not depend on it",
    )


def cache(name):
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "fairseq_intra" / name


def _home():
    try:
        return Path.home()
    except RuntimeError:
        # A user without an entry in /etc/passwd, as in some containers.
        return Path(tempfile.gettempdir())


def count(text):
    if not re.fullmatch("[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not '{text}'")
    return int(text)


def number(text):
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text):
        raise argparse.ArgumentTypeError(f"must be a number such as 1.5, not '{text}'")
    return float(text)


def language(text):
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(f"must be a language as in the names of the files, such as de, not '{text}'")
    return text


def languages(text):
    if not text.split():
        raise argparse.ArgumentTypeError(f"names no language; it takes any of {' '.join(IWSLT14)}")
    for language in text.split():
        if language not in IWSLT14:
            raise argparse.ArgumentTypeError(
                f"has '{language}', which IWSLT'14 does not have; it takes any of {' '.join(IWSLT14)}"
            )
    return list(dict.fromkeys(text.split()))


def folder(text):
    if not text or not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is not a folder")
    return Path(text)


def file(text):
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"'{text}' is not a file")
    return Path(text)


def ending(run):
    """A command's function that ends on signals with all its processes."""

    def prepare(args):
        from ..processes import ending_on_signals

        if "," in str(args.out.absolute()):
            raise UsageError(f"--out {args.out}: fairseq-preprocess takes a comma for the end of a name")
        with ending_on_signals():
            run(args)

    return prepare


def steps_of(args):
    steps = tuple(args.steps.split())
    if not steps or steps != args.all_steps[: len(steps)]:
        raise UsageError(f"--steps takes the first of these, in their order: {' '.join(args.all_steps)}")
    return steps
