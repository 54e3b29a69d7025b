"""The table of cross-lingual transfer: plain training beside other methods, language by language, over seeds."""

import statistics
from pathlib import Path

from ..errors import UsageError
from ..json_files import read_record
from ..methods import TITLES
from ..runs.comparison import (
    Comparison,
    columns_of,
    joined,
    markdown,
    mean_and_spread,
    methods_of,
    score_cells,
    seeds_of,
)
from ..runs.evaluation import plain_note, unfinished_note
from ..runs.run_settings import require_alike
from .evaluation import FORMAT, TransferEvaluation

NAMES = {
    "f1": "Entity-level F1 by seqeval, in percent",
    "accuracy": "Accuracy, in percent",
    "answer_f1": "F1 of answers and exact match by SQuAD's normalisation, in percent",
}


def transfer_table(paths: list[Path]) -> str:
    """A Markdown table of the languages: means over seeds, standard deviations, and the averages.

    Args:
        paths: JSON files of `evaluate_all`, of every method (plain among them), seed and language.

    Raises:
        UsageError: on runs that cannot be compared, that are twice there, or that lack a counterpart.
    """
    languages = _read(paths)
    seeds = seeds_of(languages.values())
    methods = methods_of(languages.values())
    pairs = {name: comparison.by_seed(methods, seeds) for name, comparison in languages.items()}
    first = next(iter(pairs.values()))[0][0]
    order = sorted(pairs, key=lambda name: (name != first.source, name))
    for name in order:
        if len({run.labels_sha256 for pair in pairs[name] for run in pair}) > 1:
            raise UsageError(f"the runs of {name} were scored on different texts")
    columns = ["language", *columns_of(methods)]
    if first.metric == "accuracy":
        columns.append("most frequent label")
    if first.metric == "answer_f1":
        columns += [f"exact match, {TITLES[method]}" for method in methods]
    rows = [_row(name, [pairs[language] for language in group]) for name, group in _groups(order, first.source)]
    note = NAMES[first.metric]
    if len(seeds) > 1:
        note += f"; means and standard deviations over {len(seeds)} seeds, a difference is between runs of one seed"
    # All languages are of the same checkpoints.
    plain = plain_note(run.before_switch for of_seed in pairs[first.language] for run in of_seed)
    return markdown(columns, rows, [f"{note}.", *plain, *unfinished_note((path, None) for path in paths)])


def _read(paths):
    """The runs by language."""
    languages: dict[str, Comparison[TransferEvaluation]] = {}
    kinds = set()
    first: dict[str | None, Path] = {}
    for path in paths:
        run = read_record(TransferEvaluation, path, FORMAT, "an evaluation of fairseq-intra evaluate-transfer")
        if run.metric not in NAMES:
            raise UsageError(f"{path} has the metric {run.metric}, not one of {', '.join(NAMES)}")
        languages.setdefault(run.language, Comparison(run.language)).add(run.method, run.seed, run, path)
        kinds.add((run.metric, run.source))
        # RUN/checkpoints/NAME.LANG.json.
        require_alike(path.absolute().parent.parent, run.method, first)
    if len(kinds) > 1:
        raise UsageError("the runs are not all of one metric and one language trained on")
    return languages


def _groups(languages, source):
    """(name, languages) of every row."""
    for language in languages:
        yield f"{language} ({'trained on' if language == source else 'zero-shot'})", [language]
    others = [language for language in languages if language != source]
    if len(others) > 1:
        yield "average, zero-shot", others
    if 1 < len(languages) > len(others):
        yield "average, all", languages


def _row(name, languages):
    """The row of some languages, of which each is [(plain, other, ...)] by seed."""
    cells = [name, *joined(score_cells(_means(languages, lambda run: run.score)))]
    details = languages[0][0][0].details
    if "majority" in details:
        cells.append(f"{statistics.mean(pairs[0][0].details['majority'] for pairs in languages):.2f}")
    if "exact_match" in details:
        cells += map(mean_and_spread, _means(languages, lambda run: run.details["exact_match"]))
    return cells


def _means(languages, value):
    """Of each method the means of a value over languages, by seed."""
    return [
        [statistics.mean(value(pair[method]) for pair in pairs) for pairs in zip(*languages, strict=True)]
        for method in range(len(languages[0][0]))
    ]
