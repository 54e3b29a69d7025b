"""The one place that knows versions of fairseq, torch and numpy.

Everything here is found by feature, not by version number, and applied once, when the plugin is imported.
"""

import argparse
import builtins
import collections
import functools
import importlib
import importlib.util
import inspect
import pickle
import re
import sys
import types
import typing

import numpy as np
import torch

from .errors import UsageError, reason


def apply():
    """Mends what stops fairseq's commands on current versions of what they build on.

    Raises:
        UsageError: if fairseq is not installed.
    """
    if importlib.util.find_spec("fairseq") is None:
        raise UsageError(
            f"fairseq is not installed for Python {sys.version_info[0]}.{sys.version_info[1]} on {sys.platform}; "
            "fairseq_intra needs Python 3.11 or 3.12 on Linux x86-64 (ve-fairseq), or Python 3.10 (fairseq 0.12.2)"
        )
    _allow_what_fairseq_writes()
    _name_refused_globals()
    _keep_the_last_batch()
    _leave_fast_path_off()
    _keep_numpys_old_name()
    # They import fairseq, which the function above first looks for.
    from . import distribution, inputs, resuming, saving

    distribution.apply()
    inputs.apply()
    resuming.apply()
    saving.apply()


def _allow_what_fairseq_writes():
    """Adds what fairseq puts into checkpoints to what torch.load(weights_only=True) accepts.

    torch >= 2.6 loads with weights_only=True unless told otherwise, and fairseq does not tell it. Allowed are
    the data types below and nothing that can call other code.
    """
    torch.serialization.add_safe_globals([argparse.Namespace, *_numpy_globals(), *_omegaconf_globals()])


def _numpy_globals():
    """Arrays and scalars: BLEU counts of --eval-bleu, a best metric that is a numpy number."""
    core = importlib.import_module("numpy._core" if hasattr(np, "_core") else "numpy.core")
    allowed = [np.ndarray, np.dtype]
    allowed += sorted({type(np.dtype(kind)) for kind in ("int64", "int32", "float64", "float32")}, key=str)
    for name in ("_reconstruct", "scalar"):
        function = getattr(core.multiarray, name)
        # Checkpoints carry the name that the numpy which wrote them had: numpy 1 said numpy.core.
        allowed += [(function, f"{package}.multiarray.{name}") for package in ("numpy._core", "numpy.core")]
    return allowed


def _omegaconf_globals():
    """Configurations, and what the trainer broadcasts to the other workers when it resumes."""
    from fairseq.distributed.utils import _TensorPlaceholder
    from omegaconf import DictConfig, ListConfig, base, nodes

    return [
        DictConfig,
        ListConfig,
        base.ContainerMetadata,
        base.Metadata,
        nodes.AnyNode,
        _TensorPlaceholder,
        typing.Any,
        collections.defaultdict,
        builtins.dict,
        builtins.list,
        builtins.int,
    ]


def _name_refused_globals():
    """Lets a checkpoint that holds anything else end the command with a line that names it."""
    from fairseq import checkpoint_utils

    load = checkpoint_utils.load_checkpoint_to_cpu
    if hasattr(load, "__wrapped__"):
        return

    @functools.wraps(load)
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        try:
            state = load(path, *args, **kwargs)
        except pickle.UnpicklingError as error:
            raise UsageError(f"checkpoint {path} was refused: {_refusal(error)}") from None
        except Exception as error:  # torch raises whatever the bytes of a file that is no checkpoint lead to
            raise UsageError(f"checkpoint {path} cannot be read: {type(error).__name__}: {reason(error)}") from None
        _drop_fast_path_weights(state)
        return state

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu


def _refusal(error):
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found:
        return (
            f"it holds {found.group(1)}, which fairseq does not write and which may run code; "
            "load it only if you trust whoever made it, and save its weights afresh"
        )
    return f"it is not a checkpoint that loads without running code ({reason(error)})"


def _keep_the_last_batch():
    """fairseq's main branch leaves out the last mini-batch unless its size is a multiple of 8.

    Those are the longest sentences of a split: never trained on, validated on or translated
    (github.com/facebookresearch/fairseq/issues/5036).
    """
    from fairseq.data import data_utils

    batch_by_size = data_utils.batch_by_size
    if hasattr(batch_by_size, "__wrapped__"):
        return

    @functools.wraps(batch_by_size)
    def all_batches(indices, *args, fixed_shapes=None, **kwargs):
        if not isinstance(indices, np.ndarray):
            indices = np.fromiter(indices, dtype=np.int64)
        batches = batch_by_size(indices, *args, fixed_shapes=fixed_shapes, **kwargs)
        batched = sum(map(len, batches))
        if batched < len(indices) and fixed_shapes is None:
            batches.append(indices[batched:])
        return batches

    data_utils.batch_by_size = all_batches


def _keep_numpys_old_name():
    """fairseq's language_modeling and masked_lm call Python's int by a name that numpy 2 does not have."""
    if not hasattr(np, "compat"):
        np.compat = types.SimpleNamespace(long=int)


def _drop_fast_path_weights(state):
    """Removes the second copy of an encoder layer's weights that fairseq 0.12.2 writes and newer code refuses."""
    if _has_fast_path():
        return
    copies = re.compile(r"(^|\.)encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$")
    for name in [name for name in state.get("model") or {} if copies.search(name)]:
        del state["model"][name]


def _leave_fast_path_off():
    """fairseq 0.12.2 hands its encoder layers to a fused torch function that current torch refuses to run."""
    from fairseq.modules import transformer_layer

    if not _has_fast_path():
        return
    base = transformer_layer.TransformerEncoderLayerBase
    init = base.__init__

    @functools.wraps(init)
    def without_fast_path(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.can_use_fastpath = False

    base.__init__ = without_fast_path


def _has_fast_path():
    from fairseq.modules.transformer_layer import TransformerEncoderLayerBase

    return "load_to_BT" in inspect.getsource(TransformerEncoderLayerBase)
