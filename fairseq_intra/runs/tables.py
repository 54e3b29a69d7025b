"""The results table: plain training beside other methods, pair by pair, over seeds."""

import statistics
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from .comparison import Comparison, average_cells, columns_of, joined, markdown, methods_of, score_cells
from .evaluation import Evaluation, is_evaluation, plain_note, unfinished_note, unfinished_runs
from .length_penalty import rule
from .run_settings import Difference, differences, first_other, require_same, unchecked
from .scoring import MEDIAN, TEST, p_value_of_seeds

#: BLEU on IWSLT'14 as reported: Xu, Koehn and Murray 2022, and for German an independent reproduction of 2023
#: (University of Washington).
PAPER = {"de-en": (33.07, 36.10)}
PAPER_AVERAGE_GAIN, PAPER_PAIRS = 3.54, 8
PAPER_COLUMN = "paper, plain to intra-distillation"
REPRODUCTION = {"de-en": (32.90, 35.11)}
#: In the name of a row.
TUNED = "length penalty tuned"
#: By how much times of training may differ that are called equal.
UNEVEN = 0.1
#: What is unchecked of a checkpoint from elsewhere.
ENDED = "whether the training had ended"


class Entry(NamedTuple):
    """An evaluation, its file, and the statistics of its sentences."""

    evaluation: Evaluation
    path: Path
    statistics: list[list[int]]


class Row(NamedTuple):
    """A language pair: [(plain, other, ...)] by seed."""

    name: str
    seeds: list[tuple[Entry, ...]]

    def entries(self) -> list[Entry]:
        """All of all methods."""
        return [entry for entries in self.seeds for entry in entries]

    def methods(self) -> list[list[Entry]]:
        """The entries of each method, by seed."""
        return [list(entries) for entries in zip(*self.seeds, strict=True)]

    def scores(self) -> list[list[float]]:
        """BLEU of each method, by seed."""
        return [[entry.evaluation.bleu["score"] for entry in entries] for entries in self.methods()]


def results_table(
    paths: list[Path], beside_paper: bool = False, equal_time: bool = False, show_differences: bool = False
) -> str:
    """A Markdown table of BLEU over language pairs: means over seeds, standard deviations, and a p-value.

    Args:
        paths: evaluations (JSON files of scripts/evaluate.sh), or folders that hold them; for every language pair
            one of each method and seed, plain training among them.
        beside_paper: adds a column of what is reported for IWSLT'14.
        equal_time: limits of updates may differ, and the seconds of training until each checkpoint are shown.
        show_differences: other settings of training and decoding may differ, and are shown.

    Raises:
        UsageError: on scores that cannot be compared, settings that differ, texts that are not those scored, a run
            that has no counterpart, or two runs for one place.
    """
    return entries_table(*read_entries(paths, equal_time, show_differences), beside_paper, equal_time)


def read_entries(
    paths: list[Path], equal_time: bool = False, show_differences: bool = False
) -> tuple[list[Entry], list[Difference]]:
    """The evaluations of one table, and what differs between them; arguments as of `results_table`.

    Raises:
        UsageError: on settings that differ, or texts that are not those scored.
    """
    files = [file for path in paths for file in _evaluation_files(path)]
    evaluations = [(Evaluation.read(file), file) for file in files]
    require_same(evaluations)
    differing = differences(evaluations, equal_time)
    if differing and not show_differences:
        advice = "make them alike, or give --show-differences" + " or --equal-time" * differing[0].is_limit
        raise UsageError(f"{differing[0].message}; {advice}")
    return [Entry(found, file, found.sentence_statistics(file)) for found, file in evaluations], differing


def entries_table(
    entries: list[Entry], differing: list[Difference], beside_paper: bool = False, equal_time: bool = False
) -> str:
    """The table of what `read_entries` found; arguments as of `results_table`.

    Raises:
        UsageError: on scores of other texts, a run that has no counterpart, or two runs for one place.
    """
    kinds = len({entry.evaluation.kind for entry in entries}) > 1
    groups: dict[str, Comparison[Entry]] = {}
    for entry in entries:
        name = _row_name(entry.evaluation, kinds)
        groups.setdefault(name, Comparison(name)).add(
            entry.evaluation.method, entry.evaluation.seed, entry, entry.path
        )
    methods = methods_of(groups.values())
    rows = [Row(name, group.by_seed(methods)) for name, group in sorted(groups.items())]
    for row in rows:
        _require_same_text(row)
    return _table(rows, methods, differing, beside_paper, equal_time)


