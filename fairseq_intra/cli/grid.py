"""`fairseq-intra grid`: many trainings, their evaluations, and the table of them."""

import argparse
import os
from pathlib import Path

from ..errors import UsageError
from ..methods import METHODS
from ..transfer import TASKS as TRANSFER_TASKS
from .command import add_command, need_counts, not_empty

#: Flags of other commands, or of other grids, that are not passed on, and why.
OF_OTHERS = {
    "--seed": "here it is --seeds, with one or more",
    "--method": "here it is --methods, with one or more",
    "--data": "it is made in OUT/data",
    "--dry-run": "--list shows the commands",
    "--equal-time": "give it to fairseq-intra table, with the runs in OUT",
    "--show-differences": "all runs of this table must have the same settings",
}
MORE = """
All other flags go to {step} of every run; those of the method, such as --alpha 1, to the runs that have them;
of intra and late in one grid, --plain-patience and --plain-updates to late alone. What a run prints is in OUT/logs/.
Repeated, finished runs are skipped and interrupted ones resume, however the grid was ended. A run that fails does not
stop the others: it is reported at the end, the exit status is 1, and OUT/table.md leaves out its pair or task.

For many machines, --list prints one command a run, which any queue takes, and --table makes the table at the end:

  {example} --list >runs.txt
  sbatch --array=1-$(wc -l <runs.txt) --gres=gpu:1 --wrap 'sh -c "$(sed -n ${{SLURM_ARRAY_TASK_ID}}p runs.txt)"'
  parallel -j 4 <runs.txt          # or GNU parallel
  {example} --table"""


def add_commands(commands):
    """Adds them to the subparsers of `fairseq-intra`."""
    command = add_command(commands, "grid", None, "many trainings, plain and with intra-distillation, to a table")
    grids = command.add_subparsers(required=True, metavar="KIND")

    command = _add_grid(
        grids,
        "translation",
        _translation,
        "IWSLT'14, or other datasets NAME-en: every pair, method and seed",
        "fairseq-intra grid translation --data IWSLT --out RUNS --seeds '1 2 3'",
        "fairseq-intra train",
    )
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of datasets NAME-en/")
    command.add_argument(
        "--langs", type=_words, default=[], help="the NAMEs, as a quoted list (default: IWSLT'14's 8, or all)"
    )
    command.add_argument(
        "--corpus",
        type=not_empty,
        metavar="NAME",
        help="DIR holds datasets of another corpus, called so in the table",
    )
    command.add_argument("--average", type=int, metavar="N", help="evaluate the mean of the last N checkpoints")
    _add_show_differences(command)
    _add_seeds(command, [1])

    command = _add_grid(
        grids,
        "multi30k",
        _multi30k,
        "Multi30k, from its text: every language, method and seed, three test sets, beside published figures",
        "fairseq-intra grid multi30k --out RUNS --methods 'plain rdrop intra late' --seeds '1 2 3'",
        "fairseq-intra train (--preset multi30k)",
    )
    command.add_argument(
        "--langs", type=_words, default=["de"], help="beside English, as a quoted list (default: de)"
    )
    command.add_argument("--reverse", action="store_true", help="to English")
    command.add_argument("--merges", type=int, metavar="N", help="of prepare multi30k (default: 10000)")
    command.add_argument("--input", type=Path, metavar="PATH", help="folder or archive, as prepare multi30k takes it")
    command.add_argument("--url", type=not_empty, help="of the archive (default: GitHub)")
    command.add_argument(
        "--average",
        type=int,
        default=10,
        metavar="N",
        help="evaluate the mean of the last N checkpoints (default: %(default)s)",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="print all commands, that for the data too, and do nothing"
    )
    _add_show_differences(command)
    _add_seeds(command, [1])

    command = _add_grid(
        grids,
        "glue",
        _glue,
        "GLUE, or other tasks in its layout: every task, method and seed",
        "fairseq-intra grid glue --glue GLUE --checkpoint roberta.base/model.pt --out RUNS",
        "fairseq-intra finetune",
    )
    command.add_argument("--glue", type=Path, required=True, metavar="DIR", help="TASK/train.tsv and dev.tsv")
    command.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="the model to fine-tune (default: from scratch)"
    )
    command.add_argument(
        "--vocabulary", type=Path, metavar="DIR", help="dict.txt and subwords (default: the checkpoint's)"
    )
    command.add_argument("--tasks", type=_words, help="of GLUE, as a quoted list (default: all 8), or of one's own")
    _add_seeds(command, [1, 2, 3])

    command = _add_grid(
        grids,
        "transfer",
        _transfer,
        "zero-shot cross-lingual transfer: every method and seed, tested on all languages",
        "fairseq-intra grid transfer --task ner --input WIKIANN --pretrained xlmr.base --out RUNS",
        "fairseq-train",
    )
    command.add_argument("--task", choices=TRANSFER_TASKS, required=True, help="named entities, XNLI or questions")
    command.add_argument("--input", type=Path, required=True, metavar="DIR", help="the text (see prepare-transfer)")
    command.add_argument(
        "--pretrained", type=Path, required=True, metavar="DIR", help="model.pt, dict.txt and subwords"
    )
    command.add_argument("--source", default="en", metavar="LANG", help="language trained on (default: %(default)s)")
    command.add_argument("--langs", type=_words, default=[], help="languages tested, as a quoted list (default: all)")
    command.add_argument(
        "--epochs", type=int, metavar="N", help="epochs (default: 10 for ner, 3 for xnli, 15 for qa)"
    )
    command.add_argument(
        "--batch", type=int, default=32, metavar="N", help="examples of an update (default: %(default)s)"
    )
    for flag in ("--max-seq-length", "--doc-stride", "--max-query-length"):
        command.add_argument(flag, type=int, metavar="N", help="of prepare-transfer --task qa")
    _add_seeds(command, [1])


