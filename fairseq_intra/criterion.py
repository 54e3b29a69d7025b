"""The criterion `intra_distillation`: K passes, their cross-entropies, alpha times their divergence."""

import logging
import math
from dataclasses import dataclass, field

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics

from .errors import UsageError
from .loss import intra_distillation_loss
from .passes import draws_at_all, run_passes

logger = logging.getLogger(__name__)

DIV_CHOICES = ChoiceEnum(["X", "JS"])


@dataclass
class IntraDistillationFlags(FairseqDataclass):
    """The flags of the method itself; the task takes them as well, as the authors' command gives them there."""

    num_iter: int = field(
        default=3,
        metadata={"help": "K, the passes of every mini-batch through the model; 1 is plain training"},
    )
    alpha: float = field(
        default=5.0,
        metadata={"help": "weight of the divergence between the passes; 0 means no divergence"},
    )
    div: DIV_CHOICES = field(
        default="X",
        metadata={"help": "divergence between the passes: X (the paper's) or JS (Jensen-Shannon)"},
    )


@dataclass
class IntraDistillationCriterionConfig(IntraDistillationFlags, LabelSmoothedCrossEntropyCriterionConfig):
    pass


@register_criterion("intra_distillation", dataclass=IntraDistillationCriterionConfig)
class IntraDistillationCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy, mean over K stochastic passes, plus alpha times their divergence.

    In evaluation it is its parent: one pass, the plain loss. `alpha` may be set from outside between updates
    (the task `translation_intra_distillation` does).

    Raises:
        UsageError: if K < 1, alpha < 0 or the divergence is unknown; in training, if the model has an adaptive
            softmax.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        num_iter=3,
        alpha=5.0,
        div="X",
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        if num_iter < 1:
            raise UsageError(f"--num-iter must be at least 1, not {num_iter}")
        if not 0 <= alpha < math.inf:
            raise UsageError(f"--alpha must be a number of at least 0, not {alpha}")
        if str(div) not in ("X", "JS"):
            raise UsageError(f"--div must be X or JS, not {div}")
        self.num_iter = num_iter
        self.alpha = alpha
        self.divergence = str(div).lower()
        self._checked_model = False

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output), the loss summed over tokens, in nats."""
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        self._check_model(model)
        logits, target = self._passes(model, sample)
        result = intra_distillation_loss(
            logits,
            target,
            alpha=self.alpha,
            label_smoothing=self.eps,
            divergence=self.divergence,
        )
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": result.loss.data,
            "nll_loss": result.nll.data,
            "intra_distillation_loss": result.divergence.data,
            # Summed over workers and mini-batches before it is logged, hence a weight.
            "alpha": self.alpha * sample["ntokens"],
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            logging_output["n_correct"] = logits.argmax(-1).eq(target).sum().item()
            logging_output["total"] = logits.shape[:2].numel()
        return result.loss, sample_size, logging_output

    def _passes(self, model, sample):
        """The K passes' logits [K, N, V] and target [N] at the N positions that are not padding."""
        target = model.get_targets(sample, None)
        keep = target.ne(self.padding_idx)
        keep[:, : self.ignore_prefix_size] = False
        logits = [
            _select(net_output[0], keep, copies)
            for net_output, copies in run_passes(model, sample["net_input"], self.num_iter)
        ]
        return torch.cat(logits) if len(logits) > 1 else logits[0], target[keep]

    def _check_model(self, model):
        if self._checked_model:
            return
        self._checked_model = True
        if getattr(getattr(model, "decoder", None), "adaptive_softmax", None) is not None:
            raise UsageError(
                "intra_distillation needs logits over the whole vocabulary, which a model with "
                "--adaptive-softmax-cutoff does not have; leave that flag out"
            )
        if self.num_iter > 1 and not draws_at_all(model):
            logger.warning(
                "the model has no dropout anywhere: its %d passes are identical and their divergence is "
                "zero; set --dropout",
                self.num_iter,
            )

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs, beside the parent's base-2 losses, the divergence in bits a token and alpha (mean a token)."""
        super().reduce_metrics(logging_outputs)
        if not any("alpha" in log for log in logging_outputs):
            return
        ntokens = sum(log.get("ntokens", 0) for log in logging_outputs)
        divergence = sum(log.get("intra_distillation_loss", 0) for log in logging_outputs)
        alpha = sum(log.get("alpha", 0) for log in logging_outputs)
        metrics.log_scalar("intra_distillation_loss", divergence / ntokens / math.log(2), ntokens, round=4)
        metrics.log_scalar("alpha", alpha / ntokens, ntokens, round=4)


def _select(logits, keep, copies):
    """From [B * copies, T, V], a sentence's copies adjacent, the positions in keep [B, T]: [copies, N, V].

    By index_select, whose backward on a CPU is twenty times as fast as that of indexing with a mask.
    """
    sentence, position = keep.nonzero(as_tuple=True)
    row = sentence * copies + torch.arange(copies, device=keep.device).unsqueeze(1)
    index = (row * keep.size(1) + position).flatten()
    return logits.flatten(0, 1).index_select(0, index).view(copies, -1, logits.size(-1))
