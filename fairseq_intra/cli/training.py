"""What every training command shares: its flags and their checks, and the words that start fairseq-train."""

import shlex
from pathlib import Path

from ..console import say
from ..errors import UsageError
from ..last_checkpoint import LAST, is_own_last
from ..limits import check_seed
from ..run_fairseq import fairseq_command, word_of

#: What a run may leave behind of the checkpoint that it begins with.
RESETS = tuple(f"--reset-{part}" for part in ("optimizer", "lr-scheduler", "dataloader", "meters"))


def add_run_flags(parser, data, methods):
    """Declares the flags of every training; other flags are passed on to fairseq-train."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=data)
    parser.add_argument("--method", required=True, metavar="METHOD", help=", ".join(methods))
    help_text = "the run: arguments.txt, train.log, checkpoints/"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=help_text)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed (default: %(default)s)")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the command for fairseq-train, and do nothing; its flags are checked when it starts",
    )
    parser.set_defaults(passes_on=True)


def check_run_flags(args, methods, owned):
    """Checks what `add_run_flags` declared, and what is passed on.

    Raises:
        UsageError: on what is wrong.
    """
    from ..runs import arguments
    from ..runs.dataset import need_dataset, reject_variables

    arguments.check_passed(args.passed, list(args.command._option_string_actions), owned)
    if args.method not in methods:
        raise UsageError(f"--method must be {', '.join(methods[:-1])} or {methods[-1]}, not '{args.method}'")
    reject_variables(args.out, "--out")
    need_dataset(args.data)
    if (args.out / "manifest.json").is_file():
        raise UsageError(f"--out {args.out} is a dataset; give the run a folder of its own")
    check_seed(args.seed)
    _check_initial_checkpoint(args)


def _check_initial_checkpoint(args):
    """fairseq trains from scratch where there is no file of this name."""
    from ..runs.arguments import flag_value

    folder = args.out / "checkpoints"
    for flag in ("--restore-file", "--finetune-from-model"):
        given = flag_value(args.passed, flag)
        if not given or is_own_last(given, folder) or "://" in given:
            continue
        if not Path(given).is_file() and not ((folder / LAST).is_file() and flag == "--finetune-from-model"):
            raise UsageError(f"{flag} {given}: no such file")


def gpus_for(args) -> int:
    """The number of GPUs that a training is to use: none where --cpu is passed."""
    from ..runs import workers
    from ..runs.arguments import flag_value

    return 0 if flag_value(args.passed, "--cpu") is not None else workers.gpu_count()


def report_method(words: list[str], method: str) -> str:
    """What tables call a training with these flags of fairseq-train; said where it is not the method asked for."""
    from ..runs.arguments import method_by_flags

    # They tell it from what a run was trained with.
    if (found := method_by_flags(words)) != method:
        say(f"with these flags --method {method} is {found}, and tables call it so")
    return found


def total_updates(words: list[str]) -> int | None:
    """The number of updates that the last --max-update asks for."""
    from ..runs.arguments import flag_value

    value = flag_value(words, "--max-update") or ""
    return int(value) if value.isdigit() else None


def saved_in(out: Path) -> list[str]:
    """Where fairseq-train puts the checkpoints, and how it logs."""
    return ["--save-dir", word_of(out / "checkpoints"), "--no-progress-bar", "--log-format", "simple"]


def train_in(run, arguments: list[str], gpus: int, total: int | None) -> None:
    """Starts fairseq-train by this Python in a `RunFolder`; `total` is the number of updates, where it is known."""
    from ..runs.workers import fairseq_environment

    if run.can_be_resumed():
        arguments = _resuming(arguments)
    run.train([*fairseq_command("train"), *arguments], fairseq_environment(cpu=not gpus), total)


def _resuming(arguments):
    """A run resumes from its own checkpoint with all that belongs to it, whatever it began from."""
    from ..runs.arguments import flag_value

    if resets := [word for word in arguments if word in RESETS]:
        say(f"{' '.join(resets)}: not again, as the run resumes from its own checkpoint")
    kept = [word for word in arguments if word not in RESETS]
    return kept if flag_value(kept, "--restore-file") is None else [*kept, "--restore-file", LAST]


def as_shell_lines(arguments: list[str]) -> str:
    """The command as it can be pasted into a shell, one flag a line."""
    lines = ["fairseq-train"]
    for word in arguments:
        if word.startswith("--"):
            lines.append(f"  {shlex.quote(word)}")
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return " \\\n".join(lines)
