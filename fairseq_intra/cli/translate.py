"""`fairseq-intra translate` and `fairseq-intra export`: one's own text, and a model to serve."""

from pathlib import Path

from ..errors import UsageError
from .command import add_command, need_counts, need_lenpen

EXAMPLES = """fairseq-intra translate --checkpoint RUN/checkpoints/checkpoint_best.pt --data DATA <text.de >text.en
  fairseq-intra translate --model EXPORTED --input text.de --output text.en --threads 2"""
MORE = """Raw text in UTF-8, a sentence a line; its translation comes line for line, a blank one for a blank one.
Lines beyond the model's limit are translated in parts. With --nbest above 1, a line's translations follow one
another, each after the line's number and a tab. A score is the translation's log-probability (natural logarithm), the
end of sentence included, over its length in subwords to the power of --lenpen."""
MAX_THREADS = 1024
EXPORT = "fairseq-intra export --checkpoint RUN/checkpoints/checkpoint_best.pt --data DATA --output EXPORTED"
EXPORTED = """\
The folder holds the model, its SentencePiece model, its settings and a model card, README.md. Before it takes its
name, sentences of valid are translated by both engines and compared."""


def add_commands(commands):
    """Adds them to the subparsers of `fairseq-intra`."""
    command = add_command(
        commands, "translate", _translate, "translate one's own text with a trained model", EXAMPLES, MORE
    )
    command.add_argument("--checkpoint", type=Path, metavar="FILE", help="the model, translated with by fairseq")
    command.add_argument("--data", type=Path, metavar="DIR", help="the dataset that --checkpoint was trained on")
    command.add_argument(
        "--model", type=Path, metavar="DIR", help="instead a model of fairseq-intra export, by CTranslate2"
    )
    command.add_argument("--input", type=Path, metavar="FILE", help="default: standard input")
    command.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    command.add_argument("--beam", type=int, default=5, help="beam size (default: %(default)s)")
    command.add_argument("--lenpen", type=float, default=1.0, help="length penalty (default: 1)")
    command.add_argument(
        "--nbest", type=int, default=1, metavar="N", help="translations of a line, at most --beam (default: 1)"
    )
    command.add_argument("--scores", action="store_true", help="before each translation its score and a tab")
    command.add_argument(
        "--batch-tokens", type=int, default=8000, metavar="N", help="source subwords a batch (default: %(default)s)"
    )
    command.add_argument("--threads", type=int, metavar="N", help="on the CPU (default: one for each core)")
    command.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU where there is one"
    )
    command = add_command(
        commands,
        "export",
        _export,
        "make a folder to translate with by CTranslate2, without torch or fairseq",
        EXPORT,
        EXPORTED,
    )
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the model, a transformer")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="the dataset that it was trained on")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder that is made")
    command.add_argument(
        "--quantization", choices=("int8",), help="smaller and faster; not all translations stay the same"
    )


def _translate(args):
    from ..processes import ending_on_signals

    with ending_on_signals("the same command starts over"):
        _translate_streams(args)


def _translate_streams(args):
    need_counts(args, "beam", "nbest", "batch_tokens", "threads")
    if args.threads and args.threads > MAX_THREADS:
        raise UsageError(f"--threads must be at most {MAX_THREADS}, not {args.threads}")
    need_lenpen(args.lenpen)
    if args.nbest > args.beam:
        raise UsageError(f"--nbest {args.nbest} is more than --beam {args.beam}")
    if (args.model is None) == (args.checkpoint is None):
        raise UsageError("give the model either by --checkpoint FILE --data DIR or by --model DIR")
    if args.model and args.data:
        raise UsageError("--model needs no --data: the exported folder has its SentencePiece model")
    if (args.data is None) != (args.checkpoint is None):
        raise UsageError("--checkpoint and --data belong together: the dataset has the model's SentencePiece model")
    from ..translation.search import Search
    from ..translation.streams import Streams, check_streams
    from ..translation.translate import load_checkpoint, load_exported, translate

    streams = Streams(args.input, args.output)
    check_streams(streams)
    if args.model:
        if args.output and args.model.resolve() in args.output.resolve().parents:
            raise UsageError(f"--output {args.output} is in the folder of --model; give another file")
        translator = load_exported(args.model, args.device, args.threads)
    else:
        translator = load_checkpoint(args.checkpoint, args.data, args.device, args.threads)
    translate(translator, Search(args.beam, args.lenpen, args.nbest, args.batch_tokens), streams, args.scores)


def _export(args):
    from ..translation.export import export

    export(args.checkpoint, args.data, args.output, args.quantization or "float32")
