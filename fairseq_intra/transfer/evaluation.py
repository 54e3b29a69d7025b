"""What is recorded of a checkpoint that was scored on one language."""

from dataclasses import dataclass

FORMAT = 1


@dataclass(frozen=True)
class TransferEvaluation:
    """One checkpoint scored on one language's test split. Written as JSON."""

    format: int
    metric: str  #: "f1" (entities), "accuracy" (texts) or "answer_f1" (questions)
    score: float  #: in percent
    #: Of f1 precision, recall and counts; of accuracy the share of the most frequent label; of answer_f1 exact match.
    details: dict[str, float]
    source: str  #: the language trained on
    language: str
    method: str
    seed: int
    num_updates: int
    checkpoint: str
    sentences: int  #: or texts, or questions
    labels_sha256: str
    versions: dict[str, str]
    before_switch: bool | None = None  #: of a late start: whether all updates of the checkpoint were plain