def _add_grid(grids, name, run, text, example, step):
    command = add_command(grids, name, run, text)
    command.set_defaults(passes_on=True)
    command.epilog = MORE.format(step=step, example=example)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="the runs, logs/ and table.md")
    command.add_argument(
        "--methods",
        type=_methods,
        default=["plain", "intra"],
        help=f"of {', '.join(METHODS)}, as a quoted list (default: plain intra)",
    )
    command.add_argument(
        "--gpus", metavar="LIST", help="indices of GPUs, such as 0,1 (default: all; without one the CPU)"
    )
    # Hidden where there is no choice: it is rejected there, and not passed on.
    shown = "GPUs that work on one run (default: 1)" if name != "glue" else argparse.SUPPRESS
    command.add_argument("--gpus-per-run", type=int, default=1, metavar="N", help=shown)
    command.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs in parallel on each, or on the CPU (default: 1)"
    )
    what = command.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="print one command a run, and train nothing")
    what.add_argument("--table", action="store_true", help="make the table of what is finished, and train nothing")
    return command


def _add_show_differences(command):
    command.add_argument(
        "--show-differences",
        action="store_true",
        help="settings of runs in the table may differ; a column says in what",
    )


def _add_seeds(command, default):
    shown = " ".join(map(str, default))
    command.add_argument(
        "--seeds", type=_seeds, default=default, help=f"random seeds, as a quoted list (default: {shown})"
    )


def _words(text):
    return list(dict.fromkeys(text.split()))


def _methods(text):
    words = _words(text)
    if not words or not set(words) <= set(METHODS):
        raise argparse.ArgumentTypeError(f"must be of {' '.join(METHODS)}, as a quoted list, not '{text}'")
    return words


def _seeds(text):
    words = text.split()
    if not words or not all(word.isdecimal() and word.isascii() for word in words):
        raise argparse.ArgumentTypeError(f"must be whole numbers, such as '1 2 3', not '{text}'")
    return list(dict.fromkeys(map(int, words)))


def _translation(args):
    from ..runs.translation_grid import TranslationGrid

    names = ("data", "langs", "methods", "seeds", "corpus", "average", "show_differences")
    _work(args, lambda: TranslationGrid(**_settings(args, names)))


def _multi30k(args):
    from ..runs.multi30k_grid import Multi30kGrid

    need_counts(args, "merges")
    names = ("input", "url", "langs", "reverse", "merges", "methods", "seeds", "average", "show_differences")
    _work(args, lambda: Multi30kGrid(**_settings(args, names)))


def _glue(args):
    from ..runs.glue_grid import TASKS, GlueGrid

    args.tasks = list(TASKS) if args.tasks is None else args.tasks
    if args.gpus_per_run != 1:
        raise UsageError("--gpus-per-run: finetune trains on one GPU; leave it out")
    if not args.tasks:
        raise UsageError("--tasks is empty; it takes names of tasks, such as 'CoLA RTE'")
    names = ("glue", "checkpoint", "vocabulary", "tasks", "methods", "seeds")
    _work(args, lambda: GlueGrid(**_settings(args, names)))


def _transfer(args):
    from ..transfer.grid import TransferGrid

    lengths = ("max_seq_length", "doc_stride", "max_query_length")
    need_counts(args, "epochs", "batch", *lengths)
    names = ("task", "input", "pretrained", "source", "langs", "methods", "seeds", "epochs", "batch", *lengths)
    _work(args, lambda: TransferGrid(**_settings(args, names)))


def _settings(args, names):
    """Paths are absolute, so that --list can be run from anywhere."""
    given = {name: getattr(args, name) for name in ("out", *names)}
    paths = {name: value.absolute() for name, value in given.items() if isinstance(value, Path)}
    return given | paths | {"flags": args.passed}


def _work(args, make_grid):
    from ..runs.grid import carry_out, list_commands, make_table, show_commands
    from ..runs.scheduler import places

    need_counts(args, "jobs", "gpus_per_run", *(["average"] if "average" in args else []))
    for word in args.passed:
        if word.partition("=")[0] in OF_OTHERS:
            raise UsageError(f"{word.partition('=')[0]}: {OF_OTHERS[word.partition('=')[0]]}")
    if os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        raise UsageError(
            "grid starts the trainings itself: run it once, not under torchrun or as several tasks of srun"
        )
    grid = make_grid()
    if getattr(args, "dry_run", False):
        show_commands(grid.preparations())
        show_commands(grid.runs())
    elif args.list:
        list_commands(grid)
    elif args.table:
        make_table(grid)
    else:
        carry_out(grid, places(args.gpus, args.gpus_per_run, args.jobs))
