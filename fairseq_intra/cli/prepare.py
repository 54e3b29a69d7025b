"""`fairseq-intra prepare`: text and labels from their sources to data that fairseq reads."""

from pathlib import Path

from ..errors import UsageError
from ..languages import IWSLT14
from . import prepare_flags as flags
from . import prepare_multi30k
from .command import add_command, not_empty


def add_commands(commands):
    """Adds them to the subparsers of `fairseq-intra`."""
    command = commands.add_parser("prepare", help="make data that fairseq reads", description="Makes data.")
    corpora = command.add_subparsers(required=True, metavar="CORPUS")
    for add in (_add_parallel, _add_iwslt14, _add_wmt17, _add_l10n, prepare_multi30k.add, _add_glue):
        add(corpora)


def _add_parallel(corpora):
    command = add_command(
        corpora,
        "parallel",
        flags.ending(_parallel),
        "make a dataset of sentence-aligned text: {train,valid,test}.{SRC,TGT}, plain or .gz, in UTF-8",
        "fairseq-intra prepare parallel --input TEXT --src de --tgt en --out DATA --lowercase --clean",
    )
    command.add_argument("--input", type=flags.folder, required=True, metavar="DIR", help="folder of the text")
    for flag, side in (("--src", "source"), ("--tgt", "target")):
        help_text = f"{side} language, as in the names of the files"
        command.add_argument(flag, type=flags.language, required=True, metavar="LANG", help=help_text)
    flags.add_out(command)
    command.add_argument("--lowercase", action="store_true", help="lowercase every split, on both sides")
    flags.add_cleaning(command)
    command.add_argument(
        "--like",
        type=flags.folder,
        metavar="DATA",
        help="take the SentencePiece model, dictionary and lowercasing of this dataset, so that a model trained on "
        "it can be adapted to the new one (default: a model of the text's own)",
    )
    flags.add_model(command, flags.VOCAB_SIZE)
    flags.add_spm_lines(command, None)
    flags.add_work(command, ("raw", "spm", "encoded", "bin"))


def _add_iwslt14(corpora):
    command = add_command(
        corpora,
        "iwslt14",
        flags.ending(_iwslt14),
        "make datasets of IWSLT'14, any of its languages to English, as the method's authors made theirs",
        'fairseq-intra prepare iwslt14 --langs "de nl" --archive 2014-01.tgz --out IWSLT',
    )
    command.add_argument(
        "--langs",
        type=flags.languages,
        default=" ".join(IWSLT14),
        metavar='"LANG..."',
        help="source languages (default: %(default)s)",
    )
    command.add_argument(
        "--archive",
        type=flags.file,
        metavar="FILE",
        help="the campaign's 2014-01.tgz, or a pair's own XX-en.tgz (default: fetched; German alone from "
        "dl.fbaipublicfiles.com, else WIT3's file on Google Drive, by gdown)",
    )
    command.add_argument("--url", type=not_empty, help="fetch the archive from here")
    flags.add_out(command, "each language is a dataset XX-en in it")
    flags.add_cache(command, "archives")
    flags.add_drop_overlap(command)
    flags.add_model(command, flags.VOCAB_SIZE)
    flags.add_work(command, ("archive", "text", "raw", "spm", "encoded", "bin"))


def _add_wmt17(corpora):
    command = add_command(
        corpora,
        "wmt17",
        flags.ending(_wmt17),
        "make a dataset of WMT'17 English to German, of the official archives (1.8 GB, SHA-256 pinned)",
        "fairseq-intra prepare wmt17 --out WMT",
    )
    flags.add_out(command)
    command.add_argument(
        "--archive-dir",
        type=Path,
        default=flags.cache("wmt17"),
        metavar="DIR",
        help="where the archives lie, or are fetched to, with sacreBLEU's folder as DIR/sacrebleu, unless SACREBLEU "
        "names another (default: "
        "%(default)s); for a machine without network, run this where there is one and copy DIR",
    )
    command.add_argument(
        "--archives",
        type=flags.file,
        metavar="FILE",
        help="another list of archives than fairseq_intra/data/wmt17-archives.txt",
    )
    flags.add_limits(command, flags.CLEANING | {"max_tokens": 250}, ("max_tokens", "max_ratio"))
    flags.add_model(command, 32000, 0.9995)
    flags.add_spm_lines(command, 500_000)
    flags.add_work(command, ("archives", "text", "raw", "spm", "encoded", "bin"))


def _add_l10n(corpora):
    command = add_command(
        corpora,
        "l10n",
        flags.ending(_l10n),
        "make a dataset of the translated messages in Python wheels (110 MB for German, SHA-256 pinned), to English",
        "fairseq-intra prepare l10n --lang de --out DATA",
    )
    command.add_argument("--lang", choices=IWSLT14, default="de", help="source language (default: %(default)s)")
    flags.add_out(command)
    command.add_argument("--train", type=flags.count, metavar="N", help="pairs of train (default: all)")
    command.add_argument(
        "--max-words", type=flags.count, metavar="N", help="most words of a side in train (default: no limit)"
    )
    for split in ("valid", "test"):
        help_text = f"pairs of {split} (default: 1000, or a tenth of all messages where that is less)"
        command.add_argument(f"--{split}", type=flags.count, metavar="N", help=help_text)
    command.add_argument(
        "--seed", type=flags.count, default=1, metavar="N", help="of the split (default: %(default)s)"
    )
    flags.add_cache(command, "wheels")
    command.add_argument(
        "--wheels",
        type=flags.file,
        metavar="FILE",
        help="another list of wheels than fairseq_intra/data/l10n-wheels.txt",
    )
    command.add_argument("--lowercase", action="store_true", help="lowercase every split, on both sides")
    flags.add_cleaning(command)
    flags.add_model(command, None)
    flags.add_work(command, ("wheels", "text", "raw", "spm", "encoded", "bin"))


