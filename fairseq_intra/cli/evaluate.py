"""`fairseq-intra evaluate`: translate with a trained model and score the translations."""

from pathlib import Path

from ..errors import UsageError
from .command import add_command, need_counts, need_lenpen

EXAMPLE = "fairseq-intra evaluate --checkpoint RUN/checkpoints/checkpoint_best.pt --data DATA --average 5"
METRICS = ("bleu", "chrf", "ter")
SPLITS = ("valid", "test", "test1", "test2")
#: What a request takes as it was given.
TAKEN = "beam lenpen tune_lenpen max_tokens tokenize confidence truncate_source engine passed".split()
TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none")
TEXT = "translate splits with a trained model and score them with sacreBLEU against the raw reference"
MORE = """Prints the scores with their signatures. Beside the checkpoint, or in --output, it leaves
NAME.SPLIT.json (scores and how they were made), .hyp (hypotheses, in the order of the split) and .ref
(the reference); for a WMT set SPLIT is its name, with _ in place of /. All other flags go to fairseq-generate.
SACREBLEU is the folder of sacreBLEU's cache (default: ~/.sacrebleu)."""


def add_commands(commands):
    """Adds it to the subparsers of `fairseq-intra`."""
    command = add_command(commands, "evaluate", _evaluate, TEXT, EXAMPLE, MORE)
    command.set_defaults(passes_on=True)
    command.add_argument(
        "--checkpoint", required=True, metavar="FILE", help="the model; A.pt:B.pt is an ensemble of several"
    )
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset made by data-prep/")
    command.add_argument(
        "--split",
        metavar="LIST",
        help="of valid test test1 test2, as a quoted list (default: test); a dataset may have several tests",
    )
    command.add_argument(
        "--wmt-set",
        metavar="NAME",
        help="instead a test set of WMT by sacreBLEU's name, such as wmt14/full; downloaded to sacreBLEU's cache",
    )
    command.add_argument(
        "--metrics",
        default="bleu chrf",
        metavar="LIST",
        help="of bleu chrf ter, as a quoted list (default: %(default)s)",
    )
    command.add_argument(
        "--average",
        type=int,
        metavar="N",
        help="the mean of the last N numbered checkpoints beside FILE instead",
    )
    command.add_argument("--beam", type=int, default=5, help="beam size (default: %(default)s)")
    command.add_argument("--lenpen", type=float, help="length penalty (default: 1)")
    command.add_argument(
        "--tune-lenpen",
        action="store_true",
        help="score also with the length penalty of 0.6, 0.7, ... 1.6 that has the highest BLEU on valid; these "
        "results are called NAME.SPLIT.tuned, and a table keeps them apart",
    )
    command.add_argument(
        "--max-tokens", type=int, default=8000, help="source tokens per batch (default: %(default)s)"
    )
    command.add_argument("--output", type=Path, metavar="DIR", help="folder of the results (default: that of FILE)")
    command.add_argument(
        "--tokenize",
        choices=TOKENIZERS,
        help="for BLEU (default: sacreBLEU's for the target language; none where the dataset is tokenised)",
    )
    command.add_argument("--confidence", action="store_true", help="95 %% confidence intervals, by 1000 resamples")
    command.add_argument(
        "--truncate-source", action="store_true", help="cut sources beyond the model's --max-source-positions"
    )
    command.add_argument(
        "--engine",
        choices=("fairseq", "ctranslate2"),
        default="fairseq",
        help="what translates; ctranslate2 is faster, reads transformers, and takes no flag of fairseq-generate; "
        "scores of the two are never set side by side (default: %(default)s)",
    )


def _evaluate(args):
    from ..processes import ending_on_signals

    with ending_on_signals("the same command starts over"):
        request = _request(args)
        from ..runs.evaluate import evaluate

        for path, records in evaluate(request):
            for found in records:
                _report(found)
            _say_what_was_cut(records[0])
            print(f"written: {path}.json, {path}.hyp", flush=True)


