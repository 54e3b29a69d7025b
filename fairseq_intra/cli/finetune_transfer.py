"""The command that fine-tunes an encoder on one language: one run of `fairseq-intra grid transfer`."""

from pathlib import Path

from ..console import say
from ..errors import UsageError
from ..methods import METHODS
from ..run_fairseq import word_of
from ..user_dir import PACKAGE
from . import training
from .command import add_command, need_counts


def add_commands(commands):
    """Adds it to the subparsers of `fairseq-intra`."""
    command = add_command(
        commands,
        "finetune-transfer",
        _finetune_transfer,
        "fine-tune an encoder on one language, for cross-lingual transfer (see grid transfer)",
        "fairseq-intra finetune-transfer --data DATA --pretrained xlmr.base --method intra --out RUN",
    )
    command.add_argument(
        "--pretrained", type=Path, required=True, metavar="DIR", help="folder of the encoder's model.pt"
    )
    command.add_argument(
        "--epochs", type=int, metavar="N", help="epochs (default: 10 for ner, 3 for xnli, 15 for qa)"
    )
    command.add_argument(
        "--batch",
        type=int,
        default=32,
        metavar="N",
        help="examples of an update, over all GPUs (default: %(default)s)",
    )
    training.add_run_flags(command, "made by prepare-transfer", METHODS)


def _finetune_transfer(args):
    from ..files import sha256
    from ..runs import arguments, workers
    from ..runs.run import RunFolder
    from ..transfer.prepare import read_summary
    from ..transfer.recipes import RECIPES, recipe

    training.check_run_flags(args, METHODS, arguments.OWNED | arguments.OWNED_BY_FINETUNE)
    need_counts(args, "epochs", "batch")
    model = args.pretrained / "model.pt"
    if not model.is_file():
        raise UsageError(f"--pretrained {args.pretrained} holds no model.pt (an archive such as xlmr.base, unpacked)")
    gpus = training.gpus_for(args)
    team = workers.find_workers(gpus)
    if args.batch % team.count:
        raise UsageError(f"--batch {args.batch} is no multiple of the {team.count} GPUs")
    passed = arguments.flags_for(args.method, args.passed)
    summary = read_summary(args.data)
    words = recipe(summary, args.method, args.seed, args.epochs, args.batch)
    words += [*arguments.device_flags(args.passed, gpus), *passed]
    training.report_method(words, args.method)
    command = [word_of(args.data), "--user-dir", str(PACKAGE), *team.flags, "--finetune-from-model", word_of(model)]
    if team.count > 1:
        # torch's own waits for the gradient of the encoder's language model head, which no task here uses.
        command += ["--ddp-backend", "legacy_ddp"]
    command += ["--batch-size", str(args.batch // team.count), "--required-batch-size-multiple", "1", *words]
    command += training.saved_in(args.out)
    if args.dry_run:
        print(training.as_shell_lines(command))
        return
    run = RunFolder(args.out, team.rank)
    checksums = [arguments.data_line(args.data), f"# checkpoint {sha256(model)}"]
    kept = [*checksums, f"# batch {args.batch}", *words]
    with run.opened(kept):
        if run.is_finished(kept):
            say(f"{args.out} is finished")
            return
        say(f"fine-tuning {args.method} in {args.out}")
        training.train_in(run, command, gpus, training.total_updates(words))
        if not team.rank:
            say(f"finished: {run.finish(RECIPES[summary['kind']].tested)}")
