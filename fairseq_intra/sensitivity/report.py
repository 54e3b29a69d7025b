"""The sensitivity of a checkpoint's parameters on a dataset: computing it, and the files it is kept in."""

from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from fairseq import utils
from tqdm import tqdm

from .. import checkpoint
from ..errors import UsageError
from ..files import replacing, sha256
from ..json_files import FileName, read_record, write_record
from ..methods import setting
from ..run_fairseq import fairseq_distribution
from .compute import sensitivity
from .statistics import ALL, Curves, Statistics, curves, ordered, summary

FORMAT = 1
WHAT = "a JSON file that fairseq-intra sensitivity wrote"
#: Points of the cumulative curve: 0, 1, ... 100.
PERCENTS = 101
#: What must agree for scores to be compared.
_SETTINGS = ("label_smoothing", "split", "gradient_of", "max_tokens", "batches", "tokens")


@dataclass(frozen=True)
class Report:
    """What `fairseq-intra sensitivity` found. Written as JSON; the scores lie beside it under the name given here."""

    format: int
    checkpoint: str
    method: str
    seed: int
    num_updates: int
    fingerprint: str  #: of the checkpoint's parameters, see `checkpoint.fingerprint`
    criterion: str  #: whose loss in evaluation it is
    label_smoothing: float
    split: str
    gradient_of: str
    max_tokens: int
    batches: int
    batches_of_split: int
    sentences: int
    tokens: int
    loss: float  #: nats per token
    groups: dict[str, Statistics]  #: of the scores, by group of parameters
    curves: Curves  #: of all scores
    tied: dict[str, list[str]]  #: the other names that a parameter has, by the name it is counted under
    scores: FileName
    scores_sha256: str
    device: str
    versions: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Reads the JSON file that `measure` wrote.

        Raises:
            UsageError: if it is not there or not such a file.
        """
        report = read_record(cls, path, FORMAT, WHAT)
        if ALL not in report.groups or len(report.curves["cumulative"]) != PERCENTS:
            raise UsageError(f"{path} is not {WHAT}: its statistics are not complete")
        return report

    def read_scores(self, path: Path) -> dict[str, np.ndarray]:
        """The scores that lie beside the report at `path`, by parameter name.

        Raises:
            UsageError: if they are not there, or not those of the report.
        """
        file = path.with_name(self.scores)
        try:
            if sha256(file) != self.scores_sha256:
                raise UsageError(f"{file} does not hold the scores that {path} tells of; compute them again")
            with np.load(file, allow_pickle=False) as scores:
                return dict(scores)
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}") from None


def read_reports(paths: list[Path]) -> dict[str, Report]:
    """Several reports, by a name each: the file's, without .json and .sensitivity.

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
        for field in _SETTINGS:
            ours, theirs = (getattr(one, field) for one in (report, reference))
            if ours != theirs:
                raise UsageError(f"scores cannot be compared: {field} is {theirs} for {first}, {ours} for {name}")
    return reports


def groups_of(reports: dict[str, Report]) -> list[str]:
    """The groups of parameters in any of the reports: first the parts, then the layers."""
    found = dict.fromkeys(group for report in reports.values() for group in report.groups if group != ALL)
    return sorted(found, key=lambda group: ".layers." in group)


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
    except (FileNotFoundError, AssertionError):  # the latter where sentences are classified
        there = [*folder.glob("*.idx"), *folder.glob("input0/*.idx")]
        found = ", ".join(sorted({path.name.split(".")[0] for path in there})) or "none"
        raise UsageError(f"--split {split}: no such split in {folder}; there: {found}") from None
    try:
        epoch = task.get_batch_iterator(
            task.dataset(split),
            max_tokens=max_tokens,
            max_positions=utils.resolve_max_positions(task.max_positions(), built.model.max_positions()),
            ignore_invalid_inputs=True,
            seed=1,
        )
    except AssertionError as error:
        raise UsageError(f"--max-tokens {max_tokens} is too few for a sentence of {split}: {error}") from None
    # Sorted by length as they are, the first ones would be the shortest sentences.
    return epoch.next_epoch_itr(shuffle=True)


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
    made = {"groups": summary(scores, found.loss), "curves": curves(ordered(scores, list(scores)))}
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
