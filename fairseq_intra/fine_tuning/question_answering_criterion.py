"""The criterions of question answering: cross-entropy of start and end, plain and with intra-distillation.

With z_k [B, T, 2] the head's outputs of pass k of K, and s_k and e_k their softmaxes over the T positions, those of
the question and of padding left out::

    loss = sum_b [ (1/K) sum_k (CE(s_k) + CE(e_k)) / 2  +  alpha * (D(s_1 ... s_K) + D(e_1 ... e_K)) ]

fairseq divides it by the number B of windows. The authors (run_squad.py of fe1ixxu/Intra-Distillation) take the mean
of the cross-entropies over the mini-batch of one forward, yet the sum of its divergences, so that their alpha is this
one divided by that mini-batch's size: theirs of 1, with 8 windows per forward, is `--alpha 8`. They leave no
positions out.
"""

import torch
from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass

from .positionwise_criterion import PositionwiseCriterion, PositionwiseIntraDistillation
from .shared import FineTuningFlags

#: The logit of a position that is left out. Finite, so that no difference of two is NaN, and so low that float32 and
#: float64 give it a probability of exactly 0: it adds nothing to a loss, a divergence or a gradient.
LEFT_OUT = -1e30


@register_criterion("question_answering", dataclass=FairseqDataclass)
class QuestionAnsweringCriterion(PositionwiseCriterion):
    """Sum over windows of the mean cross-entropy of start and end, in nats.

    It logs the loss in bits per window, and the accuracy: the share of windows of which both are right.
    """

    PER_EXAMPLE = 2

    def logits(self, sample, outputs):
        return position_logits(outputs, sample["answerable"]).flatten(1, 2)

    def target(self, sample):
        return sample["target"].t().flatten()


@register_criterion("intra_distillation_question_answering", dataclass=FineTuningFlags)
class IntraDistillationQuestionAnsweringCriterion(PositionwiseIntraDistillation, QuestionAnsweringCriterion):
    """Cross-entropy of start and end, mean over K stochastic passes, plus alpha times their divergences."""


def position_logits(outputs: torch.Tensor, answerable: torch.Tensor) -> torch.Tensor:
    """Logits over positions of the first and of the last subword of an answer.

    Args:
        outputs: [..., B, T, 2], of the head, any floating dtype.
        answerable: [B, T], False at the positions to leave out, which get the logit `LEFT_OUT`.

    Returns:
        [..., 2, B, T], float32 (float64 for float64 outputs).
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    return outputs.movedim(-1, -3).masked_fill(~answerable, LEFT_OUT)