def _evaluation_files(path):
    if not path.is_dir():
        return [path]
    # scripts/train.sh keeps a run's checkpoints, and with them their evaluations, in a folder of the run's.
    files = sorted([*path.glob("*.json"), *path.glob("checkpoints/*.json")])
    if not (found := [file for file in files if is_evaluation(file)]):
        evaluated = {str(file.parent.parent) for file in path.glob("*/checkpoints/*.json") if is_evaluation(file)}
        runs = f"give the runs in it: {' '.join(sorted(evaluated))}" if evaluated else ""
        instead = runs or "run fairseq-intra evaluate first, or name its JSON file"
        raise UsageError(f"{path} holds no evaluation: {instead}")
    return found


def _row_name(evaluation, kinds):
    """A dataset called NAME.SRC-TGT gives its own name, so that two corpora have two rows."""
    pair = f"{evaluation.source}-{evaluation.target}"
    if evaluation.dataset.endswith(f".{pair}"):
        pair = evaluation.dataset
    details = (
        [evaluation.split] * (evaluation.split != "test")
        + [evaluation.kind or "unknown"] * kinds
        + [TUNED] * bool(evaluation.tuning)
    )
    return f"{pair} ({', '.join(details)})" if details else pair


def _require_same_text(row):
    for field, message in {
        "reference_sha256": "{} and {} were scored on different references",
        "corpus": "{} and {} are of two corpora, both called {}",
        "trained_on": "the models of {} and {} were trained on different data",
    }.items():
        recorded = [(getattr(entry.evaluation, field), entry.path) for entry in row.entries()]
        known = [(value, path) for value, path in recorded if value is not None]
        if other := first_other(known):
            raise UsageError(message.format(known[0][1], other[1], row.name))


def _table(rows, methods, differing: list[Difference], beside_paper, equal_time):
    more = ["seconds"] * equal_time + ["differs in"] * bool(differing) + [PAPER_COLUMN] * beside_paper
    columns = ["pair", *columns_of(methods, "p-value"), *more]
    lines = []
    for row in rows:
        plain, *others = _scores(row)
        cells = [row.name, *plain, *joined([[*cells, p] for cells, p in zip(others, _p_values(row), strict=True)])]
        cells += [_seconds(row)] * equal_time + [_differences(row, differing)] * bool(differing)
        lines.append(cells + [_reported(PAPER, row.name)] * beside_paper)
    evaluations = [entry.evaluation for row in rows for entry in row.entries()]
    if len(rows) > 1 and len({(found.split, found.kind, rule(found.tuning)) for found in evaluations}) == 1:
        means = zip(*([statistics.mean(scores) for scores in row.scores()] for row in rows), strict=True)
        plain, *others = average_cells(means)
        last = ["average", *plain, *joined([[*cells, ""] for cells in others])]
        last += [""] * (equal_time + bool(differing))
        lines.append(last + [f"{PAPER_AVERAGE_GAIN:+} ({PAPER_PAIRS} pairs)"] * beside_paper)
    return markdown(columns, lines, list(_notes(rows, differing, beside_paper, equal_time)))


def _scores(row):
    cells = score_cells(row.scores())
    if len(row.seeds) > 1:
        return cells
    for of_method, entry in zip(cells, row.seeds[0], strict=True):
        interval = entry.evaluation.bleu.get("confidence")
        if interval:
            low, high = (interval["mean"] + sign * interval["half_width"] for sign in (-1, 1))
            of_method[0] += f" ({low:.2f} to {high:.2f})"
    return cells


def _p_values(row):
    """The cells of the other methods' p-values, each against plain."""
    plain, *others = row.methods()
    for other in others:
        together, _ = p_value_of_seeds([(a.statistics, b.statistics) for a, b in zip(plain, other, strict=True)])
        yield f"{together:.3f}"


def _times(row) -> list[list[Any]]:
    """The seconds of training by method and seed; None where the record does not hold them."""
    return [[(entry.evaluation.training or {}).get("seconds") for entry in entries] for entries in row.methods()]


def _seconds(row):
    return " / ".join("?" if None in known else f"{statistics.mean(known):.0f}" for known in _times(row))


def _has_other_times(row):
    means = [statistics.mean(seconds) for seconds in _times(row) if None not in seconds]
    return bool(means) and max(means) > (1 + UNEVEN) * min(means)


