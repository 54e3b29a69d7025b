"""The loss as one would write it down from the paper's formulas, as something to compare speed and memory with.

Softmax, logarithm, a loop over the passes, autograd: our own re-creation of what is usual, not anybody's code. It
has no protection against probabilities that underflow.
"""

import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss


def naive_loss(logits, target, alpha, label_smoothing):
    """logits: a list of K tensors [N, V]; target [N]. Mean cross-entropy plus alpha times the X-divergence."""
    probs = [torch.softmax(z.float(), -1) for z in logits]
    mean = torch.stack(probs).mean(0)
    divergence = sum(((p - mean) * (p.log() - mean.log())).sum() for p in probs) / len(logits)
    smoothed = [
        label_smoothed_nll_loss(torch.log_softmax(z.float(), -1), target.unsqueeze(-1), label_smoothing)[0].sum()
        for z in logits
    ]
    return sum(smoothed) / len(logits) + alpha * divergence