def _request(args):
    from ..runs.dataset import need_dataset
    from ..runs.evaluate import Request

    paths = _checkpoints(args.checkpoint)
    metrics = tuple(args.metrics.split())
    if "bleu" not in metrics or not set(metrics) <= set(METRICS):
        raise UsageError(f"--metrics must be bleu, and with it any of chrf and ter, not '{args.metrics}'")
    if args.wmt_set is not None and args.split:
        raise UsageError("--split and --wmt-set exclude each other")
    if args.tune_lenpen and args.lenpen is not None:
        raise UsageError("--lenpen and --tune-lenpen exclude each other")
    if args.tune_lenpen and "--unnormalized" in args.passed:
        raise UsageError("--tune-lenpen has no effect with --unnormalized")
    if args.tune_lenpen and args.beam == 1:
        raise UsageError("--tune-lenpen has no effect with --beam 1, which has one hypothesis to choose from")
    splits = _splits(args)
    if args.tune_lenpen and "valid" in splits:
        raise UsageError("--tune-lenpen chooses on valid; score another split")
    if args.tune_lenpen and args.engine != "fairseq":
        raise UsageError(f"--tune-lenpen works with --engine fairseq, not {args.engine}")
    args.lenpen = 1.0 if args.lenpen is None else args.lenpen
    need_lenpen(args.lenpen)
    need_counts(args, "beam", "max_tokens", "average")
    if args.engine == "ctranslate2" and (args.passed or len(paths) > 1):
        what = f"{args.passed[0]} goes to fairseq-generate" if args.passed else "an ensemble is for fairseq"
        raise UsageError(f"--engine ctranslate2 translates without fairseq: {what}; leave it out")
    need_dataset(args.data)
    folder = paths[0].parent if args.output is None else args.output
    _need_writable(folder, args.output is not None)
    return Request(
        checkpoints=[_average(paths, args.average, folder)] if args.average else paths,
        trained=paths,
        data=args.data,
        splits=splits,
        wmt=args.wmt_set is not None,
        metrics=metrics,
        output=folder,
        **{name: getattr(args, name) for name in TAKEN},
    )


def _splits(args):
    if args.wmt_set is not None:
        return (args.wmt_set,)
    splits = ("test",) if args.split is None else tuple(args.split.split())
    if not splits or not set(splits) <= set(SPLITS) or len(set(splits)) < len(splits):
        raise UsageError(f"--split must be some of {', '.join(SPLITS)}, each once, not '{args.split}'")
    return splits


def _checkpoints(value):
    from ..files import join_existing

    paths = [Path(path) for path in join_existing(value.split(":"))]
    for path in paths:
        if path.is_dir():
            inside = "checkpoints/checkpoint_best.pt" if (path / "checkpoints").is_dir() else "checkpoint_best.pt"
            raise UsageError(f"--checkpoint {path} is a folder; give a checkpoint in it, such as {path / inside}")
        if not path.is_file():
            raise UsageError(f"--checkpoint {path}: no such file")
    return paths


def _need_writable(folder, make):
    from ..files import make_folder, need_writable

    if make:
        make_folder("--output", folder)
    try:
        need_writable(folder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to ({error.strerror}); give another by --output") from None


def _average(paths, count, folder):
    from ..checkpoint import average, last_checkpoints
    from ..console import say

    if len(paths) > 1:
        raise UsageError("--average takes the folder of one checkpoint, not an ensemble")
    output = folder / f"average{count}.pt"
    inputs = last_checkpoints(paths[0].parent, count)
    _check_no_other_average(output, inputs[-1])
    average(inputs, output)
    say(f"{output}: mean of {', '.join(map(str, inputs))}")
    return output


def _check_no_other_average(output, newest):
    """Raises UsageError where the average of another training would be replaced."""
    from ..checkpoint import load, run_name, training

    if not output.exists():
        return
    ours, theirs = ((*training(state)[:2], run_name(state)) for state in map(load, (newest, output)))
    if ours != theirs:
        method, seed, run = theirs
        raise UsageError(
            f"{output} is an average of another model ({method}, seed {seed}, run {run}), and would be replaced; "
            "give another folder by --output, or remove it"
        )


def _report(found):
    for name, score in (("BLEU", found.bleu), ("chrF", found.chrf), ("TER", found.ter)):
        if score:
            interval = score.get("confidence")
            spread = f" ± {interval['half_width']:.2f} (95 %)" if interval else ""
            print(f"{name} {score['score']:.2f}{spread}  {score['signature']}")


def _say_what_was_cut(found):
    from ..console import say

    if found.at_length_limit:
        limit = f"--max-len-a {found.decoding['max_len_a']:g} --max-len-b {found.decoding['max_len_b']:g}"
        say(f"{found.at_length_limit} of {found.sentences} hypotheses are as long as their limit ({limit})")
    if found.truncated:
        say(f"{found.truncated} of {found.sentences} sources were truncated to the model's --max-source-positions")
