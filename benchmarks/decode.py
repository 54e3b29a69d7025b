"""Sentences a second of fairseq-generate, of `fairseq-intra evaluate`, and of CTranslate2 in float32 and int8.

python benchmarks/decode.py --checkpoint FILE --data DIR [--threads N] [--rounds N]

All translate the test split with beam 5, the same limit of length and the same batches (at most 8,000 source tokens).
What is compared is the decoding alone, without start-up, reading and scoring: of fairseq-generate the time that it
logs itself ("Translated ... in ... s"), of CTranslate2 that of its engine. One of each in turn in every round. What
`evaluate` takes beside decoding stands below the table.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from measure import arguments, cell, parsed, ratio, show

from fairseq_intra.cli.evaluate import METRICS
from fairseq_intra.files import read_lines
from fairseq_intra.runs import evaluate, generation, scoring
from fairseq_intra.translation import export
from fairseq_intra.translation.ctranslate2_engine import CTranslate2Engine
from fairseq_intra.translation.fairseq_engine import limits_of
from fairseq_intra.translation.search import Search
from fairseq_intra.translation.text import Subwords, decode

BATCH_TOKENS = 8000
TRANSLATED = re.compile(r"Translated [\d,]+ sentences \([\d,]+ tokens\) in ([\d.]+)s")
BASE = "fairseq-generate"


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.set_defaults(rounds=3)
    parser.add_argument("--checkpoint", required=True, type=Path, help="the model")
    parser.add_argument("--data", required=True, type=Path, help="the dataset that it was trained on")
    args = parsed(parser)
    os.environ |= {"OMP_NUM_THREADS": str(args.threads), "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as scratch:
        measure(args, Path(scratch))


def measure(args, scratch):
    dataset = evaluate.read_dataset(args.data)
    source, reference = (
        read_lines(args.data / f"raw/test.{language}") for language in (dataset.source, dataset.target)
    )
    state = evaluate.checkpoints.load(args.checkpoint)
    factor, more = evaluate.MAX_LEN
    limits = limits_of(state["cfg"])._replace(max_len_a=factor, max_len_b=more)
    sources = Subwords(args.data / "spm/joint.model", dataset.lowercase).encode(source)
    runs = {BASE: lambda: by_generate(args, scratch), "evaluate": lambda: by_evaluate(args, scratch)}
    for kind in ("float32", "int8"):
        export.convert(args.checkpoint, args.data, scratch / kind, kind)
        engine = CTranslate2Engine(scratch / kind, limits, threads=args.threads)
        runs[f"CTranslate2 {kind}"] = lambda engine=engine: by_engine(engine, sources)
    seconds, beside, texts = {name: [] for name in runs}, [], {}
    for number in range(args.rounds + 1):
        for name, run in runs.items():
            texts[name], spent, *more = run()
            # The first round warms up.
            if number:
                seconds[name].append(spent)
                beside += more
        print(f"round {number} of {args.rounds}", file=sys.stderr)
    report(args, dataset, reference, seconds, beside, texts)


def report(args, dataset, reference, seconds, beside, texts):
    tokenize = scoring.tokenizer_of(dataset.target)
    bleu = {
        name: scoring.score_all(text, reference, ("bleu",), tokenize, False)["bleu"]["score"]
        for name, text in texts.items()
    }
    same = {name: sum(map(str.__eq__, text, texts[BASE])) / len(reference) for name, text in texts.items()}
    speed = {name: ratio(seconds[BASE], spent) for name, spent in seconds.items()}
    rows = [
        [
            name,
            f"{len(reference) / min(seconds[name]):.1f}",
            cell(speed[name]),
            f"{bleu[name] - bleu[BASE]:+.2f}",
            f"{same[name]:.1%}",
        ]
        for name in texts
    ]
    length = sum(len(line.split()) for line in texts[BASE]) / len(reference)
    columns = ["decoding", "sentences a second, best round", f"speed against {BASE}", "BLEU", "identical"]
    title = (
        f"Decoding {len(reference)} sentences ({length:.1f} words each, BLEU {bleu[BASE]:.2f}) with beam 5 on "
        f"{args.threads} core{'s' * (args.threads > 1)}; checks and scoring of evaluate: {min(beside):.1f} s"
    )
    figures = {"seconds": seconds, "speed": speed, "bleu": bleu, "identical": same, "beside_decoding": beside}
    show(title, columns, rows, args, **figures, ctranslate2=version("ctranslate2"))


def by_generate(args, scratch):
    """(translations, seconds of decoding) of fairseq-generate, started as evaluate starts it."""
    flags = [
        "--path",
        args.checkpoint,
        "--gen-subset",
        "test",
        "--beam",
        5,
        "--lenpen",
        1,
        "--cpu",
        "--no-progress-bar",
    ]
    flags += ["--max-tokens", BATCH_TOKENS, "--max-len-a", evaluate.MAX_LEN[0], "--max-len-b", evaluate.MAX_LEN[1]]
    flags += ["--post-process", "sentencepiece", "--user-dir", evaluate.PACKAGE]
    output, log = scratch / "out", scratch / "log"
    with output.open("wb") as out, log.open("wb") as errors:
        command = [*generation.fairseq_command("generate"), args.data / "bin", *flags]
        environment = generation.environment(cpu=True)
        subprocess.run([str(word) for word in command], stdout=out, stderr=errors, env=environment, check=True)
    return [best[0].text for best in generation.read_nbest(output)], decoding_seconds(output, log)


def decoding_seconds(*logs):
    said = "".join(path.read_text(encoding="utf-8") for path in logs)
    return float(TRANSLATED.search(said)[1].replace(",", ""))


def by_evaluate(args, scratch):
    """(translations, seconds of decoding, seconds beside fairseq-generate) of `fairseq-intra evaluate`."""
    spent = {}

    def generate(arguments, output, sentences, cpu):
        begin = time.perf_counter()
        generation.generate(arguments, output, sentences, cpu)
        spent["process"] = time.perf_counter() - begin
        spent["decoding"] = decoding_seconds(output, output.with_suffix(".log"))

    request = evaluate.Request(
        checkpoints=[args.checkpoint],
        trained=[args.checkpoint],
        data=args.data,
        splits=("test",),
        wmt=False,
        metrics=METRICS[:2],
        beam=5,
        lenpen=1.0,
        tune_lenpen=False,
        max_tokens=BATCH_TOKENS,
        output=scratch,
        tokenize=None,
        confidence=False,
        truncate_source=False,
        engine="fairseq",
        passed=[],
    )
    evaluate.generate, before = generate, evaluate.generate
    begin = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        (result,) = evaluate.evaluate(request)
    total = time.perf_counter() - begin
    evaluate.generate = before
    return read_lines(result.path.with_name(f"{result.path.name}.hyp")), spent["decoding"], total - spent["process"]


def by_engine(engine, sources):
    """(translations, seconds of decoding) of CTranslate2."""
    found = [""] * len(sources)
    begin = time.perf_counter()
    for number, hypotheses in engine.translate(sources, Search(batch_tokens=BATCH_TOKENS)):
        found[number] = decode(hypotheses[0].subwords)
    return found, time.perf_counter() - begin


if __name__ == "__main__":
    main()
