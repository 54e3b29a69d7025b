"""The method, whatever the task: its flags, the K passes, alpha, the divergence, what is logged."""

import logging
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics

from .errors import UsageError
from .limits import check_alpha
from .loss.definitions import DIVERGENCES as DEFINITIONS
from .passes import (
    MODES,
    choose_mode,
    has_dropout,
    is_deterministic_encoder,
    reject_noise_that_stays,
    reject_what_workers_cannot_exchange,
    repeated_part,
    run_passes,
    unwrapped,
)

logger = logging.getLogger(__name__)

#: As the paper writes them, and `--div`.
DIVERGENCES = tuple(name.upper() for name in DEFINITIONS)
DIV_CHOICES = ChoiceEnum(list(DIVERGENCES))
MODE_CHOICES = ChoiceEnum(list(MODES))


@dataclass
class IntraDistillationFlags(FairseqDataclass):
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
    passes: MODE_CHOICES = field(
        default="auto",
        metadata={
            "help": "batched: one forward over K copies of the mini-batch; sequential: K forwards; recompute: K "
            "forwards that are run again in backward, a third more work in the memory of one pass; auto: batched "
            "where dropout samples a mask per example, else sequential"
        },
    )


class PassesPlan(NamedTuple):
    """How the K passes of one model run."""

    mode: str  #: batched, sequential or recompute
    encoder_once: bool


class IntraDistillation:
    """What a criterion of the method holds: K passes through its model, and the weight of their divergence.

    The tasks of `adaptive_alpha` and `late_start` set between updates `alpha`, and `is_plain`, with which the
    criterion does one pass with the plain loss.

    Raises:
        UsageError: if a flag has a value that is not allowed.
    """

    def __init__(self, num_iter: int, alpha: float, div: str, passes: str, encoder_once: bool = False):
        if num_iter < 1:
            raise UsageError(f"--num-iter must be at least 1, not {num_iter}")
        check_alpha(alpha)
        if str(div) not in DIVERGENCES:
            raise UsageError(f"--div must be {' or '.join(DIVERGENCES)}, not {div}")
        if str(passes) not in MODES:
            raise UsageError(f"--passes must be one of {', '.join(MODES)}, not {passes}")
        self.num_iter = num_iter
        self.alpha = alpha
        self.is_plain = False
        self.divergence = str(div).lower()
        self.mode = str(passes)
        self.encoder_once = encoder_once
        self._plan: PassesPlan | None = None

    def run_passes(self, model, net_input):
        """The outputs of K stochastic passes over a mini-batch of B examples, a list of [k, B, ...] (see `passes`).

        The model is only called through its forward, as distributed training needs it.

        Raises:
            UsageError: if the model cannot be trained in the mode asked for.
        """
        return run_passes(model, net_input, self.num_iter, *self.plan(model))

    def plan(self, model) -> PassesPlan:
        """How this model's passes run, decided once; warns where the K passes cannot differ.

        Raises:
            UsageError: if the model cannot be trained in the mode asked for.
        """
        if self._plan is None:
            once = self.encoder_once
            if self.mode in ("auto", "batched"):
                once = once or is_deterministic_encoder(unwrapped(model))
            if self.num_iter > 1:
                reject_noise_that_stays(model)
                mode = choose_mode(model, self.mode, once)
                reject_what_workers_cannot_exchange(model, mode)
                self._plan = PassesPlan(mode, once)
            else:
                # One pass runs in any model, and in any mode it is the same; to repeat it would save no memory.
                mode = choose_mode(model, "auto", False) if self.mode in ("auto", "recompute") else self.mode
                self._plan = PassesPlan(mode, False)
            self._warn_of_identical_passes(model)
        return self._plan

    def description(self, model) -> str:
        """The plan for the log."""
        mode, once = self.plan(model)
        because = "" if self.encoder_once else ", which has no dropout"
        return f"{self.num_iter} passes, {mode}" + (f", through the encoder once{because}" if once else "")

    def _warn_of_identical_passes(self, model):
        once = self._plan.encoder_once
        if self.num_iter > 1 and not has_dropout(repeated_part(model, once)):
            logger.warning(
                "the %s has no dropout anywhere: its %d passes are identical and their divergence is "
                "zero; set --dropout",
                "decoder" if once and hasattr(unwrapped(model), "decoder") else "model",
                self.num_iter,
            )

    def logging_output(self, divergence, count):
        """The method's part of a mini-batch's logging output; `log_method` reads it.

        Args:
            divergence: scalar, summed over the positions that count, in nats.
            count: their number.
        """
        # Summed over workers and mini-batches before it is logged, hence a weight.
        return {"intra_distillation_loss": divergence.data, "alpha": self.alpha * count}


def log_method(logging_outputs, count):
    """Logs the divergence in bits and alpha, means over what the logging outputs count under the name `count`."""
    log_mean(logging_outputs, "intra_distillation_loss", count, math.log(2))
    log_mean(logging_outputs, "alpha", count)


def log_mean(logging_outputs, name, count, unit=1.0):
    """Logs sum(name) / sum(count) / unit; unit = ln 2 turns nats into bits. Nothing where no log has the name.

    Of a mini-batch that counts nothing, as without a labelled word, there is no mean.
    """
    if any(name in log for log in logging_outputs):
        number = sum(log.get(count, 0) for log in logging_outputs)
        if isinstance(number, int) and not number:
            return
        total = sum(log.get(name, 0) for log in logging_outputs)
        metrics.log_scalar(name, total / number / unit, number, round=4)
