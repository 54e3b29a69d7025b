"""Computes the sensitivity of a checkpoint's parameters on a dataset, and writes its report."""

from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from tqdm import tqdm

from .. import checkpoint
from ..errors import UsageError
from ..files import replacing, sha256
from ..json_files import write_record
from ..methods import setting
from ..run_fairseq import fairseq_distribution
from ..runs.dataset import reject_variables
from .compute import sensitivity
from .report import FORMAT, Report
from .statistics import curves, ordered, summary


def measure(
    path: Path,
    data: Path,
    output: Path,
    *,
    split: str = "valid",
    max_tokens: int = 4096,
    batches: int | None = None,
    gradient_of: str = "batch",
    cpu: bool = False,
) -> Report:
    """Computes the sensitivity of all parameters of a checkpoint, in float32, with the loss it was trained on.

    That loss is its criterion's in evaluation: of plain training, intra-distillation and self-distillation alike the
    label-smoothed cross-entropy.

    Args:
        path: the checkpoint.
        data: dataset made by data-prep/, or a folder that fairseq-preprocess made.
        output: JSON to write; the scores go beside it, as .npz.
        split: the split whose loss it is.
        max_tokens: size of a mini-batch.
        batches: how many mini-batches, drawn at random but always the same; None for all.
        gradient_of: "batch" or "split", see `sensitivity`.
        cpu: not on the GPU, even if there is one.

    Raises:
        UsageError: if the checkpoint does not fit the data, or the split is not there.
    """
    reject_variables(data)
    built = checkpoint.build(path, data / "bin" if (data / "bin").is_dir() else data)
    device = torch.device("cpu" if cpu or not torch.cuda.is_available() else "cuda")
    samples = _samples(built, split, max_tokens)
    found = sensitivity(
        built.model.to(device),
        _on(device, islice(samples, batches), min(len(samples), batches or len(samples))),
        built.task.build_criterion(built.cfg.criterion).to(device),
        gradient_of,
    )
    about = {
        "checkpoint": path.name,
        "method": built.training.method,
        "seed": built.training.seed,
        "num_updates": built.training.num_updates,
        "fingerprint": built.fingerprint,
        "criterion": built.cfg.criterion._name,
        "label_smoothing": setting(built.cfg.criterion, "label_smoothing") or 0.0,
        "split": split,
        "gradient_of": gradient_of,
        "max_tokens": max_tokens,
        "batches_of_split": len(samples),
        "tied": _tied(built.model),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }
    # The statistics need the memory that the model has had.
    del built, samples
    return _write_report(found, about, output)


def _samples(built, split, max_tokens):
    """The mini-batches of a split, in an order drawn at random but always the same."""
    task, folder = built.task, Path(built.task.cfg.data)
    if hasattr(task, "inject_noise"):
        raise UsageError("sensitivity is not computed of non-autoregressive models, whose loss is of noised targets")
    try:
        task.load_dataset(split)
    except (FileNotFoundError, AssertionError, UsageError) as error:  # the latter two where an encoder was fine-tuned
        there = _splits(folder)
        if isinstance(error, UsageError) and split in there:
            raise
        found = ", ".join(sorted(there)) or "none"
        raise UsageError(f"--split {split}: no such split in {folder}; there: {found}") from None
    epoch = task.get_batch_iterator(
        task.dataset(split),
        max_tokens=max_tokens,
        max_positions=utils.resolve_max_positions(task.max_positions(), built.model.max_positions()),
        ignore_invalid_inputs=True,
        seed=1,
    )
    # Sorted by length as they are, the first ones would be the shortest sentences.
    return epoch.next_epoch_itr(shuffle=True)


def _splits(folder):
    """The names of a dataset's splits: test.de is one where an encoder is fine-tuned, test of two languages else."""
    return {path.stem for path in folder.glob("input0/*.idx")} or {
        path.name.split(".")[0] for path in folder.glob("*.idx")
    }


def _on(device, samples, count):
    """The mini-batches on the device; how far it is shows on a terminal."""
    for sample in tqdm(samples, total=count, unit="batch", disable=None):
        yield utils.move_to_cuda(sample) if device.type == "cuda" else sample


def _tied(model):
    """The other names of every parameter that has several, by the first."""
    names = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {first: others for first, *others in names.values() if others}


def _write_report(found, about, output):
    scores = {name: score.cpu().numpy() for name, score in found.scores.items()}
    made: dict[str, Any] = {"groups": summary(scores, found.loss), "curves": curves(ordered(scores, list(scores)))}
    file = output.with_suffix(".npz")
    with replacing(file) as partial, open(partial, "wb") as opened:
        np.savez(opened, **scores)
    report = Report(
        format=FORMAT,
        **about,
        batches=found.batches,
        sentences=found.sentences,
        tokens=found.tokens,
        loss=found.loss,
        **made,
        scores=file.name,
        scores_sha256=sha256(file),
        versions={name: version(name) for name in ("torch", "numpy", fairseq_distribution())},
    )
    write_record(output, report)
    return report
