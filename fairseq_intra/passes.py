"""How one mini-batch goes through the model K times, each time with other parts dropped."""

import torch
from fairseq.modules import LayerDropModuleList
from fairseq.modules.quantization.scalar.modules import IntConv2d, IntEmbedding, IntLinear


def run_passes(model, net_input, num_passes):
    """K stochastic passes over one mini-batch.

    The passes go through as one batch of K copies, in which dropout draws a mask for every row. Where a model
    draws once for a whole forward (LayerDrop, quantisation noise, LightConv's dropped weights), K copies would
    all lose the same: such a model runs K times. The model is only ever called itself, never through its parts:
    the hooks that synchronise gradients between workers sit on its forward.

    Args:
        model: a fairseq model, or one wrapped for distributed training.
        net_input: its keyword arguments; tensors have the B sentences as their first dimension.
        num_passes: K.

    Returns:
        A list of (net_output, copies): net_output as the model returns it, holding `copies` rows for each
        sentence, the rows of one sentence next to each other. The copies add up to K.
    """
    if draws_per_forward(model):
        return [(model(**net_input), 1) for _ in range(num_passes)]
    # Copies stand next to each other, so that sentences sorted by length stay sorted (LSTMs want that).
    copies = {name: _repeat(value, num_passes) for name, value in net_input.items()}
    return [(model(**copies), num_passes)]


def draws_per_forward(model):
    """Whether any module draws its randomness once per forward rather than for every row."""
    return any(
        (isinstance(module, LayerDropModuleList) and module.p > 0)
        or _has_quant_noise(module)
        or _drops_shared_weights(module)
        for module in model.modules()
    )


def draws_at_all(model):
    """Whether any module drops anything in training: without, all passes are the same."""
    return draws_per_forward(model) or any(_dropout(module) > 0 for module in model.modules())


def _dropout(module):
    # fairseq's own dropout modules and torch's call the probability p; recurrent layers call it dropout, and
    # fairseq's LSTM keeps dropout_in_module and the like, which are modules themselves.
    for name in ("p", "dropout"):
        value = getattr(module, name, 0)
        if isinstance(value, float):
            return value
    return 0


def _has_quant_noise(module):
    # --quant-noise-scalar puts modules of its own in the place of torch's.
    if isinstance(module, IntLinear | IntEmbedding | IntConv2d):
        return module.p > 0
    # fairseq/modules/quant_noise.py hangs its noise on the module as a forward pre-hook.
    hooks = module._forward_pre_hooks.values()
    return any("quant_noise" in getattr(hook, "__qualname__", "") for hook in hooks)


def _drops_shared_weights(module):
    # LightConv has one kernel for all rows, and drops parts of it; DynamicConv makes a kernel for every position.
    dropout = getattr(module, "weight_dropout_module", None)
    return dropout is not None and dropout.p > 0 and isinstance(getattr(module, "weight", None), torch.nn.Parameter)


def _repeat(value, num_passes):
    if torch.is_tensor(value):
        return value.repeat_interleave(num_passes, dim=0)
    return value
