"""The command that trains one translation model."""

from pathlib import Path

from ..console import say
from ..errors import UsageError
from ..methods import TITLES
from ..run_fairseq import word_of
from ..user_dir import PACKAGE
from . import training
from .command import add_command, need_counts

TRAIN_METHODS = (*TITLES, "self-distillation")
#: fairseq's validation by BLEU on text with its subwords joined; checkpoint_best.pt is the best by it.
VALID_BLEU = ["--eval-bleu", "--eval-bleu-args", '{"beam": 5}', "--eval-bleu-remove-bpe"]
BEST_BY_BLEU = ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
#: In the run's folder until its end: what --continue-from made.
CONTINUED = "continued.pt"
AFTER_THE_FLAGS = """
All other flags go to fairseq-train, which checks them when it starts, and win over the preset's: --dropout 0.2,
--arch transformer_iwslt_de_en (whose sizes take the place of the preset's), and those of the method (--num-iter 2
--alpha 1 --div JS), which are left out where --method does not have them. rdrop (R-Drop) is intra-distillation with
two passes and a constant alpha; late is intra-distillation that begins when plain training has not improved for
--plain-patience validations, or after --plain-updates. fp16 is used on a GPU, but for the presets tiny and multi30k,
and where another precision is given; --amp is faster on a CPU that has AMX, too. A worker is started on every GPU
that CUDA_VISIBLE_DEVICES lets it see; under torchrun or srun, every worker runs this command. --update-freq follows
from the batch and the number of workers: the batch is the same on any machine.

Repeated, an interrupted run resumes from its last checkpoint and a finished one is left alone; a run does not
continue with other arguments or data, but with more --updates. SIGUSR1 (what Slurm can send before its time limit)
writes a checkpoint after the update in hand and ends the training with exit status 75: repeat it.
"""


def add_commands(commands):
    """Adds it to the subparsers of `fairseq-intra`."""
    from ..runs.presets import preset_names

    command = add_command(
        commands,
        "train",
        _train,
        "train one translation model: plain, with intra-distillation, or from a teacher",
        "fairseq-intra train --data DATA --method intra --out RUN --preset tiny --updates 300 --dropout 0.2\n"
        + AFTER_THE_FLAGS,
    )
    training.add_run_flags(command, "dataset made by data-prep/ (bin/, manifest.json)", TRAIN_METHODS)
    command.add_argument(
        "--preset", choices=preset_names(), default="paper", help="setting, a file of config/ (default: %(default)s)"
    )
    command.add_argument("--updates", type=int, metavar="N", help="number of updates (default: the preset's)")
    command.add_argument(
        "--batch-tokens", type=int, metavar="N", help="tokens of an update, over all workers (default: the preset's)"
    )
    command.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="tokens of a worker's forward pass (default: its share, at most what the preset says)",
    )
    command.add_argument(
        "--valid-bleu", action="store_true", help="validate by BLEU, too; checkpoint_best.pt is the best by BLEU"
    )
    command.add_argument(
        "--continue-from",
        type=Path,
        metavar="FILE",
        help="begin where the training that made this checkpoint ended, with its optimizer's state and number of "
        "updates where that is possible, but with this method; --updates counts the earlier ones, too",
    )
    command.add_argument(
        "--extend",
        action="store_true",
        help="continue to more --updates though the schedule depends on their number (adaptive alpha)",
    )


