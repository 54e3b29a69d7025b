"""The sensitivity of several checkpoints side by side: as a table and as a picture."""

from pathlib import Path

import numpy as np

from ..errors import UsageError
from ..runs.evaluation import Evaluation
from ..runs.figures import line_style, new_figure, save_figure
from .report import Report
from .statistics import ALL, DECADE

#: What must agree for scores to be compared.
_SETTINGS = ("label_smoothing", "split", "gradient_of", "max_tokens", "batches", "tokens")
#: Share of the parameters that a bar of the density must hold for the axis to reach so far.
_VISIBLE = 1e-4
_COLUMNS = {
    "mean": "mean",
    "std": "std",
    "mean_over_loss": "mean / loss",
    "std_over_loss": "std / loss",
    "gini": "Gini",
    "share_of_lowest_50_percent": "lowest 50 %",
    "share_of_highest_20_percent": "highest 20 %",
}


def read_reports(paths: list[Path]) -> dict[str, Report]:
    """Reports by a name each: the file's, without .json and .sensitivity.

    Raises:
        UsageError: if a file is no report, two have one name, or their scores cannot be compared.
    """
    reports = {}
    for path in paths:
        name = path.name.removesuffix(".json").removesuffix(".sensitivity")
        if name in reports:
            raise UsageError(
                f"two of the files are called {name}; rename one, as the names stand in table and picture"
            )
        reports[name] = Report.read(path)
    (first, reference), *others = reports.items()
    for name, report in others:
        for setting in _SETTINGS:
            ours, theirs = (getattr(one, setting) for one in (report, reference))
            if ours != theirs:
                raise UsageError(f"scores cannot be compared: {setting} is {theirs} for {first}, {ours} for {name}")
    return reports


def sensitivity_table(reports: dict[str, Report], evaluations: list[Path] = (), every_group: bool = False) -> str:
    """A Markdown table of all parameters' statistics.

    Args:
        reports: see `read_reports`.
        evaluations: JSON files of scripts/evaluate.sh, one for every report, whose BLEU stands beside it.
        every_group: rows for the groups of parameters as well.

    Raises:
        UsageError: if there are evaluations, but not one for every report, or not of its checkpoint.
    """
    scores = dict(zip(reports, _bleu(reports, evaluations), strict=True))
    head = [
        "model",
        *(["group"] if every_group else []),
        *(["BLEU"] if evaluations else []),
        "loss",
        *_COLUMNS.values(),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    groups = [ALL, *_groups(reports)] if every_group else [ALL]
    for group in groups:
        for name, report in reports.items():
            cells = [name, *([group] if every_group else []), *scores[name], f"{report.loss:.3f}"]
            lines.append("| " + " | ".join(cells + _cells(report.groups.get(group))) + " |")
    return "\n".join([*lines, "", _settings(next(iter(reports.values())))])


def draw(reports: dict[str, Report], prefix: Path) -> list[Path]:
    """Draws density (raw, and divided by the loss), cumulative share, and a bar for every part and layer.

    Writes PREFIX.png and PREFIX.svg; returns their paths.
    """
    figure, (raw, normalised, share, bars) = new_figure(columns=2, rows=2)
    for number, (name, report) in enumerate(reports.items()):
        style = line_style(number) | {"label": f"{name} (loss {report.loss:.2f})"}
        _density(raw, report.curves, 1.0, style)
        _density(normalised, report.curves, report.loss, style)
        share.plot(np.arange(101), [100 * held for held in report.curves["cumulative"]], **style)
    share.plot([0, 100], [0, 100], color="grey", linewidth=0.6)
    for panel, label in ((raw, "sensitivity"), (normalised, "sensitivity / loss")):
        panel.set(xscale="log", xlabel=label, ylabel="% of parameters a decade")
    share.set(xlabel="% of parameters, least sensitive first", ylabel="% of all sensitivity")
    _bars(bars, reports)
    raw.legend(loc="upper left")
    return save_figure(figure, prefix)


def _density(panel, curves, loss, style):
    shares = np.array(curves["shares"])
    exponents = curves["log10_from"] + DECADE * (np.arange(len(shares)) + 0.5)
    # A few that are next to zero would take most of the width.
    seen = np.flatnonzero(shares > _VISIBLE)
    shown = slice(seen.min(), seen.max() + 1) if len(seen) else slice(None)
    panel.plot(10 ** exponents[shown] / loss, 100 * shares[shown] / DECADE, **style)


def _bars(panel, reports):
    groups = _groups(reports)
    width = 0.8 / len(reports)
    for number, (name, report) in enumerate(reports.items()):
        heights = [report.groups.get(group, {}).get("mean_over_loss", 0) for group in groups]
        places = np.arange(len(groups)) + number * width
        panel.bar(
            places,
            heights,
            width,
            color=line_style(number)["color"],
            label=name,
            hatch=("", "//", "..", "xx")[number % 4],
        )
    panel.set_xticks(
        np.arange(len(groups)) + 0.4 - width / 2, [_short(group) for group in groups], rotation=45, ha="right"
    )
    panel.set(yscale="log", ylabel="mean sensitivity / loss")


def _groups(reports):
    """The groups of parameters in any of the reports: first the parts, then the layers."""
    found = dict.fromkeys(group for report in reports.values() for group in report.groups if group != ALL)
    return sorted(found, key=lambda group: ".layers." in group)


def _short(group):
    return group.replace("encoder.layers.", "encoder ").replace("decoder.layers.", "decoder ")


def _bleu(reports, evaluations):
    if not evaluations:
        return [[] for _ in reports]
    if len(evaluations) != len(reports):
        raise UsageError(f"--evaluations must be one for every file: {len(reports)}, not {len(evaluations)}")
    found = [Evaluation.read(path) for path in evaluations]
    for path, one, report in zip(evaluations, found, reports.values(), strict=True):
        if (one.method, one.seed, one.num_updates) != (report.method, report.seed, report.num_updates):
            raise UsageError(f"{path} evaluates another model than {report.checkpoint} of the same place")
    return [[f"{one.bleu['score']:.2f}"] for one in found]


def _cells(statistics):
    if statistics is None:
        return [""] * len(_COLUMNS)
    return [
        f"{statistics[name]:.3g}" if "over" in name or name in ("mean", "std") else f"{statistics[name]:.3f}"
        for name in _COLUMNS
    ]


def _settings(report):
    of = "each mini-batch" if report.gradient_of == "batch" else "all mini-batches together"
    return (
        f"Sensitivity of {report.groups[ALL]['parameters']} parameters on {report.split}: {report.tokens} tokens in "
        f"{report.batches} mini-batches of at most {report.max_tokens}, gradient of {of}, label smoothing "
        f"{report.label_smoothing:g}."
    )
