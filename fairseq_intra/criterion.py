"""The criterion `intra_distillation`: K passes, their cross-entropies, alpha times their divergence."""

import logging
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum

from .errors import UsageError
from .implementations import IMPLEMENTATIONS, choose
from .loss import intra_distillation_loss
from .loss_on_features import intra_distillation_loss_on_features
from .method import IntraDistillation, MethodFlags, log_method
from .passes import run_passes
from .projection import NoProjection, projection

logger = logging.getLogger(__name__)

ID_LOSS_CHOICES = ChoiceEnum(list(IMPLEMENTATIONS))


@dataclass
class IntraDistillationFlags(MethodFlags):
    """The flags of the method in translation; the task takes them too, as the authors' command gives them there."""

    id_loss: ID_LOSS_CHOICES = field(
        default="auto",
        metadata={
            "help": "what computes the loss: torch (closed form), triton (the same as GPU kernels, X only), "
            "reference (the definitions by autograd, slow); auto: triton where it can run, else torch"
        },
    )
    encoder_once: bool = field(
        default=False,
        metadata={"help": "beyond the paper: one pass through the encoder serves all K of the decoder"},
    )


@dataclass
class IntraDistillationCriterionConfig(IntraDistillationFlags, LabelSmoothedCrossEntropyCriterionConfig):
    pass


@register_criterion("intra_distillation", dataclass=IntraDistillationCriterionConfig)
class IntraDistillationCriterion(IntraDistillation, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy, mean over K stochastic passes, plus alpha times their divergence.

    In evaluation it is its parent: one pass, the plain loss. `alpha` may be set from outside between updates
    (the task `translation_intra_distillation` does).

    Raises:
        UsageError: on a flag's value that is not allowed; in training, if the model cannot be trained in the way
            asked for, or has an adaptive softmax.
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
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.set_method(num_iter, alpha, div, passes)
        if str(id_loss) not in IMPLEMENTATIONS:
            raise UsageError(f"--id-loss must be one of {', '.join(IMPLEMENTATIONS)}, not {id_loss}")
        self.id_loss = str(id_loss)
        self.encoder_once = encoder_once
        self._plan = None

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output), the loss summed over tokens, in nats."""
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        if self._plan is None:
            self._plan = self._planned(model)
        rows, target = self._rows(model, sample)
        # The loss overwrites the logits.
        correct = rows.argmax(-1).eq(target).sum().item() if self.report_accuracy else None
        result = self._loss(model, rows, target)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": result.loss.data,
            "nll_loss": result.nll.data,
            **self.method_log(result.divergence, sample["ntokens"]),
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            logging_output["n_correct"] = correct
            logging_output["total"] = rows.shape[:2].numel()
        return result.loss, sample_size, logging_output

    def _rows(self, model, sample):
        """The K passes' features [K, N, C] or logits [K, N, V], and target [N], at the N positions that count."""
        target = model.get_targets(sample, None)
        keep = target.ne(self.padding_idx)
        keep[:, : self.ignore_prefix_size] = False
        net_input = sample["net_input"] | ({"features_only": True} if self._plan.on_features else {})
        outputs = run_passes(model, net_input, self.num_iter, self._plan.passes, self.encoder_once)
        rows = [select_positions(net_output[0], keep, copies) for net_output, copies in outputs]
        return torch.cat(rows) if len(rows) > 1 else rows[0], target[keep]

    def _loss(self, model, rows, target):
        options = {
            "alpha": self.alpha,
            "label_smoothing": self.eps,
            "divergence": self.divergence,
            "implementation": self._plan.implementation,
        }
        if self._plan.on_features:
            layer = projection(model)
            return intra_distillation_loss_on_features(rows, layer.weight, layer.bias, target, **options)
        # select_positions made these logits, and nobody reads them after this.
        return intra_distillation_loss(rows, target, overwrite_logits=True, **options)

    def _planned(self, model):
        """How this model is trained, which is logged.

        Raises:
            UsageError: if it cannot be in the way that the flags want.
        """
        if getattr(getattr(model, "decoder", None), "adaptive_softmax", None) is not None:
            raise UsageError(
                "intra_distillation needs logits over the whole vocabulary, which a model with "
                "--adaptive-softmax-cutoff does not have; leave that flag out"
            )
        passes = self.chosen_passes(model, self.encoder_once)
        implementation = self._implementation(next(model.parameters()))
        on_features, because = self._takes_features(model)
        logger.info(
            "intra-distillation: %d passes, %s%s; loss by %s on %s%s",
            self.num_iter,
            passes,
            ", through the encoder once" if self.encoder_once else "",
            implementation,
            "features" if on_features else "logits",
            f" ({because})" if because else "",
        )
        return _Plan(passes, implementation, on_features)

    def _implementation(self, parameter):
        try:
            return choose(self.id_loss, parameter.device, parameter.dtype, self.divergence)
        except ValueError as refusal:
            raise UsageError(f"--id-loss {refusal}") from None

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
        """Logs, beside the parent's base-2 losses, the divergence in bits a token and alpha (mean a token)."""
        super().reduce_metrics(logging_outputs)
        log_method(logging_outputs, "ntokens")


class _Plan(NamedTuple):
    passes: str
    implementation: str
    on_features: bool


def select_positions(rows, keep, copies):
    """From [B * copies, T, V], a sentence's copies adjacent, the positions in keep [B, T]: [copies, N, V].

    By index_select, whose backward on a CPU is twenty times as fast as that of indexing with a mask.
    """
    sentence, position = keep.nonzero(as_tuple=True)
    row = sentence * copies + torch.arange(copies, device=keep.device).unsqueeze(1)
    index = (row * keep.size(1) + position).flatten()
    return rows.flatten(0, 1).index_select(0, index).view(copies, -1, rows.size(-1))
