"""The loss of intra-distillation, in torch alone: for fairseq's criterions here, and for any other trainer.

`definitions` holds the formulas as the paper writes them, `closed_form` the fast form of the same numbers with its
gradient, `compiled` and `triton` that form for a CPU and as GPU kernels; `distillation` is the loss of a teacher.
"""

from .definitions import js_divergence, squared_distance, x_divergence
from .functional import IntraDistillationLoss, intra_distillation_loss, intra_distillation_loss_on_features

__all__ = [
    "IntraDistillationLoss",
    "intra_distillation_loss",
    "intra_distillation_loss_on_features",
    "js_divergence",
    "squared_distance",
    "x_divergence",
]
