"""How one mini-batch goes through the model K times, each time with other parts dropped.

Three ways, of the same result: `batched` is one forward over K copies of the mini-batch, `sequential` K forwards,
and `recompute` K forwards that keep nothing for backward, which runs each a second time: a third more work, the
memory of one pass.
"""

import contextlib

import torch
from fairseq.modules import LayerDropModuleList
from fairseq.modules.quantization.scalar.modules import IntConv2d, IntEmbedding, IntLinear
from torch.utils.checkpoint import checkpoint

from .errors import UsageError

PASSES = ("auto", "batched", "sequential", "recompute")


def choose_passes(model, passes, encoder_once=False):
    """Which of the ways `--passes auto` is for this model; another is returned as it is.

    The K copies of a batch differ because dropout draws a mask for every row. Where a model draws once for a
    whole forward (LayerDrop, quantisation noise, LightConv's dropped weights), all copies would lose the same:
    such a model runs K times.

    Raises:
        UsageError: if the model cannot be trained in the way asked for.
    """
    if encoder_once and getattr(unwrapped(model), "encoder", None) is None:
        raise UsageError("--encoder-once needs a model with an encoder; leave that flag out")
    if encoder_once and passes not in ("auto", "batched"):
        raise UsageError(f"--encoder-once works with --passes batched, not {passes}")
    drawing = repeated_part(model, encoder_once)
    if passes == "recompute" and any(map(_has_quant_noise, drawing.modules())):
        raise UsageError(
            "--passes recompute cannot repeat a pass with quantisation noise, which changes the weights; "
            "use sequential"
        )
    if not draws_per_forward(drawing):
        return "batched" if passes == "auto" else passes
    if passes == "batched" or encoder_once:
        flag, instead = "--passes batched", "use --passes sequential"
        if encoder_once:
            flag, instead = "--encoder-once", "leave that flag out"
        raise UsageError(
            f"{flag} would drop the same in all passes of this model, which draws once a forward (LayerDrop, "
            f"quantisation noise or LightConv's weight dropout); {instead}"
        )
    return "sequential" if passes == "auto" else passes


def run_passes(model, net_input, num_passes, passes="batched", encoder_once=False):
    """K stochastic passes over one mini-batch.

    The model is only ever called itself, never through its parts: the hooks that synchronise gradients between
    workers sit on its forward.

    Args:
        model: a fairseq model, or one wrapped for distributed training.
        net_input: its keyword arguments; tensors have the B sentences as their first dimension.
        num_passes: K.
        passes: what `choose_passes` returned.
        encoder_once: one pass through the encoder serves all K of the decoder, which is beyond the paper, or of a
            head, which is the same where the encoder drops nothing.

    Returns:
        A list of (net_output, copies): net_output as the model returns it, holding `copies` rows for each
        sentence, the rows of one sentence next to each other. The copies add up to K.
    """
    if passes == "sequential":
        return [(model(**net_input), 1) for _ in range(num_passes)]
    if passes == "recompute":
        with _recomputed_in_backward(unwrapped(model)):
            return [(model(**net_input), 1) for _ in range(num_passes)]
    # Copies stand next to each other, so that sentences sorted by length stay sorted (LSTMs want that).
    if encoder_once:
        after = {"prev_output_tokens"} & net_input.keys()
        copies = net_input | {name: _repeat(net_input[name], num_passes) for name in after}
        with _encoder_output_repeated(unwrapped(model), num_passes):
            return [(model(**copies), num_passes)]
    copies = {name: _repeat(value, num_passes) for name, value in net_input.items()}
    return [(model(**copies), num_passes)]


def repeated_part(model, encoder_once):
    """What goes through K passes, in which something has to be dropped: the model, or what follows its encoder."""
    if not encoder_once:
        return model
    return torch.nn.ModuleList(part for name, part in unwrapped(model).named_children() if name != "encoder")


def unwrapped(model):
    """The model itself, without what distributed training wraps it in."""
    while isinstance(getattr(model, "module", None), torch.nn.Module):
        model = model.module
    return model


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


@contextlib.contextmanager
def _recomputed_in_backward(inner):
    """Inside, calls keep of what they compute only the result, and the random state to compute the rest again.

    The inner model is changed, not the wrapped one: the second time must not set off what the wrapper does in
    forward for distributed training.
    """
    forward = inner.forward

    def checkpointed(**net_input):
        def run(*values):
            return forward(**dict(zip(net_input, values, strict=True)))

        # By position, because checkpoint looks there alone for the devices whose random state it has to keep.
        return checkpoint(run, *net_input.values(), use_reentrant=False)

    inner.forward = checkpointed
    try:
        yield
    finally:
        del inner.forward


@contextlib.contextmanager
def _encoder_output_repeated(model, num_passes):
    def repeat(encoder, args, kwargs, output):
        if getattr(model, "decoder", None) is None:
            features, *more = output
            return _repeat(features, num_passes), *more
        tokens = args[0] if args else kwargs["src_tokens"]
        rows = torch.arange(len(tokens), device=tokens.device).repeat_interleave(num_passes)
        return encoder.reorder_encoder_out(output, rows)

    handle = model.encoder.register_forward_hook(repeat, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
