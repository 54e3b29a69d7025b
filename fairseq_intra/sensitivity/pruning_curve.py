"""BLEU against the share of parameters removed: what scripts/pruning-curve.sh measured, as table and picture."""

import json
import re
from pathlib import Path

from ..errors import UsageError
from ..files import write_text
from ..runs.comparison import markdown
from ..runs.evaluation import Evaluation
from ..runs.figures import line_style, new_figure, save_figure
from ..runs.run_settings import require_same_search
from ..runs.tables import casing_text, decoding_text
from . import CURVE_ORDERS

WHOLE = "whole"


def pruning_curve(folders: list[Path], prefix: Path) -> str:
    """Draws the curves and returns them as a Markdown table; PREFIX.md, .json, .png and .svg are written.

    Args:
        folders: of one checkpoint each, whose name stands in the picture. They hold evaluations made by
            scripts/evaluate.sh of the pruned checkpoints "ORDER-RATIO", and of "whole".

    Raises:
        UsageError: if a folder does not hold that, two have one name, or scores are not of one text and one search.
    """
    names = [folder.name for folder in folders]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two folders are called {twice[0]}, and a folder's name is the model's; rename one")
    curves, found = {}, []
    for folder in folders:
        for order, ratio, evaluation in _evaluations(folder):
            curves.setdefault((folder.name, order), {})[ratio] = evaluation.bleu["score"]
            found.append((evaluation, folder / f"{order}-{ratio:g}"))
    require_same_search(found)
    table = _table(curves, found[0][0])
    found = [{"model": model, "order": order, "bleu": points} for (model, order), points in curves.items()]
    write_text(prefix.with_name(f"{prefix.name}.json"), json.dumps(found, indent=1) + "\n")
    write_text(prefix.with_name(f"{prefix.name}.md"), table + "\n")
    _draw(curves, prefix)
    return table


def _evaluations(folder):
    """(order, ratio, evaluation) of every point, in ascending order of ratios; the whole model is in both orders."""
    found = []
    for path in folder.glob("*.json"):
        name = path.name.split(".test")[0]
        match = re.fullmatch(rf"({'|'.join(CURVE_ORDERS)})-([\d.]+)", name)
        if match:
            found.append((match[1], float(match[2]), Evaluation.read(path)))
        elif name == WHOLE:
            found += [(order, 0.0, Evaluation.read(path)) for order in CURVE_ORDERS]
    if not found:
        raise UsageError(f"{folder} holds no evaluation of a pruned checkpoint (see scripts/pruning-curve.sh)")
    return sorted(found, key=lambda point: point[:2])


def _table(curves, run):
    ratios = sorted({ratio for points in curves.values() for ratio in points})
    columns = ["model", "first removed", *(f"{100 * ratio:g} %" for ratio in ratios)]
    rows = [
        [model, CURVE_ORDERS[order], *(f"{points[ratio]:.2f}" if ratio in points else "" for ratio in ratios)]
        for (model, order), points in curves.items()
    ]
    of = f"BLEU on {run.sentences} sentences, sacreBLEU signature `{run.bleu['signature']}`{casing_text(run)}."
    return markdown(columns, rows, [of, f"Decoding: {decoding_text(run)}."], names=2)


def _draw(curves, prefix):
    models = list(dict.fromkeys(model for model, _ in curves))
    figure, panels = new_figure(columns=2)
    for panel, order in zip(panels, CURVE_ORDERS, strict=True):
        for number, model in enumerate(models):
            points = curves.get((model, order), {})
            percents = [100 * ratio for ratio in points]
            panel.plot(percents, list(points.values()), marker="o", markersize=3, label=model, **line_style(number))
        panel.set(xlabel=f"% of parameters removed, {CURVE_ORDERS[order]} first", ylabel="BLEU")
        panel.set_ylim(bottom=0)
    panels[0].legend()
    save_figure(figure, prefix)
