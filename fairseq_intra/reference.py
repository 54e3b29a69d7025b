"""The intra-distillation loss as the paper writes it, by autograd: what every faster form is tested against."""

import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

from .divergence import DIVERGENCES


def reference_loss(logits, target, options):
    """(loss, nll, divergence), each summed over the N positions.

    Fairseq's label-smoothed cross-entropy of every pass and the definition of the divergence, computed in float32
    at least. Expect many temporaries of the size of the logits.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    sums = [label_smoothed_nll_loss(z.log_softmax(-1), target.unsqueeze(-1), options.label_smoothing) for z in logits]
    smoothed, nll = (sum(column) / len(logits) for column in zip(*sums, strict=True))
    divergence = DIVERGENCES[options.divergence](logits).sum()
    return smoothed + options.alpha * divergence, nll.detach(), divergence.detach()
