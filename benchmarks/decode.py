"""Sentences a second: fairseq-generate as scripts/evaluate.sh has it, against fairseq-interactive as the authors do.

python benchmarks/decode.py --checkpoint FILE --data DIR [--rounds N]

The authors (Machine_Translation/scripts/inference.sh of github fe1ixxu/Intra-Distillation) pipe the subwords of the
test set through fairseq-interactive, 1,024 sentences at a time in batches of at most 100; evaluate.sh has the
binarised set sorted by length as a whole, in batches of at most 8,000 tokens. Both with beam 5, each a process of its
own from start to end, model loading included, scoring not.
"""

import os
import subprocess
import sys
from pathlib import Path

from measure import arguments, cell, interleaved, parsed, ratio, show

from fairseq_intra.runs.evaluation import read_hypotheses, read_lines, read_manifest

PLUGIN = Path(__file__).resolve().parent.parent / "fairseq_intra"
COMMANDS = {
    "fairseq-interactive": ["interactive", "--buffer-size", 1024, "--batch-size", 100],
    "evaluate.sh": ["generate", "--gen-subset", "test", "--max-tokens", 8000, "--no-progress-bar"],
}


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.set_defaults(rounds=3)
    parser.add_argument("--checkpoint", required=True, type=Path, help="the model")
    parser.add_argument(
        "--data", required=True, type=Path, help="a dataset that prepare-parallel.sh or the like made"
    )
    args = parsed(parser)
    source = args.data / "encoded" / f"test.{read_manifest(args.data)['source']}"
    said = {name: Path(f"{args.checkpoint}.{command[0]}.out") for name, command in COMMANDS.items()}
    runs = {
        name: lambda command=command, name=name: translate(args, command, source, said[name])
        for name, command in COMMANDS.items()
    }
    seconds = interleaved(runs, args.rounds, "cpu")
    ratios = {name: ratio(spent, seconds["fairseq-interactive"]) for name, spent in seconds.items()}
    texts = [read_hypotheses(path) for path in said.values()]
    for path in said.values():
        path.unlink()
    count = len(read_lines(source))
    same = sum(a == b for a, b in zip(*texts, strict=True))
    rows = [[name, f"{count / min(seconds[name]):.1f}", cell(ratios[name])] for name in COMMANDS]
    columns = ["command", "sentences a second, best round", "time against fairseq-interactive"]
    title = f"Translating {count} sentences with beam 5; {same} come out the same with both"
    show(title, columns, rows, args, ratios=ratios, seconds=seconds, sentences=count, same=same)


def translate(args, command, source, said):
    name, *flags = command
    common = [
        "--user-dir",
        PLUGIN,
        "--path",
        args.checkpoint,
        "--beam",
        5,
        "--lenpen",
        1,
        "--remove-bpe=sentencepiece",
    ]
    device = ["--cpu"] if args.device == "cpu" else []
    line = [sys.executable, "-m", f"fairseq_cli.{name}", args.data / "bin", *common, *device, *flags]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    with open(source) as text, open(said, "w") as output:
        subprocess.run(
            [str(word) for word in line], stdin=text, stdout=output, stderr=output, env=environment, check=True
        )


if __name__ == "__main__":
    main()
