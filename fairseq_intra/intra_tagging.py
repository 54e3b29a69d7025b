"""Intra-distillation of token classification: the criterion, and the task with the schedule of its alpha."""

from dataclasses import dataclass

from fairseq.criterions import register_criterion
from fairseq.tasks import register_task

from .criterion import select_positions
from .fine_tuning import FineTuningFlags, FineTuningTask, FineTuningTaskFlags, HeadPasses
from .loss import intra_distillation_loss
from .method import log_method
from .tagging import TokenClassificationConfig, TokenClassificationTask
from .tagging_criterion import TokenClassificationCriterion, head_input


@register_criterion("intra_distillation_token_classification", dataclass=FineTuningFlags)
class IntraDistillationTokenClassificationCriterion(HeadPasses, TokenClassificationCriterion):
    """Cross-entropy of the labels of words, mean over K stochastic passes, plus alpha times their divergence.

    In evaluation it is its parent: one pass, the plain loss. The task `token_classification_intra_distillation` sets
    `alpha` between updates.

    Raises:
        UsageError: on a flag's value that is not allowed; in training, if the model cannot be trained in the way
            asked for.
    """

    def __init__(self, task, num_iter=3, alpha=1.0, div="X", passes="auto"):
        super().__init__(task)
        self.set_method(num_iter, alpha, div, passes)

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output), the loss summed over words, in nats."""
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        keep = sample["target"].ne(self.task.IGNORE)
        outputs = self.head_outputs(model, head_input(sample))
        # [K, N, V]; a sentence's passes stand next to each other in what select_positions takes.
        logits = select_positions(outputs.transpose(0, 1).flatten(0, 1), keep, self.num_iter)
        target = sample["target"][keep]
        result = intra_distillation_loss(
            logits, target, alpha=self.alpha, label_smoothing=0.0, divergence=self.divergence
        )
        log = self.log_words(sample, result.loss, logits.mean(0), target)
        return result.loss, target.numel(), log | self.method_log(result.divergence, target.numel())

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs, beside the parent's, the divergence in bits a word and alpha."""
        super().reduce_metrics(logging_outputs)
        log_method(logging_outputs, "sample_size")


@dataclass
class TokenClassificationIntraDistillationConfig(FineTuningTaskFlags, TokenClassificationConfig):
    pass


@register_task("token_classification_intra_distillation", dataclass=TokenClassificationIntraDistillationConfig)
class TokenClassificationIntraDistillationTask(FineTuningTask, TokenClassificationTask):
    """The task `token_classification` whose criterion's alpha follows the number of updates."""
