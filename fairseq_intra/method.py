"""What every criterion of the method shares, whatever the task: its flags, its settings, what it logs."""

import logging
import math
from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics

from .errors import UsageError
from .passes import PASSES, choose_passes, draws_at_all, repeated_part, unwrapped

logger = logging.getLogger(__name__)

DIV_CHOICES = ChoiceEnum(["X", "JS"])
PASSES_CHOICES = ChoiceEnum(list(PASSES))


@dataclass
class MethodFlags(FairseqDataclass):
    """The flags of the method itself, for a criterion."""

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


class IntraDistillation:
    """Mixin of a fairseq criterion: the method's settings, whose `alpha` a task may set between updates."""

    def set_method(self, num_iter, alpha, div, passes):
        """Takes the values of `MethodFlags`.

        Raises:
            UsageError: on a value that is not allowed.
        """
        if num_iter < 1:
            raise UsageError(f"--num-iter must be at least 1, not {num_iter}")
        if not 0 <= alpha < math.inf:
            raise UsageError(f"--alpha must be a number of at least 0, not {alpha}")
        if str(div) not in ("X", "JS"):
            raise UsageError(f"--div must be X or JS, not {div}")
        if str(passes) not in PASSES:
            raise UsageError(f"--passes must be one of {', '.join(PASSES)}, not {passes}")
        self.num_iter = num_iter
        self.alpha = alpha
        self.divergence = str(div).lower()
        self.passes = str(passes)

    def chosen_passes(self, model, encoder_once=False):
        """The way that `--passes` stands for with this model; warns where the K passes cannot differ.

        Raises:
            UsageError: if the model cannot be trained in the way asked for.
        """
        passes = choose_passes(model, self.passes, encoder_once)
        if self.num_iter > 1 and not draws_at_all(repeated_part(model, encoder_once)):
            logger.warning(
                "the %s has no dropout anywhere: its %d passes are identical and their divergence is "
                "zero; set --dropout",
                "decoder" if encoder_once and hasattr(unwrapped(model), "decoder") else "model",
                self.num_iter,
            )
        return passes

    def method_log(self, divergence, count):
        """What the logging output of a mini-batch says of the method; `log_method` reads it.

        Args:
            divergence: scalar, summed over the positions that count.
            count: how many these are.
        """
        # Summed over workers and mini-batches before it is logged, hence a weight.
        return {"intra_distillation_loss": divergence.data, "alpha": self.alpha * count}


def log_method(logging_outputs, count):
    """Logs the divergence in bits and alpha, means over what the logging outputs count under the name `count`."""
    log_mean(logging_outputs, "intra_distillation_loss", count, math.log(2))
    log_mean(logging_outputs, "alpha", count)


def log_mean(logging_outputs, name, count, unit=1.0):
    """Logs the mean of the sums under a name, in a unit; nothing where there are none (validation)."""
    if any(name in log for log in logging_outputs):
        number = sum(log.get(count, 0) for log in logging_outputs)
        total = sum(log.get(name, 0) for log in logging_outputs)
        metrics.log_scalar(name, total / number / unit, number, round=4)
