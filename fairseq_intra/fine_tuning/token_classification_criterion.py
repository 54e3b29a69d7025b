"""The criterions of token classification: cross-entropy of the labels of words, plain and with intra-distillation."""

import logging
import math

import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics

from ..intra_distillation import IntraDistillation, log_method
from ..loss import intra_distillation_loss
from ..model_outputs import select_positions
from ..passes import joined_passes
from .entities import EntityCounts, count_entities
from .head import FineTuningFlags
from .token_classification import HEAD

logger = logging.getLogger(__name__)


@register_criterion("token_classification", dataclass=FairseqDataclass)
class TokenClassificationCriterion(FairseqCriterion):
    """Sum over labelled words of the cross-entropy, in nats; the gradient is that of the mean per word.

    Logged are the loss in bits per word, the accuracy, and in validation the entity-level F1 (`f1`, in percent).
    """

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output)."""
        output, _ = model(**head_input(sample))
        keep = sample["target"].ne(self.task.IGNORE)
        logits, target = select_positions(output.unsqueeze(0), keep)[0], sample["target"][keep]
        loss = F.cross_entropy(logits.float(), target, reduction="sum")
        log = self.log_words(sample, loss, logits, target)
        if not model.training:
            log |= self._log_entities(keep, logits, target)
        return loss, target.numel(), log

    def log_words(self, sample, loss, logits, target):
        """The logging output of a mini-batch, of its logits [N, V] and target [N]."""
        return {
            "loss": loss.data,
            "ncorrect": logits.argmax(-1).eq(target).sum(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": target.numel(),
        }

    def _log_entities(self, keep, logits, target):
        gold, predicted = (
            [self._tags(row) for row in by_sentence(keep, labels)] for labels in (target, logits.argmax(-1))
        )
        return count_entities(gold, predicted)._asdict()

    def _tags(self, numbers):
        return [self.task.labels[number] for number in numbers]

    @staticmethod
    def reduce_metrics(logging_outputs) -> None:
        def total(name):
            return sum(log.get(name, 0) for log in logging_outputs)

        words = total("sample_size")
        metrics.log_scalar("loss", total("loss") / words / math.log(2), words, round=3)
        metrics.log_scalar("accuracy", 100 * total("ncorrect") / words, words, round=2)
        if any("gold" in log for log in logging_outputs):
            for name in EntityCounts._fields:
                metrics.log_scalar_sum(f"_{name}", total(name))
            metrics.log_derived("f1", _f1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


@register_criterion("intra_distillation_token_classification", dataclass=FineTuningFlags)
class IntraDistillationTokenClassificationCriterion(TokenClassificationCriterion):
    """Cross-entropy of the labels of words, mean over K stochastic passes, plus alpha times their divergence.

    In evaluation it is its parent: one pass, the plain loss. The task `token_classification_intra_distillation` sets
    `alpha` between updates.

    Raises:
        UsageError: if a flag has a value that is not allowed; in training, if the model cannot be trained in the
            mode asked for.
    """

    def __init__(self, task, num_iter=3, alpha=1.0, div="X", passes="auto"):
        super().__init__(task)
        self.method = IntraDistillation(num_iter, alpha, div, passes)
        self._is_planned = False

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output), the loss summed over words, in nats."""
        if not model.training or self.method.is_plain:
            return super().forward(model, sample, reduce=reduce)
        if not self._is_planned:
            logger.info("intra-distillation: %s", self.method.description(model))
            self._is_planned = True
        keep = sample["target"].ne(self.task.IGNORE)
        outputs = self.method.run_passes(model, head_input(sample))
        logits = joined_passes([select_positions(output, keep) for output in outputs])
        target = sample["target"][keep]
        result = intra_distillation_loss(logits, target, alpha=self.method.alpha, divergence=self.method.divergence)
        log = self.log_words(sample, result.loss, logits.mean(0), target)
        return result.loss, target.numel(), log | self.method.logging_output(result.divergence, target.numel())

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs, beside the parent's, the divergence in bits per word and alpha."""
        super().reduce_metrics(logging_outputs)
        log_method(logging_outputs, "sample_size")


def head_input(sample):
    """What a model is called with for the labels of a mini-batch's words."""
    return sample["net_input"] | {"features_only": True, "classification_head_name": HEAD}


def by_sentence(keep, labels):
    """Labels [N] of the words in keep [B, T], as B lists."""
    return [row.tolist() for row in labels.split(keep.sum(1).tolist())]


def _f1(meters):
    return round(100 * EntityCounts(*(meters[f"_{name}"].sum for name in EntityCounts._fields)).f1, 2)
