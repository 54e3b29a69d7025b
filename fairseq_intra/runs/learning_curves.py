"""Learning curves: what the logs of trainings say, over updates and over time."""

from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from .figures import line_style, new_figure, save_figure
from .training_log import TrainingLog, parse_log


class Panel(NamedTuple):
    """One quantity of a log, over updates or over time."""

    title: str
    unit: str
    lines: str  #: the lines of the log that have it: train or valid
    name: str  #: what fairseq calls it
    over: str = "num_updates"


#: The training loss holds the weighted divergence, so that methods are compared by what they share, the nll.
PANELS = (
    Panel("training nll", "bits per token", "train", "nll_loss"),
    Panel("divergence", "bits per token", "train", "intra_distillation_loss"),
    Panel("alpha", "weight", "train", "alpha"),
    Panel("learning rate", "step size", "train", "lr"),
    Panel("validation nll", "bits per token", "valid", "nll_loss"),
    Panel("validation nll", "bits per token", "valid", "nll_loss", "time"),
    Panel("validation BLEU", "BLEU", "valid", "bleu"),
    Panel("validation BLEU", "BLEU", "valid", "bleu", "time"),
)
#: Label of the horizontal axis, and what its values are divided by.
AXES = {"num_updates": ("updates", 1), "time": ("minutes", 60)}
COLUMNS = 3


def plot_runs(runs: list[Path], output: Path) -> list[Path]:
    """Draws the curves of runs, a panel for each quantity that one of them logged.

    A vertical line stands where intra-distillation began late.

    Args:
        runs: folders that scripts/train.sh made, or logs of fairseq-train with --log-format simple.
        output: OUTPUT.png and OUTPUT.svg are written.

    Returns:
        The two files.

    Raises:
        UsageError: if a log is not there or holds no training, or the pictures cannot be written.
    """
    logs = [_read(run) for run in runs]
    short = [run.resolve().name for run in runs]
    names = [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]
    panels = [panel for panel in PANELS if any(_curve(log, panel)[0] for log in logs)]
    columns = min(COLUMNS, len(panels))
    figure, axes = new_figure(columns, -(-len(panels) // columns))
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes, panels, strict=False):
        axis.set_title(panel.title)
        axis.set_xlabel(AXES[panel.over][0])
        axis.set_ylabel(panel.unit)
        for number, log in enumerate(logs):
            axis.plot(*_curve(log, panel), **line_style(number), label=names[number])
            if log.switch:
                unit = AXES[panel.over][1]
                axis.axvline(log.switch[panel.over] / unit, **line_style(number) | {"linewidth": 0.6})
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    return save_figure(figure, output)


def _read(run: Path) -> TrainingLog:
    path = run / "train.log" if run.is_dir() else run
    try:
        log = parse_log(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if not log.train:
        raise UsageError(f"{path} has no line of an update (--log-format simple, every --log-interval updates)")
    return log


def _curve(log, panel):
    entries = [entry for entry in getattr(log, panel.lines) if panel.name in entry]
    unit = AXES[panel.over][1]
    return [entry[panel.over] / unit for entry in entries], [entry[panel.name] for entry in entries]
