"""The criterion `intra_distillation`: K passes, their cross-entropies, alpha times their divergence."""

import logging
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics

from .errors import UsageError
from .loss import IMPLEMENTATIONS, choose, intra_distillation_loss, intra_distillation_loss_on_features
from .passes import PASSES, choose_passes, draws_at_all, repeated_part, run_passes
from .projection import NoProjection, projection

logger = logging.getLogger(__name__)

DIV_CHOICES = ChoiceEnum(["X", "JS"])
ID_LOSS_CHOICES = ChoiceEnum(list(IMPLEMENTATIONS))
PASSES_CHOICES = ChoiceEnum(list(PASSES))


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
    passes: PASSES_CHOICES = field(
        default="auto",
        metadata={
            "help": "batched: one forward over K copies of the mini-batch; sequential: K forwards; recompute: K "
            "forwards that are run again in backward, a third more work in the memory of one pass; auto: batched "
            "where dropout draws for every row, else sequential"
        },
    )
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
class IntraDistillationCriterion(LabelSmoothedCrossEntropyCriterion):
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
        if num_iter < 1:
            raise UsageError(f"--num-iter must be at least 1, not {num_iter}")
        if not 0 <= alpha < math.inf:
            raise UsageError(f"--alpha must be a number of at least 0, not {alpha}")
        if str(div) not in ("X", "JS"):
            raise UsageError(f"--div must be X or JS, not {div}")
        if str(passes) not in PASSES:
            raise UsageError(f"--passes must be one of {', '.join(PASSES)}, not {passes}")
        if str(id_loss) not in IMPLEMENTATIONS:
            raise UsageError(f"--id-loss must be one of {', '.join(IMPLEMENTATIONS)}, not {id_loss}")
        self.num_iter = num_iter
        self.alpha = alpha
        self.divergence = str(div).lower()
        self.passes = str(passes)
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
            "intra_distillation_loss": result.divergence.data,
            # Summed over workers and mini-batches before it is logged, hence a weight.
            "alpha": self.alpha * sample["ntokens"],
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
        passes = choose_passes(model, self.passes, self.encoder_once)
        implementation = self._implementation(next(model.parameters()))
        on_features, because = self._takes_features(model)
        if self.num_iter > 1 and not draws_at_all(repeated_part(model, self.encoder_once)):
            logger.warning(
                "the %s has no dropout anywhere: its %d passes are identical and their divergence is "
                "zero; set --dropout",
                "decoder" if self.encoder_once else "model",
                self.num_iter,
            )
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
        log_per_token(logging_outputs, "intra_distillation_loss", math.log(2))
        log_per_token(logging_outputs, "alpha")


class _Plan(NamedTuple):
    passes: str
    implementation: str
    on_features: bool


def log_per_token(logging_outputs, name, unit=1.0):
    """Logs the mean a token of the sums under a name, in a unit; nothing where there are none (validation)."""
    if any(name in log for log in logging_outputs):
        ntokens = sum(log.get("ntokens", 0) for log in logging_outputs)
        total = sum(log.get(name, 0) for log in logging_outputs)
        metrics.log_scalar(name, total / ntokens / unit, ntokens, round=4)


def select_positions(rows, keep, copies):
    """From [B * copies, T, V], a sentence's copies adjacent, the positions in keep [B, T]: [copies, N, V].

    By index_select, whose backward on a CPU is twenty times as fast as that of indexing with a mask.
    """
    sentence, position = keep.nonzero(as_tuple=True)
    row = sentence * copies + torch.arange(copies, device=keep.device).unsqueeze(1)
    index = (row * keep.size(1) + position).flatten()
    return rows.flatten(0, 1).index_select(0, index).view(copies, -1, rows.size(-1))
