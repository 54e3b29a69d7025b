"""What each parameter contributes to the loss: its sensitivity (Xu, Koehn and Murray, EMNLP 2022, section 2).

The sensitivity of the number theta_i in a parameter, on a mini-batch b whose mean loss per token is L_b::

    I_b(theta_i) = |theta_i * dL_b/dtheta_i|

is to first order what L_b changes by if theta_i is set to zero. Of B mini-batches there are two summaries:

- of batches, the paper's: I = (1/B) sum_b I_b. It is the same in whatever order the batches come, and if every batch
  is repeated; but it grows as batches get smaller, since what cancels within a batch does not cancel between two.
- of the split: I = |theta_i * dL/dtheta_i|, L the mean loss per token of all batches together. It does not depend on
  how they are cut. Where all batches hold as many tokens, it is at most the other one, and equal to it for a
  parameter on whose gradient's sign all batches agree.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch

from ..errors import UsageError


class Sensitivity(NamedTuple):
    """Of one model on some mini-batches."""

    scores: dict[str, torch.Tensor]  #: I by parameter name, of its shape and dtype
    #: Nats per token, of fine-tuned encoders per example or labelled word: mean of the batches' ("batch"), or over
    #: all ("split").
    loss: float
    batches: int
    sentences: int
    tokens: int


def sensitivity(
    model: torch.nn.Module, samples: Iterable[dict], criterion: torch.nn.Module, gradient_of: str = "batch"
) -> Sensitivity:
    """The sensitivity of every parameter, dropout off.

    A parameter that has several names counts once, under the first (of tied embeddings, the encoder's). Beside the
    activations this needs twice the model's memory, parameters and scores, and the gradient of one parameter at a
    time, which is used as soon as it is there.

    Args:
        model: its parameters' gradients are used up.
        samples: fairseq's mini-batches, on the model's device.
        criterion: fairseq's; in evaluation it returns the loss summed over the tokens, in nats.
        gradient_of: "batch" or "split", see above.

    Raises:
        UsageError: if there is no mini-batch, the loss is zero or no finite number, or a score is none.
    """
    model.eval()
    criterion.eval()
    parameters = dict(model.requires_grad_(True).named_parameters())
    model.zero_grad(set_to_none=True)
    found = _SUMMARIES[gradient_of](parameters)
    losses, batches, sentences, tokens = 0.0, 0, 0, 0
    # cuDNN has no backward pass for recurrent layers in evaluation mode.
    with torch.backends.cudnn.flags(enabled=False):
        for batches, sample in enumerate(samples, 1):
            loss, size, logged = criterion(model, sample)
            # Translation counts tokens also where it was trained to the mean over sentences.
            losses += found.add(loss, logged["ntokens"] if hasattr(criterion, "sentence_avg") else size)
            sentences += logged["nsentences"]
            tokens += logged["ntokens"]
            if not math.isfinite(losses):
                raise UsageError(f"the loss of mini-batch {batches} is {loss.item()}: nothing can be told from it")
    if not batches:
        raise UsageError("there is no mini-batch to compute the sensitivity on")
    if not losses:
        raise UsageError("the loss is zero: nothing contributes to it")
    scores = found.finished()
    for name, score in scores.items():
        if not score.isfinite().all():
            raise UsageError(f"the sensitivity of {name} is not a finite number everywhere; is the parameter?")
    return Sensitivity(scores, losses / found.weight, batches, sentences, tokens)


class _Batches:
    """The mean of every batch's scores."""

    def __init__(self, parameters):
        self._scores = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._take, self._scores[name]))
            for name, parameter in parameters.items()
        ]
        self.weight = 0

    @staticmethod
    @torch.no_grad()
    def _take(score, parameter):
        score += (parameter * parameter.grad).abs_()
        parameter.grad = None

    def add(self, loss, tokens):
        """Takes up a batch; returns what it adds to the sum of losses."""
        mean = loss / tokens
        mean.backward()
        self.weight += 1
        return mean.item()

    def finished(self):
        for hook in self._hooks:
            hook.remove()
        return {name: score.div_(self.weight) for name, score in self._scores.items()}


class _Split:
    """The scores of all batches as one: torch sums the gradients up."""

    def __init__(self, parameters):
        self._parameters = parameters
        self.weight = 0

    def add(self, loss, tokens):
        loss.backward()
        self.weight += tokens
        return loss.item()

    @torch.no_grad()
    def finished(self):
        scores = {}
        for name, parameter in self._parameters.items():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            scores[name] = gradient.div_(self.weight).mul_(parameter).abs_()
            parameter.grad = None
        return scores


#: By `gradient_of`.
_SUMMARIES: dict[str, Callable[..., Any]] = {"batch": _Batches, "split": _Split}
