"""The texts that are scored: hypotheses and reference as they are, and of tokenised text also detokenised."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from sacremoses import MosesDetokenizer

from ..errors import UsageError
from ..files import make_folder
from .dataset import Dataset
from .evaluation import join
from .scoring import score_all, sentence_statistics, tokenizer_of

#: Folder beside the record of tokenised text, so that a table of a run's folder never meets both.
DETOKENISED = "detokenised"


class TextsToScore(NamedTuple):
    """What one record is of."""

    output: Path  #: OUTPUT.json, .hyp and .ref are written
    hypotheses: list[str]
    reference: list[str]
    tokenize: str  #: sacreBLEU's tokenizer


def texts_to_score(
    dataset: Dataset, output: Path, hypotheses: list[str], reference: list[str], tokenize: str
) -> Iterator[TextsToScore]:
    """The text as it is; where the dataset is tokenised, then both sides as sacremoses detokenises them.

    Published scores of tokenised text count its tokens (sacreBLEU's tokenizer "none"), and depend on how it was
    tokenised; of the detokenised text sacreBLEU's own tokenizer is used.

    Raises:
        UsageError: if there are not as many hypotheses as references.
    """
    if len(hypotheses) != len(reference):
        raise UsageError(f"decoding made {len(hypotheses)} hypotheses for {len(reference)} references")
    yield TextsToScore(output, hypotheses, reference, tokenize)
    if dataset.tokenized:
        folder = output.parent / DETOKENISED
        make_folder("--output", folder)
        moses = MosesDetokenizer(lang=dataset.target)
        ours, theirs = ([moses.detokenize(line.split()) for line in side] for side in (hypotheses, reference))
        yield TextsToScore(folder / output.name, ours, theirs, tokenizer_of(dataset.target))


def score_texts(scored: TextsToScore, metrics: Sequence[str], confidence: bool, engine: str) -> dict:
    """The fields of a record about scores and texts."""
    _, hypotheses, reference, tokenize = scored
    rows = sentence_statistics(hypotheses, reference, tokenize)
    return score_all(hypotheses, reference, metrics, tokenize, confidence) | {
        "tokenize": tokenize,
        "statistics": [" ".join(map(str, row)) for row in rows],
        "sentences": len(hypotheses),
        "hypotheses": f"{scored.output.name}.hyp",
        "hypotheses_sha256": _digest(hypotheses),
        "reference": f"{scored.output.name}.ref",
        "reference_sha256": _digest(reference),
        "versions": {name: version(name) for name in ("sacrebleu", engine.replace("fairseq", "torch"))},
    }


def _digest(lines):
    return hashlib.sha256(join(lines).encode()).hexdigest()
