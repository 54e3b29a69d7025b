"""Setting to zero the parameters of a checkpoint that contribute least, or most, or some at random."""

import re
from pathlib import Path

import numpy as np
import torch

from .. import checkpoint
from ..errors import UsageError
from .report import Report
from .statistics import part

#: Names of a weight-normalised layer's length and direction, w = g v / |v|.
WEIGHT_NORM = re.compile(r"weight_[gv]$")
#: Names of biases, recurrent layers' (bias_ih_l0) among them.
BIAS = re.compile(r"(^|[._])bias(_|$)")


def prune(
    path: Path,
    scores: Path,
    output: Path,
    *,
    order: str,
    ratio: float,
    norms_and_biases: bool = False,
    seed: int = 1,
) -> tuple[int, int]:
    """Writes a checkpoint in which a share of the parameters is zero; all else is as it was.

    The parameters zeroed at one ratio are among those at any higher one. Tied parameters stay tied. The optimizer's
    state is left out.

    Args:
        path: the checkpoint.
        scores: JSON of its sensitivity.
        output: checkpoint to write.
        order: which go first: of the lowest scores ("ascending"), of the highest ("descending"), or "random".
        ratio: share of the prunable parameters, rounded to a whole number of them.
        norms_and_biases: they are prunable, too.
        seed: of the random order.

    Returns:
        How many parameters are zeroed, and how many are prunable.

    Raises:
        UsageError: if the ratio is not between 0 and 1, the scores are those of another checkpoint, or what would be
            zero are not the parameters that the checkpoint holds.
    """
    if not 0 <= ratio <= 1:
        raise UsageError(f"--ratio must be between 0 and 1, not {ratio}")
    report = Report.read(scores)
    state = checkpoint.load(path)
    if checkpoint.fingerprint(state["model"]) != report.fingerprint:
        raise UsageError(f"{scores} has the scores of another model ({report.checkpoint}) than {path}")
    found = report.read_scores(scores)
    _check_names(path, state["model"], found, report.tied)
    names = [name for name in found if norms_and_biases or not _is_norm_or_bias(name)]
    pruning_mask, count = _first(np.concatenate([found[name].ravel() for name in names]), order, ratio, seed)
    start = 0
    for name in names:
        mask = torch.from_numpy(pruning_mask[start : start + found[name].size].reshape(found[name].shape))
        start += found[name].size
        for alias in (name, *report.tied.get(name, ())):
            # fairseq leaves some names of a tied parameter out of its checkpoints.
            if alias in state["model"]:
                state["model"][alias].masked_fill_(mask, 0)
    state["pruned"] = {"order": order, "ratio": ratio, "parameters": count}
    checkpoint.save(state, output)
    return count, len(pruning_mask)


def _check_names(path, model, measured, tied):
    for name in measured:
        if WEIGHT_NORM.search(name):
            raise UsageError(
                f"{path} has weight-normalised layers ({name}), and a direction of zeros has no length: prune does "
                "not take them"
            )
        if not {name, *tied.get(name, ())} & set(model):
            raise UsageError(
                f"{path} has names of an earlier fairseq, {name} under another one; train it on for an update, whose "
                "checkpoint has today's names"
            )


def _first(scores, order, ratio, seed):
    """A mask of the exact number that go first, whatever scores are equal; and that number."""
    count = round(ratio * len(scores))
    if order == "random":
        ranking = np.random.default_rng(seed).permutation(len(scores))
    else:
        ranking = np.argsort(scores if order == "ascending" else -scores, kind="stable")
    mask = np.zeros(len(scores), dtype=bool)
    mask[ranking[:count]] = True
    return mask, count


def _is_norm_or_bias(name):
    return part(name) == "norms" or BIAS.search(name) is not None
