"""`fairseq-intra prepare multi30k`."""

from pathlib import Path

from ..errors import UsageError
from . import prepare_flags as flags
from .command import add_command, not_empty


def add(corpora):
    """Adds it to the corpora of `fairseq-intra prepare`."""
    command = add_command(
        corpora,
        "multi30k",
        flags.ending(_multi30k),
        "make datasets of Multi30k, English to another language, as published figures have them",
        'fairseq-intra prepare multi30k --langs "de fr" --input dataset-master.tar.gz --out MULTI30K',
    )
    command.add_argument(
        "--langs",
        type=str.split,
        default=["de"],
        metavar='"LANG..."',
        help="languages beside English: de, fr, cs, or others that the source has (default: de)",
    )
    command.add_argument("--reverse", action="store_true", help="to English: datasets XX-en")
    command.add_argument(
        "--input",
        type=Path,
        metavar="PATH",
        help="the repository github multi30k/dataset, a folder or its .tar.gz; data/task1/tok is read, or where that "
        "is not there data/task1/raw (default: fetched)",
    )
    command.add_argument("--url", type=not_empty, help="fetch the archive from here (default: GitHub)")
    command.add_argument(
        "--merges",
        type=flags.count,
        default=10_000,
        metavar="N",
        help="of the joint byte pair encoding; fewer for a part of the text (default: %(default)s, as published)",
    )
    flags.add_out(command, "each language is a dataset en-XX in it")
    flags.add_cache(command, "multi30k")
    flags.add_work(command, ("archive", "text", "raw", "bpe", "encoded", "bin"))


def _multi30k(args):
    from ..data.multi30k import ENGLISH, prepare

    if not args.langs or ENGLISH in args.langs:
        raise UsageError(f"--langs must be languages beside {ENGLISH}, such as 'de fr', not '{' '.join(args.langs)}'")
    if args.input and args.url:
        raise UsageError("--input and --url are two answers to one question; give one")
    if args.input and not args.input.exists():
        raise UsageError(f"--input {args.input} is not there")
    prepare(
        list(dict.fromkeys(args.langs)),
        source=args.input,
        url=args.url,
        cache=args.cache,
        reverse=args.reverse,
        out=args.out,
        workers=args.workers,
        steps=flags.steps_of(args),
        merges=args.merges,
    )