def _add_glue(corpora):
    command = add_command(
        corpora,
        "glue",
        flags.ending(_glue),
        "make data for sentence_prediction of one of GLUE's tasks, or of one's own in the same layout",
        "fairseq-intra prepare glue --input GLUE/RTE --vocabulary roberta.base --out DATA",
    )
    command.add_argument(
        "--input",
        type=flags.folder,
        required=True,
        metavar="DIR",
        help="GLUE's folder of the task: train.tsv and dev.tsv (MNLI: dev_matched.tsv)",
    )
    command.add_argument(
        "--task",
        metavar="NAME",
        help="CoLA SST-2 MRPC STS-B QQP MNLI QNLI or RTE (default: the name of the folder); any other name is a task "
        "of classes, with the columns sentence (or sentence1 and sentence2) and label",
    )
    command.add_argument(
        "--vocabulary",
        type=flags.folder,
        required=True,
        metavar="DIR",
        help="dict.txt, and encoder.json and vocab.bpe (RoBERTa's) or sentencepiece.bpe.model (XLM-R's)",
    )
    flags.add_out(command, "input0/, input1/ where there are pairs of texts, label/, manifest.json")
    flags.add_workers(command)


def _settings(args, source, target, lowercase, clean):
    """The dataset's settings out of the flags."""
    from dataclasses import replace

    from ..data.cleaning import Limits
    from ..data.dataset import Settings

    model = args.model | {name: value for name in args.model if (value := getattr(args, name)) is not None}
    if not flags.LEAST_COVERAGE <= (coverage := model["character_coverage"]) <= 1:
        raise UsageError(f"--character-coverage must be from {flags.LEAST_COVERAGE} to 1, not {coverage:g}")
    given = {name: value for name in flags.CLEANING if (value := getattr(args, name, None)) is not None}
    if given and not clean:
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} has no effect without --clean")
    limits = Limits(**args.cleaning | given) if clean else None
    if limits and limits.max_ratio < 1:
        raise UsageError(f"--max-ratio must be at least 1, not {limits.max_ratio:g}")
    if limits and limits.min_tokens > limits.max_tokens:
        raise UsageError(f"--min-tokens {limits.min_tokens} is more than --max-tokens {limits.max_tokens}")
    spm_lines = getattr(args, "spm_lines", None)
    made = Settings(source, target, lowercase, limits, spm_lines=spm_lines, drop_overlap=args.drop_overlap, **model)
    return replace(made, padding_factor=args.padding_factor) if args.padding_factor else made


def _parallel(args):
    from ..data.dataset import prepare

    if args.src == args.tgt:
        raise UsageError(f"--src and --tgt are both '{args.src}'; they must differ")
    settings = _settings(args, args.src, args.tgt, args.lowercase, args.clean)
    if args.like:
        settings = _like(args, settings)
    prepare(args.input, settings, args.out, args.workers, flags.steps_of(args))


def _like(args, settings):
    from dataclasses import replace

    from ..data.like import settings_of

    taken = settings_of(args.like, settings.languages)
    for name in ("vocab_size", "spm_lines", "character_coverage"):
        if getattr(args, name) not in (None, taken[name]):
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect with --like, which takes the model of {args.like}"
            )
    if args.padding_factor:
        raise UsageError(f"--padding-factor has no effect with --like, which takes the dictionary of {args.like}")
    if args.lowercase and not taken["lowercase"]:
        raise UsageError(f"--lowercase: {args.like} is not lowercased, and --like takes its model")
    return replace(settings, like=args.like, padding_factor=1, **taken)


def _iwslt14(args):
    from ..data.iwslt14 import Source, prepare

    if args.archive and args.url:
        raise UsageError("--archive and --url are two answers to one question; give one")
    source = Source(args.archive, args.url, args.cache, args.out)

    # The text is already lowercased; the setting makes the manifest say so.
    def settings(language):
        return _settings(args, language, "en", lowercase=True, clean=False)

    settings(args.langs[0])
    prepare(args.langs, source, settings, args.out, args.workers, flags.steps_of(args))


def _wmt17(args):
    from ..data.wmt17 import ARCHIVES, prepare

    settings = _settings(args, "en", "de", lowercase=False, clean=True)
    prepare(args.archives or ARCHIVES, args.archive_dir, settings, args.out, args.workers, flags.steps_of(args))


def _l10n(args):
    from ..data.l10n import VOCAB_SIZES, WHEELS, Choice, prepare

    args.vocab_size = args.vocab_size or VOCAB_SIZES[args.lang]
    settings = _settings(args, args.lang, "en", args.lowercase, args.clean)
    choice = Choice(args.lang, args.train, args.max_words, args.valid, args.test, args.seed)
    prepare(choice, args.wheels or WHEELS, args.cache, settings, args.out, args.workers, flags.steps_of(args))


def _glue(args):
    from ..data.glue import prepare

    # Of a link its own name: what it leads to may be called anything.
    prepare(args.task or args.input.absolute().name, args.input, args.vocabulary, args.out, args.workers)