def _train(args):
    from ..files import remove, sha256
    from ..runs import arguments, presets, workers
    from ..runs.arguments import flag_value
    from ..runs.dataset import read_dataset
    from ..runs.lengths import check_lengths
    from ..runs.run import RunFolder

    training.check_run_flags(args, TRAIN_METHODS, arguments.OWNED | arguments.OWNED_BY_TRAIN)
    need_counts(args, "updates", "batch_tokens", "max_tokens")
    if args.updates and flag_value(args.passed, "--max-update") is not None:
        raise UsageError("--updates and --max-update are one limit: give one of them")
    dataset = read_dataset(args.data)
    preset = presets.read_preset(args.preset, args.method)
    gpus = training.gpus_for(args)
    words = _words(args, preset, gpus, dataset)
    batch = args.batch_tokens or preset.batch_tokens
    team = workers.find_workers(gpus)
    max_tokens, update_freq = workers.plan_batch(batch, team.count, preset.max_tokens, args.max_tokens)
    check_lengths(args.data / "bin", max_tokens, words)
    begun = _continuation(args, words)
    if begun:
        words += begun.flags(words)
    training.report_method(words, args.method)
    command = [word_of(args.data / "bin"), *_languages(dataset), "--user-dir", str(PACKAGE)]
    command += ["--max-tokens", str(max_tokens)]
    command += ["--update-freq", str(update_freq), *team.flags, *words, *training.saved_in(args.out)]
    if args.dry_run:
        print(training.as_shell_lines(command))
        return
    run = RunFolder(args.out, team.rank)
    if run.can_be_resumed():
        _need_updates(args, words, run.made_with())
    kept = [arguments.data_line(args.data), f"# batch {batch}", *words]
    if args.continue_from:
        kept.insert(0, f"# continued {sha256(args.continue_from)}")
    if teacher := flag_value(args.passed, "--teacher"):
        if not Path(teacher).is_file():
            raise UsageError(f"--teacher {teacher}: no such file")
        kept.insert(0, f"# teacher {sha256(Path(teacher))}")
    with run.opened(kept, args.extend):
        if run.is_finished(kept):
            say(f"{args.out} is finished")
            return
        say(f"training {args.method} in {args.out}")
        if begun:
            copy = args.out / CONTINUED
            if not team.rank and not run.can_be_resumed():
                begun.write(copy, flag_value(words, "--criterion"))
            command += ["--continue-once", word_of(copy)]
        total = training.total_updates(words)
        if not (gpus or team.rank or run.can_be_resumed()):
            _say_how_long(args, command, total, begun.num_updates if begun else 0)
        training.train_in(run, command, gpus, total)
        if not team.rank:
            say(f"finished: {run.finish('checkpoint_best.pt', 'checkpoint_last.pt')}")
            remove(args.out / CONTINUED)


def _need_updates(args, words, before):
    """Raises UsageError where a run would go on to the preset's number of updates, which nobody has asked for."""
    from ..runs.arguments import flag_value

    old, new = (flag_value(made or [], "--max-update") for made in (before, words))
    is_asked_for = args.updates or flag_value(args.passed, "--max-update") is not None
    if old and old != new and not is_asked_for:
        raise UsageError(f"{args.out} was begun for {old} updates: give --updates {old}, or more to continue it")


def _continuation(args, words):
    """What --continue-from asks for."""
    if not args.continue_from:
        return None
    from ..runs.arguments import flag_value
    from ..runs.continuation import read_continuation

    if args.dry_run:
        raise UsageError("--dry-run cannot show --continue-from: fairseq-train is given a copy of the checkpoint")
    for flag in ("--restore-file", "--finetune-from-model", "--continue-once"):
        if flag_value(args.passed, flag) is not None:
            raise UsageError(f"--continue-from and {flag} exclude each other")
    return read_continuation(args.continue_from, words)


def _words(args, preset, gpus, dataset):
    """The flags of fairseq-train that make the run what it is, as arguments.txt keeps them."""
    from ..runs.arguments import device_flags, flag_value, flag_values, flags_for
    from ..runs.presets import OTHER_SWITCH, TASK_AND_CRITERION, as_words, for_arch

    flags = for_arch(preset.flags, flag_value(args.passed, "--arch")) | {"seed": str(args.seed)}
    if args.updates:
        flags["max-update"] = str(args.updates)
    if "--keep-last-epochs" in flag_values(args.passed):
        flags.pop("no-epoch-checkpoints", None)
    task, criterion = TASK_AND_CRITERION[args.method]
    words = [*as_words(flags), "--task", task, "--criterion", criterion]
    passed = flags_for(args.method, args.passed)
    if criterion == "intra_distillation":
        own = dict(preset.method_flags)
        for switch, other in OTHER_SWITCH.items():
            if f"--{switch}" in flag_values(passed):
                own.pop(other, None)
        words += as_words(own)
    words += device_flags(args.passed, gpus, preset.fp16)
    if args.valid_bleu:
        # Its tokens are scored as they are where published scores of it are.
        words += [*VALID_BLEU, dataset.subwords, *["--eval-tokenized-bleu"] * dataset.tokenized, *BEST_BY_BLEU]
    return words + passed


def _languages(dataset):
    """fairseq finds out the languages by itself, unless one has a hyphen."""
    names = dataset.source, dataset.target
    return ["--source-lang", names[0], "--target-lang", names[1]] if any("-" in name for name in names) else []


def _say_how_long(args, command, total, done):
    """Says how long a setting of a GPU takes on this CPU."""
    from ..runs.cost import cpu_seconds
    from ..runs.train_output import duration

    seconds = None if args.preset == "tiny" else cpu_seconds(command, args.data / "bin", total, done)
    if seconds and seconds >= 60:
        say(
            f"without a GPU, {total - done} updates of this setting take at least {duration(seconds)}, by this CPU's "
            "speed in products of matrices; --preset tiny takes minutes"
        )
