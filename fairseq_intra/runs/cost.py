"""What a training costs on a CPU, before it begins."""

import contextlib
import functools
import importlib
import io
import math
import time
from pathlib import Path

from .arguments import flag_value, flag_values

#: Seconds for which products of matrices are timed.
TIMED = 0.3
#: Forward, and twice as much backward; a product and a sum for each parameter and token.
FLOPS = 2 * 3


def cpu_seconds(arguments: list[str], data: Path, updates: int | None, done: int = 0) -> float | None:
    """At least how many seconds the updates of a Transformer take here; None where that is not known.

    Only products of matrices are counted, at the speed that torch has in them.

    Args:
        arguments: of fairseq-train.
        data: its folder of binarised text.
        updates: their number.
        done: so many of them have been made.
    """
    dictionaries = sorted(data.glob("dict.*.txt"))
    if not updates or not dictionaries:
        return None
    parameters = _parameters(arguments, sum(1 for _ in dictionaries[-1].open(encoding="utf-8")))
    if parameters is None:
        return None
    tokens = math.prod(int(flag_values(arguments)[flag]) for flag in ("--max-tokens", "--update-freq"))
    passes = _passes(arguments, updates) - _passes(arguments, done)
    return passes * tokens * parameters * FLOPS / _flops_a_second()


def _passes(arguments, updates):
    """Of all updates, at least: a late start makes one a step until it switches, or until nobody knows when.

    Of those after it, one in `--distill-interval` makes K, over one in `--distill-part` sentences.
    """
    patient = int(flag_value(arguments, "--plain-patience") or 0)
    plain = updates if patient else min(updates, int(flag_value(arguments, "--plain-updates") or 0))
    distilled = (updates - plain) // max(1, int(flag_value(arguments, "--distill-interval") or 1))
    passes = int(flag_value(arguments, "--num-iter") or 1) / max(1, int(flag_value(arguments, "--distill-part") or 1))
    return updates - distilled + distilled * passes


def _parameters(arguments, types):
    """The parameters that every token is multiplied with, by fairseq's own reading of the flags."""
    from fairseq import options

    # The flags of its task and criterion.
    importlib.import_module("fairseq_intra.plugin")
    # What is wrong with a flag is fairseq-train's to say.
    with contextlib.suppress(SystemExit, Exception), contextlib.redirect_stderr(io.StringIO()):
        args = options.parse_args_and_arch(options.get_training_parser(), arguments)
        layers = [
            getattr(args, f"{side}_layers")
            * (attentions * 4 * width**2 + 2 * width * getattr(args, f"{side}_ffn_embed_dim"))
            for side, attentions in (("encoder", 1), ("decoder", 2))
            for width in [getattr(args, f"{side}_embed_dim")]
        ]
        return sum(layers) + types * args.decoder_embed_dim
    return None


@functools.cache
def _flops_a_second():
    import torch

    left, right = torch.ones(2048, 512), torch.ones(512, 1024)
    left @ right  # the first takes longer
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + TIMED:
        left @ right
        count += 1
    return 2 * 2048 * 512 * 1024 * count / (time.perf_counter() - began)
