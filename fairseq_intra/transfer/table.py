"""The table of cross-lingual transfer: plain training beside intra-distillation, language by language, over seeds."""

import statistics
from pathlib import Path

from ..errors import UsageError
from ..files import read_record
from ..runs.tables import METHODS, line, mean_and_spread
from .evaluate import FORMAT, TransferEvaluation

NAMES = {"f1": "Entity-level F1 by seqeval, in percent", "accuracy": "Accuracy, in percent"}


def transfer_table(paths: list[Path]) -> str:
    """A Markdown table of the languages: means over seeds, standard deviations, and the averages.

    Args:
        paths: JSON files of `evaluate_all`, of both methods, every seed and every language.

    Raises:
        UsageError: on runs that cannot be compared, that are twice there, or that lack a counterpart.
    """
    runs = _read(paths)
    first = next(iter(runs.values()))
    seeds = sorted({seed for *_, seed in runs})
    languages = sorted({language for language, *_ in runs}, key=lambda name: (name != first.source, name))
    for language in languages:
        _check(language, [runs.get((language, method, seed)) for method in METHODS for seed in seeds])
    columns = ["language", "plain", "intra-distillation", "difference"]
    if first.metric == "accuracy":
        columns.append("most frequent label")
    rows = [_row(name, group, runs, seeds) for name, group in _groups(languages, first.source)]
    note = NAMES[first.metric]
    if len(seeds) > 1:
        note += f"; means and standard deviations over {len(seeds)} seeds, a difference is between runs of one seed"
    return "\n".join([line(columns), "|---|" + "---:|" * (len(columns) - 1), *rows, "", f"{note}."])


def _read(paths):
    """The evaluations by language, method and seed."""
    runs = {}
    for path in paths:
        run = read_record(TransferEvaluation, path, FORMAT, "an evaluation of fairseq-intra evaluate-transfer")
        place = (run.language, run.method, run.seed)
        if place in runs:
            raise UsageError(f"{path}: there is another {run.method} run of {run.language} with seed {run.seed}")
        runs[place] = run
    if len({(run.metric, run.source) for run in runs.values()}) > 1:
        raise UsageError("the runs are not all of one metric and one language trained on")
    return runs


def _check(language, runs):
    if None in runs:
        raise UsageError(f"{language} lacks a run: every seed needs one of plain and one of intra")
    if len({run.labels_sha256 for run in runs}) > 1:
        raise UsageError(f"the runs of {language} were scored on different texts")


def _groups(languages, source):
    """(name, languages) of every row."""
    for language in languages:
        yield f"{language} ({'trained on' if language == source else 'zero-shot'})", [language]
    others = [language for language in languages if language != source]
    if len(others) > 1:
        yield "average, zero-shot", others
    if 1 < len(languages) > len(others):
        yield "average, all", languages


def _row(name, group, runs, seeds):
    plain, intra = (
        [statistics.mean(runs[language, method, seed].score for language in group) for seed in seeds]
        for method in METHODS
    )
    gains = [b - a for a, b in zip(plain, intra, strict=True)]
    cells = [name, mean_and_spread(plain), mean_and_spread(intra), mean_and_spread(gains, "+")]
    details = [runs[language, METHODS[0], seeds[0]].details for language in group]
    if "majority" in details[0]:
        cells.append(f"{statistics.mean(found['majority'] for found in details):.2f}")
    return line(cells)
