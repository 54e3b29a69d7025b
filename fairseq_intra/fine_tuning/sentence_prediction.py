"""Intra-distillation for fairseq's task `sentence_prediction`: classes or numbers for texts and pairs of texts."""

import math
from dataclasses import dataclass

from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import SentencePredictionConfig as PlainCriterionConfig
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.tasks import register_task
from fairseq.tasks.sentence_prediction import SentencePredictionConfig as PlainTaskConfig
from fairseq.tasks.sentence_prediction import SentencePredictionTask

from ..errors import UsageError
from ..intra_distillation import log_mean, log_method
from ..loss import intra_distillation_loss
from ..loss.definitions import regression_loss
from ..passes import joined_passes
from .positionwise import head_input
from .shared import FineTuningFlags, FineTuningTask, FineTuningTaskFlags, LoggedIntraDistillation

#: The functions of fairseq's models that give their regularisers, by the names of the flags: --mha-reg-scale-factor
#: and --ffn-reg-scale-factor.
REGULARISERS = {"mha": "_get_adaptive_head_loss", "ffn": "_get_adaptive_ffn_loss"}


@dataclass
class SentencePredictionCriterionConfig(FineTuningFlags, PlainCriterionConfig):
    pass


@register_criterion("intra_distillation_sentence_prediction", dataclass=SentencePredictionCriterionConfig)
class IntraDistillationSentencePredictionCriterion(SentencePredictionCriterion):
    """Cross-entropy or squared error, mean over K stochastic passes, plus alpha times their divergence.

    The divergence of classes is `--div`; that of a regression (`--regression-target`) the mean squared distance to
    the mean output. In evaluation it is its parent: one pass, the plain loss, fairseq's own measures.

    Raises:
        UsageError: on a flag's value that is not allowed; in training, if the model cannot be trained in the mode
            asked for, or has no such head.
    """

    def __init__(self, cfg: SentencePredictionCriterionConfig, task):
        super().__init__(cfg, task)
        self.intra_distillation = LoggedIntraDistillation(cfg.num_iter, cfg.alpha, cfg.div, cfg.passes)
        if self.regression_target and self.intra_distillation.divergence != "x":
            raise UsageError(
                f"--div {cfg.div} is for classes; with --regression-target the divergence is the squared distance "
                "to the mean output: leave --div out"
            )

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output), the loss summed over texts, in nats."""
        if model.training:
            # Checked in the first update, so that a late start does not fail only at the switch.
            self.intra_distillation.plan(model)
        if not model.training or self.intra_distillation.is_plain:
            return super().forward(model, sample, reduce=reduce)
        head = self.classification_head_name
        if head not in getattr(model, "classification_heads", ()):
            raise UsageError(f"the model has no head '{head}' (--classification-head-name) to classify with")
        outputs = joined_passes(self.intra_distillation.run_passes(model, head_input(sample, head)))
        target = model.get_targets(sample, None).view(-1)
        sample_size = target.numel()
        logging_output = {"ntokens": sample["ntokens"], "nsentences": sample_size, "sample_size": sample_size}
        if self.regression_target:
            loss, plain, divergence = regression_loss(outputs.flatten(1), target, alpha=self.intra_distillation.alpha)
        else:
            # Mean over the passes.
            logging_output["ncorrect"] = outputs.argmax(-1).eq(target).sum() / len(outputs)
            # Few elements: nothing for a GPU kernel of our own.
            loss, plain, divergence = intra_distillation_loss(
                outputs,
                target,
                alpha=self.intra_distillation.alpha,
                divergence=self.intra_distillation.divergence,
                implementation="torch",
            )
        for name, regulariser in _regularisers(model):
            loss = loss + regulariser
            logging_output[f"{name}_reg_loss"] = regulariser.data
        logging_output |= {
            "loss": loss.data,
            "task_loss": plain.data,
            **self.intra_distillation.logging_output(divergence, sample_size),
        }
        return loss, sample_size, logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs, beside what the parent does, means per text: the loss of the task alone, the divergence, alpha.

        Losses in bits, as the parent's `loss`; so are, for comparison's sake, the squares of a regression.
        """
        super().reduce_metrics(logging_outputs)
        log_mean(logging_outputs, "task_loss", "sample_size", math.log(2))
        log_method(logging_outputs, "sample_size")


def _regularisers(model):
    args = getattr(model, "args", None)
    for name, function in REGULARISERS.items():
        if getattr(args, f"{name}_reg_scale_factor", 0.0):
            yield name, getattr(model, function)()


@dataclass
class SentencePredictionIntraDistillationConfig(FineTuningTaskFlags, PlainTaskConfig):
    pass


@register_task("sentence_prediction_intra_distillation", dataclass=SentencePredictionIntraDistillationConfig)
class SentencePredictionIntraDistillationTask(FineTuningTask, SentencePredictionTask):
    """fairseq's task `sentence_prediction` with the schedule of the criterion's alpha, and frozen encoders."""

    @classmethod
    def setup_task(cls, cfg, **more):
        if cfg.num_classes < 1:
            raise UsageError(f"--num-classes must be at least 1, not {cfg.num_classes}; for a regression it is 1")
        task = super().setup_task(cfg, **more)
        if not cfg.regression_target and cfg.num_classes < (count := _label_count(task.label_dictionary)):
            raise UsageError(f"--num-classes {cfg.num_classes} is less than the {count} labels of {cfg.data}/label")
        return task


def _label_count(labels):
    """Of a dictionary as fairseq loads it: with <mask>, and filled up to a multiple by types that never occur."""
    found = list(zip(labels.symbols, labels.count, strict=True))[labels.nspecial :]
    return sum(occurrences > 0 and symbol != "<mask>" for symbol, occurrences in found)
