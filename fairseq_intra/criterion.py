"""The criterion `intra_distillation`: K passes, their cross-entropies, alpha times their divergence."""

import logging
from dataclasses import dataclass, field
from typing import NamedTuple

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum

from .errors import UsageError
from .intra_distillation import IntraDistillation, IntraDistillationFlags, log_method
from .limits import check_label_smoothing
from .loss import intra_distillation_loss, intra_distillation_loss_on_features
from .loss.functional import IMPLEMENTATIONS, choose_implementation
from .model_outputs import (
    NoProjection,
    counts,
    projection,
    reject_other_inputs,
    reject_other_outputs,
    select_positions,
    target_positions,
)
from .passes import joined_passes

logger = logging.getLogger(__name__)

ID_LOSS_CHOICES = ChoiceEnum(list(IMPLEMENTATIONS))


@dataclass
class TranslationFlags(IntraDistillationFlags):
    """The flags of the method in translation; the task takes them too, as the authors' command gives them there."""

    id_loss: ID_LOSS_CHOICES = field(
        default="auto",
        metadata={
            "help": "implementation of the loss: torch (closed form), compiled (the same in loops for a CPU that "
            "torch.compile fuses), triton (the same as GPU kernels, X only), "
            "reference (the definitions by autograd, slow); auto: triton where it can run, else torch"
        },
    )
    encoder_once: bool = field(
        default=False,
        metadata={"help": "beyond the paper: one pass through the encoder serves all K of the decoder"},
    )


@dataclass
class IntraDistillationCriterionConfig(TranslationFlags, LabelSmoothedCrossEntropyCriterionConfig):
    pass


@register_criterion("intra_distillation", dataclass=IntraDistillationCriterionConfig)
class IntraDistillationCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy, mean over K stochastic passes, plus alpha times their divergence.

    In evaluation, and while `intra_distillation.is_plain`, it is its parent: one pass, the plain loss.

    Raises:
        UsageError: if a flag has a value that is not allowed; in training, if the model cannot be trained in the
            mode asked for, or its outputs are not logits over the whole vocabulary.
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
        passes="auto",
        id_loss="auto",
        encoder_once=False,
    ):
        check_label_smoothing(label_smoothing)
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.intra_distillation = IntraDistillation(num_iter, alpha, div, passes, encoder_once)
        if str(id_loss) not in IMPLEMENTATIONS:
            raise UsageError(f"--id-loss must be one of {', '.join(IMPLEMENTATIONS)}, not {id_loss}")
        self.id_loss = str(id_loss)
        self._plan = None

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output), the loss summed over tokens, in nats."""
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        if self._plan is None:
            # Checked in the first update, so that a late start does not fail only at the switch.
            reject_other_inputs(model, sample["net_input"], "intra_distillation")
            self._plan = self._make_and_log_plan(model)
        if self.intra_distillation.is_plain:
            return super().forward(model, sample, reduce=reduce)
        inputs, target = self._loss_inputs(model, sample)
        logging_output = counts(sample, self.sentence_avg)
        if self.report_accuracy:
            # Before the loss overwrites the logits.
            logging_output["n_correct"] = inputs.argmax(-1).eq(target).sum().item()
            logging_output["total"] = inputs.shape[:2].numel()
        result = self._loss(model, inputs, target)
        logging_output |= {
            "loss": result.loss.data,
            "nll_loss": result.nll.data,
            **self.intra_distillation.logging_output(result.divergence, sample["ntokens"]),
        }
        return result.loss, logging_output["sample_size"], logging_output

    def _loss_inputs(self, model, sample):
        """The K passes' features [K, N, C] or logits [K, N, V], and target [N], at the N positions that count."""
        target, positions = target_positions(model, sample, self.padding_idx, self.ignore_prefix_size)
        net_input = sample["net_input"] | ({"features_only": True} if self._plan.on_features else {})
        outputs = self.intra_distillation.run_passes(model, net_input)
        return joined_passes([select_positions(output, positions) for output in outputs]), target

    def _loss(self, model, inputs, target):
        settings = {
            "alpha": self.intra_distillation.alpha,
            "label_smoothing": self.eps,
            "divergence": self.intra_distillation.divergence,
            "implementation": self._plan.implementation,
        }
        if self._plan.on_features:
            layer = projection(model)
            return intra_distillation_loss_on_features(inputs, layer.weight, layer.bias, target, **settings)
        # select_positions made these logits, and nobody reads them after this.
        return intra_distillation_loss(inputs, target, overwrite_logits=True, **settings)

    def _make_and_log_plan(self, model):
        """How the loss of this model is computed; logged with its passes.

        Raises:
            UsageError: if it cannot be computed as the flags ask for.
        """
        reject_other_outputs(model, "intra_distillation")
        passes = self.intra_distillation.description(model)
        implementation = self._implementation(next(model.parameters()))
        on_features, because = self._takes_features(model)
        logger.info(
            "intra-distillation: %s; loss by %s on %s%s",
            passes,
            implementation,
            "features" if on_features else "logits",
            f" ({because})" if because else "",
        )
        return _LossPlan(implementation, on_features)

    def _implementation(self, parameter):
        try:
            return choose_implementation(
                self.id_loss, parameter.device, parameter.dtype, self.intra_distillation.divergence
            )
        except ValueError as obstacle:
            raise UsageError(f"--id-loss {obstacle}") from None

    def _takes_features(self, model):
        """Whether the loss projects the features itself, and if not, why."""
        if self.report_accuracy:
            return False, "--report-accuracy reads them"
        if self.id_loss == "reference":
            return False, None
        try:
            projection(model)
        except NoProjection as reason:
            return False, str(reason)
        return True, None

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs, beside the parent's base-2 losses, the divergence in bits per token and alpha (mean per token)."""
        super().reduce_metrics(logging_outputs)
        log_method(logging_outputs, "ntokens")


class _LossPlan(NamedTuple):
    implementation: str
    on_features: bool
