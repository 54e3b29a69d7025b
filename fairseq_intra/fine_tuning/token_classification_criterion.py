"""The criterions of token classification: cross-entropy of the labels of words, plain and with intra-distillation."""

from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics

from ..model_outputs import select_positions
from .entities import EntityCounts, count_entities
from .positionwise_criterion import PositionwiseCriterion, PositionwiseIntraDistillation
from .shared import FineTuningFlags


@register_criterion("token_classification", dataclass=FairseqDataclass)
class TokenClassificationCriterion(PositionwiseCriterion):
    """Sum over labelled words of the cross-entropy, in nats; the gradient is that of the mean per word.

    It logs the loss in bits per word, the accuracy, and in validation the entity-level F1 (`f1`, in percent).
    """

    def logits(self, sample, outputs):
        return select_positions(outputs, self._keep(sample).nonzero(as_tuple=True))

    def target(self, sample):
        return sample["target"][self._keep(sample)]

    def log_evaluation(self, sample, logits, target):
        gold, predicted = (
            [self._tags(row) for row in by_sentence(self._keep(sample), labels)]
            for labels in (target, logits.argmax(-1))
        )
        return count_entities(gold, predicted)._asdict()

    def _keep(self, sample):
        return sample["target"].ne(self.task.IGNORE)

    def _tags(self, numbers):
        return [self.task.labels[number] for number in numbers]

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        super().reduce_metrics(logging_outputs)
        if any("gold" in log for log in logging_outputs):
            for name in EntityCounts._fields:
                metrics.log_scalar_sum(f"_{name}", sum(log.get(name, 0) for log in logging_outputs))
            metrics.log_derived("f1", _f1)


@register_criterion("intra_distillation_token_classification", dataclass=FineTuningFlags)
class IntraDistillationTokenClassificationCriterion(PositionwiseIntraDistillation, TokenClassificationCriterion):
    """Cross-entropy of the labels of words, mean over K stochastic passes, plus alpha times their divergence."""


def by_sentence(keep, labels):
    """Labels [N] of the words in keep [B, T], as B lists."""
    return [row.tolist() for row in labels.split(keep.sum(1).tolist())]


def _f1(meters):
    return round(100 * EntityCounts(*(meters[f"_{name}"].sum for name in EntityCounts._fields)).f1, 2)
