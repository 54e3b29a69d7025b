"""What the losses take of a translation model: features or logits, at the positions that count."""

import inspect

import torch
from fairseq.distributed import FullyShardedDataParallel
from fairseq.models import FairseqLanguageModel
from fairseq.models.transformer import TransformerDecoderBase, TransformerModelBase

from .errors import UsageError
from .passes import unwrapped


class NoProjection(Exception):
    """Why the loss has to take this model's logits."""


def projection(model) -> torch.nn.Linear:
    """The linear layer between `model(..., features_only=True)` and the logits.

    Args:
        model: a fairseq model, or one wrapped for distributed training.

    Raises:
        NoProjection: if there is no such layer, or it may not be used outside the model's forward.
    """
    if isinstance(model, FullyShardedDataParallel):
        raise NoProjection("fully sharded weights are whole during forward alone")
    # DistributedDataParallel then takes a layer that forward does not reach for unused.
    if getattr(model, "find_unused_parameters", False):
        raise NoProjection("--find-unused-parameters looks for them in forward alone")
    inner = unwrapped(model)
    decoder = getattr(inner, "decoder", None)
    layer = getattr(decoder, "output_projection", None)
    if (
        type(inner).forward not in (TransformerModelBase.forward, FairseqLanguageModel.forward)
        or getattr(type(decoder), "forward", None) is not TransformerDecoderBase.forward
        or type(decoder).output_layer is not TransformerDecoderBase.output_layer
        or type(layer) is not torch.nn.Linear
        or layer._forward_pre_hooks
    ):
        raise NoProjection(f"{type(inner).__name__} does not offer its features apart from its logits")
    return layer


def reject_other_outputs(model, criterion: str) -> None:
    """Raises UsageError if what a model returns is not logits over the whole vocabulary."""
    inner = unwrapped(model)
    if getattr(getattr(inner, "decoder", None), "adaptive_softmax", None) is not None:
        raise UsageError(
            f"{criterion} needs logits over the whole vocabulary, which a model with "
            "--adaptive-softmax-cutoff does not have; leave that flag out"
        )
    if not _normalises_by_softmax(inner):
        raise UsageError(
            f"{criterion} needs logits, of which softmax makes probabilities; a {type(inner).__name__} makes them "
            "in another way (its get_normalized_probs), as pointer-generators do"
        )


def _normalises_by_softmax(model):
    logits = torch.tensor([[[0.0, 1.0, 3.0]]])
    try:
        found = model.get_normalized_probs((logits, None), log_probs=True)
    except Exception:
        # It needs more of a model's output than its first part, and so cannot be asked beforehand.
        return True
    return torch.allclose(found.float().cpu(), logits.log_softmax(-1), atol=1e-4)


def reject_other_inputs(model, net_input, criterion: str) -> None:
    """Raises UsageError if a model's forward takes more than net_input; non-autoregressive ones take the target."""
    inner = unwrapped(model)
    try:
        inspect.signature(inner.forward).bind(**net_input)
    except TypeError as error:
        raise UsageError(
            f"{criterion} cannot train a {type(inner).__name__}, whose forward takes other inputs than the task's "
            f"mini-batches have ({', '.join(net_input)}): {error}; use the criterion that this model comes with"
        ) from None


def target_positions(model, sample, padding_idx, ignore_prefix_size):
    """(target [N], positions): what counts, no pads and no ignored prefix; positions are (examples [N], places [N]).

    Found before the passes: the host waits for a GPU to count them, which is idle then anyway.
    """
    target = model.get_targets(sample, None)
    keep = target.ne(padding_idx)
    keep[:, : max(0, ignore_prefix_size)] = False
    positions = keep.nonzero(as_tuple=True)
    return target[positions], positions


def select_positions(outputs, positions):
    """From outputs [k, B, T, C] of k passes, N positions (examples [N], places [N]): [k, N, C].

    By index_select, whose backward on a CPU is twenty times as fast as that of indexing with a mask.
    """
    num_passes = len(outputs)
    examples, places = positions
    rows_of_passes = examples * num_passes + torch.arange(num_passes, device=examples.device).unsqueeze(1)
    index = (rows_of_passes * outputs.size(2) + places).flatten()
    # Copies are interleaved in the model, so that this order is that of memory: nothing is copied.
    rows = outputs.transpose(0, 1).flatten(0, 2)
    return rows.index_select(0, index).view(num_passes, -1, outputs.size(-1))


def counts(sample, sentence_avg):
    """The counts in a mini-batch's logging output, as fairseq's cross-entropy has them."""
    nsentences = sample["target"].size(0)
    return {
        "ntokens": sample["ntokens"],
        "nsentences": nsentences,
        "sample_size": nsentences if sentence_avg else sample["ntokens"],
    }
