"""The criterion `token_classification`: cross-entropy of the labels of words."""

import math

import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics

from .criterion import select_positions
from .entities import EntityCounts, count_entities
from .tagging import HEAD


@register_criterion("token_classification", dataclass=FairseqDataclass)
class TokenClassificationCriterion(FairseqCriterion):
    """Sum over labelled words of the cross-entropy, in nats; the gradient is that of the mean a word.

    Logged are the loss in bits a word, the accuracy, and in validation the entity-level F1 (`f1`, in percent).
    """

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output)."""
        output, _ = model(**head_input(sample))
        keep = sample["target"].ne(self.task.IGNORE)
        logits, target = select_positions(output, keep, 1)[0], sample["target"][keep]
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


def head_input(sample):
    """What a model is called with for the labels of a mini-batch's words."""
    return sample["net_input"] | {"features_only": True, "classification_head_name": HEAD}


def by_sentence(keep, labels):
    """Labels [N] of the words in keep [B, T], as B lists."""
    return [row.tolist() for row in labels.split(keep.sum(1).tolist())]


def _f1(meters):
    return round(100 * EntityCounts(*(meters[f"_{name}"].sum for name in EntityCounts._fields)).f1, 2)
