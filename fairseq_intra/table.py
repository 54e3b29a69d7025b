"""The results table: plain training beside intra-distillation, pair by pair."""

from pathlib import Path

from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from .errors import UsageError
from .evaluation import Evaluation, read_lines

RESAMPLES = 1000


def results_table(paths: list[Path]) -> str:
    """A Markdown table of BLEU over language pairs, with the paired bootstrap's p-value.

    Args:
        paths: evaluations (JSON files of scripts/evaluate.sh), or folders that hold one each; for every
            language pair one of plain training and one of intra-distillation.

    Raises:
        UsageError: on signatures that differ, references that differ within a pair, a run that has no
            counterpart, or two runs for one place.
    """
    runs = {}
    for path in map(_evaluation_file, paths):
        run = Evaluation.read(path)
        _take(runs.setdefault(_pair(run), {}), run, path)
    _check_signatures([entry for pair in runs.values() for entry in pair.values()])
    rows = [_row(pair, *_both(pair, methods)) for pair, methods in sorted(runs.items())]
    return _markdown(rows, _signature(runs))


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
    return f"{run.source}-{run.target}" if run.split == "test" else f"{run.source}-{run.target} ({run.split})"


def _take(methods, run, path):
    if run.method in methods:
        raise UsageError(f"{path} and {methods[run.method][1]} are both {run.method} runs of {_pair(run)}")
    methods[run.method] = (run, path)


def _check_signatures(entries):
    first, first_path = entries[0]
    for run, path in entries[1:]:
        if run.bleu["signature"] != first.bleu["signature"]:
            raise UsageError(
                f"scores cannot be compared: {first_path} has signature {first.bleu['signature']}, "
                f"{path} has {run.bleu['signature']}"
            )


def _both(pair, methods):
    for method in ("plain", "intra"):
        if method not in methods:
            raise UsageError(f"{pair} has no {method} run to compare with")
    (plain, plain_path), (intra, intra_path) = methods["plain"], methods["intra"]
    if plain.reference_sha256 != intra.reference_sha256:
        raise UsageError(f"{plain_path} and {intra_path} were scored on different references")
    return (plain, plain_path), (intra, intra_path)


def _row(pair, plain_entry, intra_entry):
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
    return pair, plain.bleu["score"], intra.bleu["score"], scores["BLEU"][1].p_value


def _signature(runs):
    (methods, *_) = runs.values()
    (run, _), *_ = methods.values()
    return run.bleu["signature"]


def _markdown(rows, signature):
    lines = [
        "| pair | plain | intra-distillation | difference | p-value |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [f"| {pair} | {a:.2f} | {b:.2f} | {b - a:+.2f} | {p:.3f} |" for pair, a, b, p in rows]
    plain = sum(row[1] for row in rows) / len(rows)
    intra = sum(row[2] for row in rows) / len(rows)
    lines.append(f"| average | {plain:.2f} | {intra:.2f} | {intra - plain:+.2f} | |")
    lines.append("")
    lines.append(f"BLEU, sacreBLEU signature `{signature}`; p-value: paired bootstrap, {RESAMPLES} resamples.")
    return "\n".join(lines)
