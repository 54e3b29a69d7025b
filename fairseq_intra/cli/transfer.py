"""Commands about zero-shot cross-lingual transfer."""

from pathlib import Path

from ..errors import UsageError
from ..files import need_folder_of
from ..transfer import TASKS
from .command import add_command, need_counts
from .prepare_flags import language


def add_commands(commands):
    """Adds them to the subparsers of `fairseq-intra`."""
    command = add_command(commands, "prepare-transfer", _prepare_transfer, "binarise text for cross-lingual transfer")
    command.add_argument(
        "--task",
        choices=TASKS,
        required=True,
        help="ner: LANG/{train,dev,test}; xnli: XNLI's two archives; qa: LANG/{train,dev,test}.json, TyDiQA-GoldP, "
        "or XQuAD beside SQuAD v1.1",
    )
    command.add_argument("--input", type=Path, required=True, metavar="DIR", help="the text")
    command.add_argument("--source", type=language, default="en", help="language to train on (default: %(default)s)")
    command.add_argument(
        "--langs", type=_languages, default=[], help="languages to test, as a quoted list (default: all)"
    )
    command.add_argument(
        "--pretrained", type=Path, required=True, metavar="DIR", help="the encoder: dict.txt and subwords"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    for flag, subwords, default in (
        ("--max-seq-length", "of a window: question, part of the context and four special symbols", 384),
        ("--doc-stride", "from the beginning of a window's context to the next one's", 128),
        ("--max-query-length", "of a question; the rest is left out", 64),
    ):
        command.add_argument(flag, type=int, metavar="N", help=f"qa: subwords {subwords} (default: {default})")

    command = add_command(
        commands, "evaluate-transfer", _evaluate_transfer, "score a fine-tuned encoder on languages"
    )
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the model's checkpoint")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="made by prepare-transfer")
    command.add_argument("--max-tokens", type=int, default=8000, help="of a mini-batch (default: %(default)s)")
    command.add_argument("--cpu", action="store_true", help="not on the GPU, even if there is one")

    command = add_command(commands, "transfer-table", _transfer_table, "scores by language as a table (Markdown)")
    command.add_argument("evaluations", nargs="+", type=Path, metavar="FILE.json", help="of evaluate-transfer")


def _languages(text):
    return [language(each) for each in dict.fromkeys(text.split())]


def _prepare_transfer(args):
    from ..transfer.prepare import prepare
    from ..transfer.windows import Lengths

    need_counts(args, "max_seq_length", "doc_stride", "max_query_length")
    need_folder_of(args.out, "--out")
    if args.out.exists():
        raise UsageError(f"--out {args.out} already exists")
    given = {name: value for name in Lengths._fields if (value := getattr(args, name)) is not None}
    if given and args.task != "qa":
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} is for --task qa")
    lengths = Lengths(**given)
    made = prepare(args.task, args.input, args.source, args.langs, args.pretrained, args.out, lengths)
    for split, counts in made["splits"].items():
        print(f"{split}: " + ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items()))


def _evaluate_transfer(args):
    from ..transfer.evaluate import evaluate_all

    need_counts(args, "max_tokens")
    for made in evaluate_all(args.checkpoint, args.data, args.max_tokens, args.cpu):
        print(f"{made.language}: {made.metric} {made.score:.2f}")


def _transfer_table(args):
    from ..transfer.table import transfer_table

    print(transfer_table(args.evaluations))
