"""Multi30k's results: ours beside published figures, each test set by itself, and the tests of all sets together."""

import statistics
from pathlib import Path

from ..methods import TITLES
from .comparison import Comparison, markdown, methods_of, seeds_of
from .evaluation import unfinished_note
from .scored_texts import DETOKENISED
from .scoring import MEDIAN, TEST, p_value_of_seeds
from .tables import Entry, entries_table, read_entries, results_table

SETS = {"test": "test2016", "test1": "test2017", "test2": "MSCOCO"}
#: BLEU of tokens, English to German, Transformer-Tiny.
PUBLISHED = {
    "text only (arXiv 2105.14462)": {"test": 41.02},
    "synthetic images and consistency losses (arXiv 2310.13361)": {"test": 42.50, "test1": 36.04, "test2": 31.95},
}


def multi30k_table(paths: list[Path], show_differences: bool = False) -> str:
    """Tables in Markdown of `evaluate`'s records of tokenised text, of all methods, seeds and test sets.

    Of one method there is nothing to compare it with but published figures.

    Args:
        paths: JSON files of evaluations.
        show_differences: as in `tables.results_table`.

    Raises:
        UsageError: as `tables.results_table`.
    """
    of_tokens = [path for path in paths if path.parent.name != DETOKENISED]
    entries, differing = read_entries(of_tokens, show_differences=show_differences)
    groups: dict[tuple[str, bool], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(
            (f"{entry.evaluation.source}-{entry.evaluation.target}", bool(entry.evaluation.tuning)), []
        ).append(entry)
    sets = ", ".join(f"{split} is {name}" for split, name in SETS.items())
    parts = ["# Multi30k"]
    parts += [_beside_published(pair, groups) for pair in dict.fromkeys(pair for pair, _ in groups)]
    if len({entry.evaluation.method for entry in entries}) == 1:
        notes = unfinished_note((entry.path, entry.evaluation.unfinished_run) for entry in entries)
        return "\n\n".join([*parts, *notes])
    parts += ["## Test sets together", *(_together(*key, of_group) for key, of_group in groups.items())]
    parts += [
        f"## Tokens, as published figures count them\n\n{sets}.",
        entries_table(entries, differing),
    ]
    detokenised = [path for path in paths if path not in of_tokens]
    if detokenised:
        parts += [
            "## Detokenised, sacreBLEU's default",
            results_table(detokenised, show_differences=show_differences),
        ]
    return "\n\n".join(parts)


def _beside_published(pair, groups):
    rows = [[name, *_cells(scores)] for name, scores in PUBLISHED.items() if pair == "en-de"]
    for (of_pair, tuned), entries in groups.items():
        for method in [method for method in TITLES if of_pair == pair]:
            ours = [entry.evaluation for entry in entries if entry.evaluation.method == method]
            found = {split: [each.bleu["score"] for each in ours if each.split == split] for split in SETS}
            means = {split: statistics.mean(scores) for split, scores in found.items() if scores}
            if means:
                rows.append([f"ours, {TITLES[method]}{', length penalty tuned' * tuned}", *_cells(means)])
    note = "BLEU of lower-cased tokens; ours are means over seeds. Nothing was chosen on a test set."
    return f"## {pair}\n\n" + markdown(["model", *SETS.values()], rows, [note])


def _cells(scores):
    return [f"{scores[split]:.2f}" if split in scores else "" for split in SETS]


def _together(pair, tuned, entries):
    """The differences from plain over all test sets of a pair, with the p-values of every seed."""
    sets: dict[str, Comparison[Entry]] = {}
    for entry in entries:
        name = f"{pair} ({entry.evaluation.split})"
        sets.setdefault(entry.evaluation.split, Comparison(name)).add(
            entry.evaluation.method, entry.evaluation.seed, entry, entry.path
        )
    methods = methods_of(sets.values())
    by_set = [comparison.by_seed(methods, seeds_of(sets.values())) for comparison in sets.values()]
    rows = []
    for number, method in enumerate(methods[1:], 1):
        pairs = [(entries[0], entries[number]) for of_set in by_set for entries in of_set]
        gains = [other.evaluation.bleu["score"] - plain.evaluation.bleu["score"] for plain, other in pairs]
        of_seeds = [
            (
                sum((entries[0].statistics for entries in of_seed), []),
                sum((entries[number].statistics for entries in of_seed), []),
            )
            for of_seed in zip(*by_set, strict=True)
        ]
        difference = statistics.mean(gains)
        together, p_values = p_value_of_seeds(of_seeds, difference)
        by_seed = ", ".join(f"{value:.3f}" for value in p_values)
        median = f"{together:.3f}"
        rows.append([TITLES[method], f"{difference:+.2f}", median, by_seed])
    title = f"{pair}{', length penalty tuned' * tuned}: {', '.join(SETS.get(name, name) for name in sets)}"
    note = "Difference from plain: mean over sets and seeds. "
    note += f"p-values: {TEST}, over all sentences of a seed, and {MEDIAN}."
    return f"{title}\n\n" + markdown(["method", "difference", "p-value, median", "of each seed"], rows, [note])
