"""K stochastic passes of one mini-batch through the model, each with other dropout masks.

Three modes with the same result: `batched` is one forward over K copies of the mini-batch, `sequential` K forwards,
and `recompute` K forwards that keep nothing for backward, which runs each a second time: a third more work, the
memory of one pass.
"""

import contextlib
import functools

import torch
from fairseq.modules import LayerDropModuleList
from fairseq.modules.quantization.scalar.modules import IntConv2d, IntEmbedding, IntLinear
from torch.utils.checkpoint import checkpoint

from .errors import UsageError

#: Of `--passes`.
MODES = ("auto", "batched", "sequential", "recompute")


def choose_mode(model, mode, encoder_once=False):
    """The mode that `--passes auto` stands for with this model; another is returned as it is.

    The K copies of a mini-batch differ because dropout samples a mask per example. Where a model samples noise per
    forward (LayerDrop, quantisation noise, LightConv's weight dropout), all copies would have identical masks:
    such a model runs K times.

    Raises:
        UsageError: if the model cannot be trained in the mode asked for.
    """
    if encoder_once and getattr(unwrapped(model), "encoder", None) is None:
        raise UsageError("--encoder-once needs a model with an encoder; leave that flag out")
    if encoder_once and mode not in ("auto", "batched"):
        raise UsageError(f"--encoder-once works with --passes batched, not {mode}")
    stochastic = repeated_part(model, encoder_once)
    if mode == "recompute" and any(map(_has_quant_noise, stochastic.modules())):
        raise UsageError(
            "--passes recompute cannot repeat a pass with quantisation noise, which changes the weights; "
            "use sequential"
        )
    if mode == "recompute" and any(map(_samples_by_numpy, stochastic.modules())):
        raise UsageError(
            "--passes recompute cannot repeat a pass of a model that samples masks or layers to drop by numpy, as "
            "fairseq's models of speech do; use sequential"
        )
    if not has_noise_per_forward(stochastic):
        return "batched" if mode == "auto" else mode
    if mode == "batched" or encoder_once:
        flag, instead = "--passes batched", "use --passes sequential"
        if encoder_once:
            flag, instead = "--encoder-once", "leave that flag out"
        raise UsageError(
            f"{flag} would use identical dropout masks in all passes of this model, which samples noise per forward "
            f"(LayerDrop, quantisation noise or LightConv's weight dropout); {instead}"
        )
    return "sequential" if mode == "auto" else mode


def reject_noise_that_stays(model):
    """Raises UsageError where a pass would run with the noise of those before it.

    --quant-noise-pq overwrites the weights in every forward (fairseq/modules/quant_noise.py).
    """
    if any(map(_overwrites_weights, model.modules())):
        raise UsageError(
            "--quant-noise-pq adds its noise to the weights themselves: K passes would not be samples of one model; "
            "leave that flag out, or train with --num-iter 1"
        )


def reject_what_workers_cannot_exchange(model, mode):
    """Raises UsageError where torch's DistributedDataParallel would exchange other gradients than the passes have.

    It sends a gradient when it is first computed. A worker may drop a layer in all of its passes while another uses
    it, and they would stop; with --find-unused-parameters, what the last pass drops counts as done, though others
    used it. fairseq's --checkpoint-activations computes the gradients of every forward by itself.
    """
    if not any(isinstance(module, torch.nn.parallel.DistributedDataParallel) for module in model.modules()):
        return
    if any(map(drops_layers, model.modules())):
        raise UsageError(
            "several workers cannot train a model with LayerDrop by torch's DistributedDataParallel; use "
            "--ddp-backend legacy_ddp"
        )
    if mode != "batched" and any(map(_is_checkpointed, model.modules())):
        raise UsageError(
            f"several workers cannot train a model with --checkpoint-activations and --passes {mode} by torch's "
            "DistributedDataParallel; use --passes batched where the model allows it, or --ddp-backend legacy_ddp"
        )


