"""The closed form over rows of logits, chunk by chunk, so that no temporary has the size of the logits."""


def fill_in(rows, logits, target, options, statistics, *, gradient=None):
    """Fills in the statistics; writes the gradient of the summed losses to `gradient`, which may be the logits."""
    for chunk in chunks(rows.CHUNK_NUMEL, logits, logits.size(-1)):
        ready = rows.forward(logits[:, chunk], target[chunk], options, statistics.of(chunk))
        if gradient is not None:
            rows.gradient(ready, target[chunk], options, statistics.of(chunk), None, gradient[:, chunk])


def make_gradient(rows, logits, target, options, statistics, grad_loss, out):
    """Writes the gradient to `out`, which may be the logits, from statistics that have been filled in."""
    for chunk in chunks(rows.CHUNK_NUMEL, logits, logits.size(-1)):
        ready = rows.again(logits[:, chunk], statistics.of(chunk), options)
        rows.gradient(ready, target[chunk], options, statistics.of(chunk), grad_loss, out[:, chunk])


def sums(ctx, statistics):
    """The three numbers of `IntraDistillationLoss`."""
    num_passes = len(statistics.nll)
    nll, divergence = statistics.nll.sum() / num_passes, statistics.expectation.sum() / num_passes
    ctx.mark_non_differentiable(nll, divergence)
    return statistics.smoothed.sum() / num_passes + ctx.options.alpha * divergence, nll, divergence


def chunks(numel, passes, vocab):
    """Slices of the N positions of [K, N, ...], whose logits hold no more numbers than are allowed on the device."""
    num_passes, num_positions, _ = passes.shape
    step = max(1, numel[passes.device.type] // (num_passes * vocab))
    return [slice(start, start + step) for start in range(0, num_positions, step)]
