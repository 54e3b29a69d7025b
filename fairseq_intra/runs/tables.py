"""The results table: plain training beside intra-distillation, pair by pair, over seeds."""

import statistics
from pathlib import Path

from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from ..errors import UsageError
from ..files import read_lines
from .evaluation import Evaluation

RESAMPLES = 1000
METHODS = ("plain", "intra")
#: BLEU on IWSLT'14 as reported: Xu, Koehn and Murray 2022, and for German an independent reproduction of 2023
#: (University of Washington).
PAPER = {"de-en": (33.07, 36.10)}
PAPER_AVERAGE_GAIN, PAPER_PAIRS = 3.54, 8
REPRODUCTION = {"de-en": (32.90, 35.11)}


def results_table(paths: list[Path], beside_paper: bool = False) -> str:
    """A Markdown table of BLEU over language pairs: means over seeds, standard deviations, and a p-value.

    Args:
        paths: evaluations (JSON files of scripts/evaluate.sh), or folders that hold one each; for every
            language pair one of plain training and one of intra-distillation, of each seed.
        beside_paper: adds a column of what is reported for IWSLT'14.

    Raises:
        UsageError: on signatures that differ, references that differ within a pair, a run that has no
            counterpart, or two runs for one place.
    """
    pairs = {}
    for path in map(_evaluation_file, paths):
        run = Evaluation.read(path)
        _take(pairs.setdefault(_pair(run), {}), run, path)
    entries = [entry for runs in pairs.values() for entry in runs.values()]
    _check_signatures(entries)
    rows = [_row(pair, _seeds(pair, runs)) for pair, runs in sorted(pairs.items())]
    return _markdown(rows, entries[0][0].bleu["signature"], beside_paper)


def _evaluation_file(path):
    if not path.is_dir():
        return path
    # scripts/train.sh keeps a run's checkpoints, and with them their evaluations, in a folder of the run's.
    found = sorted([*path.glob("*.json"), *path.glob("checkpoints/*.json")])
    found = [file for file in found if file.with_suffix(".hyp").exists()]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UsageError(f"{path} should hold one evaluation, but holds {names}; name the JSON file instead")
    return found[0]


def _pair(run):
    """The name of a run's row: a dataset called NAME.SRC-TGT gives its own, so that two corpora have two rows."""
    pair = f"{run.source}-{run.target}"
    if run.dataset.endswith(f".{pair}"):
        pair = run.dataset
    return pair if run.split == "test" else f"{pair} ({run.split})"


def _take(runs, run, path):
    if run.method not in METHODS:
        raise UsageError(f"{path} is a {run.method} run; the table sets plain beside intra")
    place = (run.method, run.seed)
    if place in runs:
        raise UsageError(
            f"{path} and {runs[place][1]} are both {run.method} runs of {_pair(run)} with seed {run.seed}"
        )
    runs[place] = (run, path)


def _check_signatures(entries):
    first, first_path = entries[0]
    for run, path in entries[1:]:
        if run.bleu["signature"] != first.bleu["signature"]:
            raise UsageError(
                f"scores cannot be compared: {first_path} has signature {first.bleu['signature']}, "
                f"{path} has {run.bleu['signature']}"
            )


def _seeds(pair, runs):
    """[(plain, intra)] of a pair, by seed, each a run and its path."""
    both = []
    for seed in sorted({seed for _, seed in runs}):
        for method in METHODS:
            if (method, seed) not in runs:
                raise UsageError(f"{pair} has no {method} run of seed {seed} to compare with")
        (plain, plain_path), (intra, intra_path) = entries = [runs[method, seed] for method in METHODS]
        if plain.reference_sha256 != intra.reference_sha256:
            raise UsageError(f"{plain_path} and {intra_path} were scored on different references")
        both.append(entries)
    return both


def _row(pair, seeds):
    """(pair, scores of plain, scores of intra-distillation, p-value), the scores by seed."""
    plain, intra = ([run.bleu["score"] for run, _ in entries] for entries in zip(*seeds, strict=True))
    # Of an even number the larger of the two in the middle: on the side of caution.
    return pair, plain, intra, statistics.median_high(_p_value(*entries) for entries in seeds)


def _p_value(plain_entry, intra_entry):
    (plain, plain_path), (intra, intra_path) = plain_entry, intra_entry
    reference = read_lines(plain_path.with_name(plain.reference))
    systems = [
        ("plain", read_lines(plain_path.with_name(plain.hypotheses))),
        ("intra", read_lines(intra_path.with_name(intra.hypotheses))),
    ]
    for (name, hypotheses), run in zip(systems, (plain, intra), strict=True):
        if len(hypotheses) != len(reference):
            raise UsageError(f"{run.hypotheses} of {name} has {len(hypotheses)} lines, not {len(reference)}")
    test = PairedTest(systems, {"BLEU": BLEU(references=[reference])}, None, "bs", RESAMPLES)
    _, scores = test()
    return scores["BLEU"][1].p_value


def _markdown(rows, signature, beside_paper):
    columns = ["pair", "plain", "intra-distillation", "difference", "p-value", *["paper"] * beside_paper]
    lines = [line(columns), "|---|" + "---:|" * (len(columns) - 1)]
    for pair, plain, intra, p in rows:
        gains = [b - a for a, b in zip(plain, intra, strict=True)]
        cells = [pair, mean_and_spread(plain), mean_and_spread(intra), mean_and_spread(gains, "+"), f"{p:.3f}"]
        lines.append(line(cells + [_reported(PAPER, pair)] * beside_paper))
    plain, intra = (statistics.mean(statistics.mean(row[column]) for row in rows) for column in (1, 2))
    cells = ["average", f"{plain:.2f}", f"{intra:.2f}", f"{intra - plain:+.2f}", ""]
    lines.append(line(cells + [f"{PAPER_AVERAGE_GAIN:+} ({PAPER_PAIRS} pairs)"] * beside_paper))
    lines += ["", *_notes(rows, signature, beside_paper)]
    return "\n".join(lines)


def line(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def _notes(rows, signature, beside_paper):
    seeds = {len(plain) for _, plain, _, _ in rows}
    p_value = f"p-value: paired bootstrap, {RESAMPLES} resamples"
    if max(seeds) > 1:
        p_value += ", the median of those of the seeds"
        counts = " or ".join(map(str, sorted(seeds)))
        yield f"Means and standard deviations over {counts} seeds; a difference is between runs of one seed."
    yield f"BLEU, sacreBLEU signature `{signature}`; {p_value}."
    if beside_paper:
        reproduced = ", ".join(f"{pair} {_reported(REPRODUCTION, pair)}" for pair in REPRODUCTION)
        yield f"Paper: Xu, Koehn and Murray 2022. An independent reproduction (2023) has {reproduced}."


def mean_and_spread(scores: list[float], sign: str = "") -> str:
    """The mean, and where there are several the standard deviation, in two decimals."""
    spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):{sign}.2f}{spread}"


def _reported(figures, pair):
    if pair not in figures:
        return ""
    plain, intra = figures[pair]
    return f"{plain:.2f} to {intra:.2f} ({intra - plain:+.2f})"
