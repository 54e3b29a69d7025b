"""Fixes what stops fairseq on current versions of torch and numpy."""

import functools
import inspect
import re
import types

import numpy as np
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase


def apply():
    """Puts the patches into fairseq's modules."""
    _leave_fast_path_off()
    _keep_numpys_old_name()
    _keep_numpys_old_argument()


def _keep_numpys_old_argument():
    """fairseq's --num-batch-buckets gives numpy's percentile an argument that numpy 2.4 calls `method` alone."""
    percentile = np.percentile
    if "interpolation" in inspect.signature(percentile).parameters:
        return

    @functools.wraps(percentile)
    def with_old_argument(*args, interpolation=None, **kwargs):
        return percentile(*args, **kwargs | ({"method": interpolation} if interpolation else {}))

    np.percentile = with_old_argument


def _keep_numpys_old_name():
    """fairseq's language_modeling and masked_lm call Python's int by a name that numpy 2 does not have."""
    if not hasattr(np, "compat"):
        np.compat = types.SimpleNamespace(long=int)  # type: ignore[attr-defined]


def drop_fast_path_weights(state):
    """Removes the second copy of an encoder layer's weights that fairseq 0.12.2 writes and newer code rejects."""
    if _has_fast_path():
        return
    copies = re.compile(r"(^|\.)encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$")
    for name in [name for name in state.get("model") or {} if copies.search(name)]:
        del state["model"][name]


def _leave_fast_path_off():
    """fairseq 0.12.2 hands its encoder layers to a fused torch function that current torch does not run."""
    if not _has_fast_path():
        return
    init = TransformerEncoderLayerBase.__init__

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.can_use_fastpath = False

    TransformerEncoderLayerBase.__init__ = __init__


@functools.cache
def _has_fast_path():
    return "load_to_BT" in inspect.getsource(TransformerEncoderLayerBase)
