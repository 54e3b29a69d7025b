"""The command that fine-tunes an encoder on one task of classes or numbers."""

import json
from pathlib import Path

from ..console import say
from ..errors import UsageError
from ..methods import METHODS
from ..run_fairseq import word_of
from ..user_dir import PACKAGE
from . import training
from .command import add_command, need_counts

TASK_OF_THE_METHOD = (
    "--task sentence_prediction_intra_distillation --criterion intra_distillation_sentence_prediction"
).split()
#: By what the measure of a task is reported.
REPORTS = {"mcc": "--report-mcc", "f1": "--report-acc-and-f1", "pearson": "--report-pearson-and-spearman"}
#: What a task's manifest says of its training, and the types of it.
FIELDS = {
    "task": str,
    "metric": str,
    "regression": bool,
    "num_classes": int,
    "splits": dict[str, dict],
    "batch_size": int,
    "learning_rate": float,
}
AFTER_THE_FLAGS = """
All other flags go to fairseq-train and win: --arch roberta_large --lr 2e-5, and --alpha 1.5 --adaptive-alpha 1
--div JS, which are left out where --method does not have them (plain; for rdrop, two passes and a constant alpha,
all but --alpha); with the others also --freeze-encoder. The rest is RoBERTa's
recipe: roberta_base, dropout 0.1, weight decay 0.1, a learning rate that falls to 0 after 6 % of warm-up, the task's
batch and rate. One GPU, or the CPU; fp16 on a GPU. Repeated, an interrupted run resumes and a finished one is left
alone. checkpoint_best.pt is the epoch best on the dev set.
"""


def add_commands(commands):
    """Adds it to the subparsers of `fairseq-intra`."""
    command = add_command(
        commands,
        "finetune",
        _finetune,
        "fine-tune a checkpoint on one task of classes or numbers: plain, or with intra-distillation",
        "fairseq-intra finetune --data DATA --checkpoint roberta.base/model.pt --method intra --out RUN --epochs 3\n"
        + AFTER_THE_FLAGS,
    )
    command.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a model that fairseq can fine-tune, such as model.pt of the archive roberta.base (default: none; the "
        "model is trained from scratch)",
    )
    command.add_argument("--epochs", type=int, default=10, metavar="N", help="epochs (default: %(default)s)")
    command.add_argument("--batch", type=int, metavar="N", help="examples of an update (default: the task's)")
    training.add_run_flags(command, "a task, as data-prep/prepare-glue.sh makes it", METHODS)


def _finetune(args):
    from ..files import sha256, write_text
    from ..runs import arguments
    from ..runs.run import RunFolder

    training.check_run_flags(args, METHODS, arguments.OWNED | arguments.OWNED_BY_FINETUNE)
    need_counts(args, "epochs", "batch")
    if args.checkpoint and not args.checkpoint.is_file():
        raise UsageError(f"--checkpoint {args.checkpoint}: no such file")
    made = _read_task(args.data)
    gpus = training.gpus_for(args)
    passed = arguments.flags_for(args.method, args.passed)
    words = [*_recipe(args, made), *arguments.device_flags(args.passed, gpus), *passed]
    method = training.report_method(words, args.method)
    command = [word_of(args.data), "--user-dir", str(PACKAGE), "--distributed-world-size", "1"]
    if args.checkpoint:
        # Unlike --restore-file, it leaves the choice to the run's own last checkpoint once there is one.
        command += ["--finetune-from-model", word_of(args.checkpoint)]
    command += [*words, *training.saved_in(args.out)]
    if args.dry_run:
        print(training.as_shell_lines(command))
        return
    run = RunFolder(args.out)
    begun_from = sha256(args.checkpoint) if args.checkpoint else "none"
    kept = [arguments.data_line(args.data), f"# checkpoint {begun_from}", *words]
    with run.opened(kept):
        about = {"task": made["task"], "metric": made["metric"], "method": method, "seed": args.seed}
        write_text(args.out / "run.json", json.dumps(about) + "\n")
        if run.is_finished(kept):
            say(f"{args.out} is finished")
            return
        say(f"fine-tuning {args.method} in {args.out}")
        training.train_in(run, command, gpus, training.total_updates(words))
        best = run.finish("checkpoint_best.pt")
        # Of a large model a gigabyte and more, of use to a run that resumes alone.
        (run.checkpoints / "checkpoint_last.pt").unlink(missing_ok=True)
        say(f"finished: {best}")


def _read_task(data):
    from ..json_files import has_fields, read_json

    made = read_json(data / "manifest.json")
    if not has_fields(made, FIELDS):
        raise UsageError(f"--data {data} is not of data-prep/prepare-glue.sh")
    return made


def _recipe(args, made):
    """RoBERTa's flags of fairseq-train, as arguments.txt keeps them."""
    from ..fine_tuning.recipe import METHOD_FLAGS, WARM_UP

    batch = args.batch or made["batch_size"]
    updates = args.epochs * -(-made["splits"]["train"]["examples"] // batch)
    words = f"""--arch roberta_base --max-positions 512 --shorten-method truncate --init-token 0 --separator-token 2
    --num-classes {made["num_classes"]} --dropout 0.1 --attention-dropout 0.1 --weight-decay 0.1 --optimizer adam
    --adam-betas (0.9,0.98) --adam-eps 1e-6 --clip-norm 0 --lr-scheduler polynomial_decay
    --lr {made["learning_rate"]} --total-num-update {updates} --warmup-updates {updates * WARM_UP // 100}
    --max-update {updates} --max-epoch {args.epochs} --batch-size {batch} --required-batch-size-multiple 1
    --no-epoch-checkpoints --log-interval 20 --seed {args.seed} --best-checkpoint-metric {made["metric"]}
    --maximize-best-checkpoint-metric""".split()
    if args.method == "plain":
        words += ["--task", "sentence_prediction", "--criterion", "sentence_prediction"]
    else:
        words += [*TASK_OF_THE_METHOD, *METHOD_FLAGS[args.method]]
    if made["metric"] in REPORTS:
        words.append(REPORTS[made["metric"]])
    if made["regression"]:
        words.append("--regression-target")
    return words
