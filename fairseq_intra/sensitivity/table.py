"""The sensitivity of several checkpoints side by side, as a table."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..runs.comparison import markdown
from ..runs.evaluation import Evaluation
from ..runs.run_settings import require_same_search
from .report import Report, groups_of
from .statistics import ALL

_COLUMNS = {
    "mean": "mean",
    "std": "std",
    "mean_over_loss": "mean / loss",
    "std_over_loss": "std / loss",
    "gini": "Gini",
    "share_of_lowest_50_percent": "lowest 50 %",
    "share_of_highest_20_percent": "highest 20 %",
}


def sensitivity_table(reports: dict[str, Report], evaluations: Sequence[Path] = (), every_group: bool = False) -> str:
    """A Markdown table of all parameters' statistics.

    Args:
        reports: see `report.read_reports`.
        evaluations: JSON files of scripts/evaluate.sh, one for every report, whose BLEU stands beside it.
        every_group: rows for the groups of parameters as well.

    Raises:
        UsageError: if there are evaluations, but not one for every report, or not of its checkpoint, or they are not
            of one text and one search.
    """
    scores = dict(zip(reports, _bleu(reports, evaluations), strict=True))
    columns = ["model", *(["group"] if every_group else []), *(["BLEU"] if evaluations else []), "loss"]
    rows = []
    for group in [ALL, *groups_of(reports)] if every_group else [ALL]:
        for name, report in reports.items():
            labels = [name, *([group] if every_group else []), *scores[name]]
            rows.append([*labels, f"{report.loss:.3f}", *_cells(report.groups.get(group))])
    return markdown([*columns, *_COLUMNS.values()], rows, [_settings(list(reports.values()))])


def _bleu(reports, evaluations):
    if not evaluations:
        return [[] for _ in reports]
    if len(evaluations) != len(reports):
        raise UsageError(f"--evaluations must be one for every file: {len(reports)}, not {len(evaluations)}")
    found = [Evaluation.read(path) for path in evaluations]
    for path, one, report in zip(evaluations, found, reports.values(), strict=True):
        # What earlier evaluations lack is the fingerprint.
        names = ("fingerprint",) if one.fingerprint else ("checkpoint", "method", "seed", "num_updates")
        if any(getattr(one, name) != getattr(report, name) for name in names):
            raise UsageError(f"{path} evaluates another model than {report.checkpoint} of the same place")
    require_same_search(list(zip(found, evaluations, strict=True)))
    return [[f"{one.bleu['score']:.2f}"] for one in found]


def _cells(statistics):
    if statistics is None:
        return [""] * len(_COLUMNS)
    return [
        f"{statistics[name]:.3g}" if "over" in name or name in ("mean", "std") else f"{statistics[name]:.3f}"
        for name in _COLUMNS
    ]


def _settings(reports):
    report, *others = reports
    parameters = report.groups[ALL]["parameters"]
    if any(other.groups[ALL]["parameters"] != parameters for other in others):
        parameters = "all"
    of = "each mini-batch" if report.gradient_of == "batch" else "all mini-batches together"
    return (
        f"Sensitivity of {parameters} parameters on {report.split}: {report.tokens} tokens in "
        f"{report.batches} mini-batches of at most {report.max_tokens}, gradient of {of}, label smoothing "
        f"{report.label_smoothing:g}."
    )