def run_passes(model, net_input, num_passes, mode="batched", encoder_once=False):
    """The outputs of K stochastic passes over one mini-batch.

    The model is only called through its forward, never through its parts: the hooks that synchronise gradients
    between workers sit there.

    Args:
        model: a fairseq model, or one wrapped for distributed training.
        net_input: its keyword arguments; tensors have the B examples as their first dimension.
        num_passes: K.
        mode: what `choose_mode` returned.
        encoder_once: one pass through the encoder serves all K of the decoder, which is beyond the paper, or of a
            head, which is the same where the encoder has no dropout.

    Returns:
        A list of [k, B, ...], what the model returns first; the k add up to K. Views of what the model returned:
        one of K passes (batched), or K of one pass each.
    """
    if mode == "sequential":
        return [model(**net_input)[0].unsqueeze(0) for _ in range(num_passes)]
    if mode == "recompute":
        with _recomputed_in_backward(unwrapped(model)):
            return [model(**net_input)[0].unsqueeze(0) for _ in range(num_passes)]
    repeated = {"prev_output_tokens"} & net_input.keys() if encoder_once else net_input.keys()
    # Interleaved, so that sentences sorted by length stay sorted (LSTMs want that).
    copies = net_input | {name: _repeat(net_input[name], num_passes) for name in repeated}
    with _encoder_output_repeated(unwrapped(model), num_passes) if encoder_once else contextlib.nullcontext():
        output = model(**copies)[0]
    return [output.unflatten(0, (-1, num_passes)).transpose(0, 1)]


def joined_passes(outputs):
    """The outputs of all passes, [K, ...], from a list of [k, ...]."""
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


def repeated_part(model, encoder_once):
    """What goes through K passes, and has to have dropout: the model, or what follows its encoder."""
    if not encoder_once:
        return model
    return torch.nn.ModuleList(part for name, part in unwrapped(model).named_children() if name != "encoder")


def unwrapped(model):
    """The model itself, without what distributed training wraps it in."""
    while isinstance(getattr(model, "module", None), torch.nn.Module):
        model = model.module
    return model


def has_noise_per_forward(model):
    """Whether any module samples its noise per forward rather than per example."""
    return any(
        drops_layers(module) or _has_quant_noise(module) or _drops_shared_weights(module)
        for module in model.modules()
    )


def has_dropout(model):
    """Whether any module is stochastic in training: without, all passes are identical."""
    return has_noise_per_forward(model) or any(_dropout(module) > 0 for module in model.modules())


def is_deterministic_encoder(model):
    """Whether K passes through the encoder give the same, and only a head follows: the encoder may run once."""
    encoder = getattr(model, "encoder", None)
    if encoder is None or getattr(model, "decoder", None) is not None:
        return False
    return not has_dropout(encoder) and not has_noise_per_forward(repeated_part(model, encoder_once=True))


def _dropout(module):
    # fairseq's own dropout modules and torch's call the probability p; recurrent layers call it dropout, and
    # fairseq's LSTM keeps dropout_in_module and the like, which are modules themselves.
    for name in ("p", "dropout"):
        value = getattr(module, name, 0)
        if isinstance(value, float):
            return value
    return 0


def drops_layers(module) -> bool:
    """Whether a module has LayerDrop."""
    return isinstance(module, LayerDropModuleList) and module.p > 0 or _drops_layers_by_numpy(module)


def _drops_layers_by_numpy(module):
    # fairseq/models/wav2vec/wav2vec2.py and others have an ordinary list of layers, and the rate under this name.
    rate = getattr(module, "layerdrop", 0)
    by_torch = isinstance(getattr(module, "layers", None), LayerDropModuleList)
    return isinstance(rate, float) and rate > 0 and not by_torch


def _samples_by_numpy(module):
    masks = (getattr(module, name, 0) for name in ("mask_prob", "mask_channel_prob"))
    return _drops_layers_by_numpy(module) or any(isinstance(rate, float) and rate > 0 for rate in masks)


def _has_quant_noise(module):
    # --quant-noise-scalar puts modules of its own in the place of torch's.
    if isinstance(module, IntLinear | IntEmbedding | IntConv2d):
        return module.p > 0
    return _overwrites_weights(module)


def _overwrites_weights(module):
    # fairseq/modules/quant_noise.py hangs its noise on the module as a forward pre-hook.
    hooks = module._forward_pre_hooks.values()
    return any("quant_noise" in getattr(hook, "__qualname__", "") for hook in hooks)


def _is_checkpointed(module):
    # fairseq/modules/checkpoint_activations.py, reentrant: it runs a backward of its own within the backward.
    forward = module.forward
    return isinstance(forward, functools.partial) and forward.func.__name__ == "_checkpointed_forward"


def _drops_shared_weights(module):
    # LightConv has one kernel for all examples, and drops parts of it; DynamicConv computes one per position.
    dropout = getattr(module, "weight_dropout_module", None)
    return dropout is not None and dropout.p > 0 and isinstance(getattr(module, "weight", None), torch.nn.Parameter)


def _repeat(value, num_passes):
    if torch.is_tensor(value):
        return value.repeat_interleave(num_passes, dim=0)
    return value


@contextlib.contextmanager
def _recomputed_in_backward(inner):
    """Inside, a call keeps only its result, and the random state to recompute the rest.

    The inner model is changed, not the wrapped one: recomputing must not set off what the wrapper does in forward
    for distributed training.
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
