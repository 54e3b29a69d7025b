"""Pictures that stay legible in print: one style, each written as PNG and as SVG."""

from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import replacing

#: Distinct in grey as well: colours of the Okabe-Ito palette, and a dash of its own for each.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fairseq_intra",
}


def new_figure(columns: int = 1, rows: int = 1):
    """(figure, axes): a matplotlib figure of rows x columns panels, axes a flat list of them.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("pictures need matplotlib: pip install 'fairseq-intra[plot]'") from None
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.5 * columns, 3.0 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def line_style(number: int) -> dict:
    """The colour and dash of the curve with this number, as keyword arguments of Axes.plot."""
    turn, place = divmod(number, len(COLOURS))
    return {"color": COLOURS[place], "linestyle": DASHES[(place + turn) % len(DASHES)], "linewidth": 1.2}


def save_figure(figure, prefix: Path) -> list[Path]:
    """Writes PREFIX.png and PREFIX.svg, each under its name only once it is whole; returns their paths.

    A prefix that ends in .png or .svg already stands for both.

    Raises:
        UsageError: if the folder is not there or cannot be written to.
    """
    import matplotlib

    if prefix.suffix in (".png", ".svg"):
        prefix = prefix.with_suffix("")
    made = []
    for kind in ("png", "svg"):
        path = prefix.with_name(f"{prefix.name}.{kind}")
        # Without a date, the same numbers give the same file.
        metadata = {"Date": None} if kind == "svg" else {}
        try:
            with matplotlib.rc_context(_STYLE), replacing(path) as partial:
                figure.savefig(partial, format=kind, dpi=200, metadata=metadata)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None
        made.append(path)
    return made
