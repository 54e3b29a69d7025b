"""BLEU of checkpoints of which shares of the parameters are removed: the points of `pruning_curve`."""

from pathlib import Path

from ..errors import UsageError
from ..files import locked, make_folder, sha256
from ..runs.arguments import data_line
from ..runs.dataset import need_dataset
from ..runs.same_arguments import keep_arguments
from ..runs.steps import Step, own_command, work_in_order
from . import CURVE_ORDERS
from .pruning_curve import WHOLE, pruning_curve


def evaluate_pruned(checkpoints: list[Path], data: Path, out: Path, ratios: list[str], flags: list[str]) -> str:
    """Measures, prunes and evaluates every checkpoint at every ratio in both orders; returns the table.

    OUT/NAME.sensitivity.json is each checkpoint's sensitivity on the validation split, OUT/NAME/ORDER-RATIO.test.json
    a point's evaluation on the test split; the pruned checkpoint is not kept. OUT/pruning-curve.* are written.

    Args:
        checkpoints: models as fairseq-train saved them.
        data: dataset made by data-prep/.
        out: the folder of the curves.
        ratios: shares to remove, 0 to 1, as they stand in the names of files.
        flags: of `evaluate`.

    Raises:
        UsageError: if a file is missing, two checkpoints have one name, OUT was made with others, or another process
            works in it.
        SystemExit: with the exit status of a step that failed, which has said why.
    """
    need_dataset(data)
    folders = {}
    for checkpoint in checkpoints:
        if not checkpoint.is_file():
            raise UsageError(f"--checkpoint {checkpoint}: no such file")
        folder = out / name_of(checkpoint)
        if folder in folders:
            raise UsageError(f"two of the checkpoints would be called {folder.name}; give each an --out of its own")
        folders[folder] = checkpoint
    make_folder("--out", out)
    with locked(out):
        for folder, checkpoint in folders.items():
            folder.mkdir(exist_ok=True)
            checksums = [f"# checkpoint {sha256(checkpoint)}", data_line(data)]
            has_results = _report_of(folder).exists() or any(folder.glob("*.json"))
            keep_arguments(folder, [*checksums, *flags], has_results)
        work_in_order(
            step
            for folder, checkpoint in folders.items()
            for step in _measure_and_clean_up(folder, checkpoint, data, ratios, flags)
        )
        return pruning_curve(list(folders), out / "pruning-curve")


def name_of(checkpoint: Path) -> str:
    """What a checkpoint is called in folder, table and picture: as the folder of its run, or more."""
    folder = checkpoint.absolute().parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    return folder.name if checkpoint.name == "checkpoint_best.pt" else f"{folder.name}.{checkpoint.stem}"


def _report_of(folder):
    return folder.with_name(f"{folder.name}.sensitivity.json")


def _measure_and_clean_up(folder, checkpoint, data, ratios, flags):
    """Yields the steps of one checkpoint's points, and removes each pruned checkpoint once it is evaluated."""
    report = _report_of(folder)
    yield Step(own_command("sensitivity", "--checkpoint", checkpoint, "--data", data, "--output", report), (report,))
    points = [(order, ratio, f"{order}-{ratio}") for ratio in ratios if float(ratio) for order in CURVE_ORDERS]
    whole = [("ascending", ratio, WHOLE) for ratio in ratios if not float(ratio)][:1]
    for order, ratio, name in [*whole, *points]:
        pruned, evaluation = folder / f"{name}.pt", folder / f"{name}.test.json"
        if evaluation.exists():
            pruned.unlink(missing_ok=True)  # a kill came between the two
            continue
        how = ["--checkpoint", checkpoint, "--scores", report, "--order", order, "--ratio", ratio]
        yield Step(own_command("prune", *how, "--output", pruned))
        yield Step(own_command("evaluate", "--checkpoint", pruned, "--data", data, *flags))
        # The next step is asked for only when the evaluation succeeded. Each of these files is as large as the model.
        pruned.unlink(missing_ok=True)