def _differences(row, differing):
    """By setting its values: those of plain, of the next method and so on; or those of all methods alike."""
    parts = []
    for difference in differing:
        values = [dict.fromkeys(difference.value(entry.evaluation) for entry in its) for its in row.methods()]
        sides = [", ".join(value for value in its if value is not None) for its in values]
        sides = [side for side in sides if side]
        if not sides:
            # None of this row has the setting, as a tuned length penalty is none that was given.
            continue
        parts.append(f"{difference.name} {sides[0] if len(set(sides)) == 1 else ' / '.join(sides)}")
    return "; ".join(parts)


def _notes(rows, differing, beside_paper, equal_time):
    entries = [entry for row in rows for entry in row.entries()]
    first = entries[0].evaluation
    seeds = {len(row.seeds) for row in rows}
    test = f"p-value: {TEST}"
    if max(seeds) > 1:
        test += f", {MEDIAN}"
        counts = " or ".join(map(str, sorted(seeds)))
        yield f"Means and standard deviations over {counts} seeds; a difference is between runs of one seed."
    yield f"BLEU, sacreBLEU signature `{first.bleu['signature']}`{casing_text(first)}; {test}."
    if len(rows[0].seeds[0]) > 2:
        yield "Differences and p-values are against plain."
    if any("confidence" in entry.evaluation.bleu for entry in entries) and min(seeds) == 1:
        yield "In brackets: 95 % confidence intervals, by bootstrap."
    yield f"Decoding: {decoding_text(first, {difference.name for difference in differing})}."
    if equal_time:
        yield "Seconds: of training until the checkpoint that was evaluated, which may not be its last."
        if uneven := [row.name for row in rows if _has_other_times(row)]:
            yield f"The times of {', '.join(uneven)} are more than {UNEVEN:.0%} apart."
    yield from _tuning_notes(rows)
    yield from plain_note(entry.evaluation.before_switch for entry in entries)
    yield from unfinished_note((entry.path, entry.evaluation.unfinished_run) for entry in entries)
    limited = sum(entry.evaluation.at_length_limit or 0 for entry in entries)
    if limited:
        yield f"In all runs together {limited} hypotheses are as long as their limit."
    if cut := sum(entry.evaluation.truncated or 0 for entry in entries):
        yield f"In all runs together {cut} sources were truncated to the model's --max-source-positions."
    lacking = [unchecked(entry.evaluation) + [ENDED] * _unknown_end(entry) for entry in entries]
    if any(lacking):
        what = ", ".join(dict.fromkeys(name for names in lacking for name in names))
        yield f"Unchecked, as {sum(map(bool, lacking))} of {len(lacking)} records do not hold it: {what}."
    if beside_paper:
        reproduced = ", ".join(f"{pair} {_reported(REPRODUCTION, pair)}" for pair in REPRODUCTION)
        yield f"Paper: Xu, Koehn and Murray 2022. An independent reproduction (2023) has {reproduced}."


def _unknown_end(entry):
    """Whether neither the record nor the folder tells if the training had come to its end."""
    return entry.evaluation.unfinished is None and unfinished_runs([entry.path]) is None


def _tuning_notes(rows):
    """The length penalties of the rows whose runs chose their own."""
    for row in rows:
        chosen = [
            [entry.evaluation.tuning["chosen"] for entry in entries if entry.evaluation.tuning]
            for entries in row.methods()
        ]
        if any(chosen):
            rules = {rule(entry.evaluation.tuning) for entry in row.entries()}
            found = " / ".join(", ".join(f"{lenpen:g}" for lenpen in of_method) for of_method in chosen)
            yield f"{row.name}: {found}, each {' or '.join(sorted(rules))}."


def casing_text(evaluation: Evaluation) -> str:
    """Whether the text was lowercased, where the record holds it."""
    return (
        ""
        if evaluation.lowercase is None
        else f", {'lowercased text' if evaluation.lowercase else 'text as it is written'}"
    )


def decoding_text(evaluation: Evaluation, without: Collection[str] = ()) -> str:
    """The settings of the search in words, for the lines below a table or picture."""
    flags = evaluation.decoding.get("flags") or {}
    named = {name: value for name, value in evaluation.decoding.items() if name != "flags"}
    if evaluation.tuning:
        named["lenpen"] = "tuned"
    # An earlier format has the flags as they were typed.
    typed, named = (flags, named) if isinstance(flags, str) else ("", named | flags)
    shown = {name: value for name, value in named.items() if name.replace("_", " ") not in without}
    words = [f"{name.replace('_', '-')} {value}" for name, value in shown.items()] + [typed] * bool(typed)
    return ", ".join(words) or "unknown"


def _reported(figures, pair):
    if pair not in figures:
        return ""
    plain, intra = figures[pair]
    return f"{plain:.2f} to {intra:.2f} ({intra - plain:+.2f})"
