"""The files that the sensitivity of a checkpoint's parameters is kept in, and which of them can be compared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UsageError
from ..files import sha256
from ..json_files import FileName, read_record
from .statistics import ALL, Curves, Statistics

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
