"""The sensitivity of several checkpoints side by side, as a picture."""

from pathlib import Path

import numpy as np

from ..runs.figures import line_style, new_figure, save_figure
from .report import Report, groups_of
from .statistics import DECADE

#: Share of the parameters that a bar of the density must hold for the axis to reach so far.
_VISIBLE = 1e-4


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
    groups = groups_of(reports)
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


def _short(group):
    return group.replace(".sentence_encoder", "").replace(".layers.", " ")
