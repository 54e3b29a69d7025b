"""Pictures of trainings: what their logs say, over updates."""

from pathlib import Path

from ..errors import UsageError
from .figures import line_style, new_figure, save_figure
from .training_log import TrainingLog, parse_log

#: Title, the lines of the log that have it, and fairseq's name for it.
PANELS = (
    ("training loss (bits a token)", "train", "loss"),
    ("divergence (bits a token)", "train", "intra_distillation_loss"),
    ("alpha", "train", "alpha"),
    ("learning rate", "train", "lr"),
    ("validation nll (bits a token)", "valid", "nll_loss"),
    ("validation BLEU", "valid", "bleu"),
)
COLUMNS = 3


def plot_runs(runs: list[Path], output: Path) -> list[Path]:
    """Draws the curves of runs beside each other, a panel for each quantity that one of them logged.

    Args:
        runs: folders that scripts/train.sh made, or logs of fairseq-train with --log-format simple.
        output: OUTPUT.png and OUTPUT.svg are written.

    Returns:
        The two files.

    Raises:
        UsageError: on a log that is not there or holds no training, or if the pictures cannot be written.
    """
    logs = [_read(run) for run in runs]
    names = [run.name if [other.name for other in runs].count(run.name) == 1 else str(run) for run in runs]
    panels = [(title, kind, name) for title, kind, name in PANELS if any(_curve(log, kind, name)[0] for log in logs)]
    columns = min(COLUMNS, len(panels))
    figure, axes = new_figure(columns, -(-len(panels) // columns))
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, kind, name) in zip(axes, panels, strict=False):
        axis.set_title(title)
        axis.set_xlabel("updates")
        for number, log in enumerate(logs):
            axis.plot(*_curve(log, kind, name), **line_style(number), label=names[number])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    return save_figure(figure, output)


def _read(run: Path) -> TrainingLog:
    path = run / "train.log" if run.is_dir() else run
    try:
        log = parse_log(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if not log.train:
        raise UsageError(f"{path} holds no line of a training with --log-format simple")
    return log


def _curve(log, kind, name):
    found = [(entry["num_updates"], entry[name]) for entry in getattr(log, kind) if name in entry]
    return [update for update, _ in found], [value for _, value in found]
