"""Criterions of the tasks with a head over every position: cross-entropy, plain and with intra-distillation."""

import math

import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics

from ..intra_distillation import log_mean, log_method
from ..loss import intra_distillation_loss
from ..passes import joined_passes
from .positionwise import head_input
from .shared import LoggedIntraDistillation


class PositionwiseCriterion(FairseqCriterion):
    """Sum over examples of the cross-entropy, in nats; the gradient is that of the mean per example.

    An example has one softmax or several, `PER_EXAMPLE`: their cross-entropies are averaged, their divergences added.
    A subclass says which distributions these are. The criterion logs the loss in bits per example, and the accuracy:
    the share of examples whose softmaxes are all right; with K passes, the mean of the passes' accuracies.
    """

    PER_EXAMPLE = 1

    def logits(self, sample, outputs):
        """The logits [k, N, V] of a mini-batch's N softmaxes, from the head's outputs [k, B, T, .] of k passes."""
        raise NotImplementedError

    def target(self, sample):
        """The classes [N] of a mini-batch; those of one example are N / PER_EXAMPLE apart."""
        raise NotImplementedError

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output)."""
        output, _ = model(**head_input(sample, self.task.HEAD))
        logits, target = self.logits(sample, output.unsqueeze(0)), self.target(sample)
        loss = F.cross_entropy(logits[0].float(), target, reduction="sum") / self.PER_EXAMPLE
        log = self.log_examples(sample, loss, logits, target)
        if not model.training:
            log |= self.log_evaluation(sample, logits[0], target)
        return loss, log["sample_size"], log

    def log_examples(self, sample, loss, logits, target):
        """The logging output of a mini-batch, of its logits [k, N, V] and target [N]."""
        correct = logits.argmax(-1).eq(target).view(len(logits), self.PER_EXAMPLE, -1).all(1)
        return {
            "loss": loss.data,
            "ncorrect": correct.sum() / len(logits),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": correct.shape[1],
        }

    def log_evaluation(self, sample, logits, target) -> dict:
        """What validation adds to the logging output of a mini-batch."""
        return {}

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        examples = sum(log["sample_size"] for log in logging_outputs)
        loss, correct = (sum(log[name] for log in logging_outputs) for name in ("loss", "ncorrect"))
        metrics.log_scalar("loss", loss / examples / math.log(2), examples, round=3)
        metrics.log_scalar("accuracy", 100 * correct / examples, examples, round=2)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


class PositionwiseIntraDistillation:
    """Mixin of a `PositionwiseCriterion`, before it: K passes, and alpha times their divergence.

    In evaluation and before a late start it is the plain criterion: one pass, the plain loss. The task
    (`FineTuningTask`) sets `intra_distillation.alpha` between updates.

    Raises:
        UsageError: if a flag has a value that is not allowed; in training, if the model cannot be trained in the
            mode asked for.
    """

    def __init__(self, task, num_iter=3, alpha=1.0, div="X", passes="auto"):
        super().__init__(task)
        self.intra_distillation = LoggedIntraDistillation(num_iter, alpha, div, passes)

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output), the loss summed over examples, in nats."""
        if model.training:
            # Checked in the first update, so that a late start does not fail only at the switch.
            self.intra_distillation.plan(model)
        if not model.training or self.intra_distillation.is_plain:
            return super().forward(model, sample, reduce=reduce)
        outputs = self.intra_distillation.run_passes(model, head_input(sample, self.task.HEAD))
        logits = joined_passes([self.logits(sample, output) for output in outputs])
        target = self.target(sample)
        # Few elements: nothing for a GPU kernel of our own.
        summed = intra_distillation_loss(
            logits,
            target,
            alpha=self.intra_distillation.alpha * self.PER_EXAMPLE,
            divergence=self.intra_distillation.divergence,
            implementation="torch",
        )
        loss = summed.loss / self.PER_EXAMPLE
        log = self.log_examples(sample, loss, logits, target)
        log["task_loss"] = summed.nll / self.PER_EXAMPLE
        log |= self.intra_distillation.logging_output(summed.divergence, log["sample_size"])
        return loss, log["sample_size"], log

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs, beside the parent's, the loss without the divergence and the divergence, in bits, and alpha."""
        super().reduce_metrics(logging_outputs)
        log_mean(logging_outputs, "task_loss", "sample_size", math.log(2))
        log_method(logging_outputs, "sample_size")
