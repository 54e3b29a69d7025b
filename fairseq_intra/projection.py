"""Whether a model's projection to the vocabulary can be done apart from it, together with the loss."""

import torch
from fairseq.distributed import FullyShardedDataParallel
from fairseq.models import FairseqLanguageModel
from fairseq.models.transformer import TransformerDecoderBase, TransformerModelBase

from .passes import unwrapped


class NoProjection(Exception):
    """Why the loss has to take this model's logits."""


def projection(model) -> torch.nn.Linear:
    """The linear layer between `model(..., features_only=True)` and the logits.

    Args:
        model: a fairseq model, or one wrapped for distributed training.

    Raises:
        NoProjection: where there is no such layer, or it may not be used outside the model's forward.
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
