"""Checkpoints load without running code: by an allow-list of the data types that fairseq writes.

torch >= 2.6 loads with weights_only=True unless a caller or the environment says otherwise, and fairseq says nothing.
What the strings of a checkpoint may do is in `literals`.
"""

import argparse
import builtins
import collections
import functools
import importlib
import pickle
import re
import typing

import numpy as np
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.logging import meters

from ..errors import UsageError, reason
from .compat import drop_fast_path_weights


def apply():
    """Puts the patches into torch and fairseq."""
    allowed = [argparse.Namespace, *_numpy_globals(), *_omegaconf_globals(), *_fairseq_globals()]
    torch.serialization.add_safe_globals(allowed)
    _load_safely_whatever_the_environment_says()
    _report_rejected_globals()


def _fairseq_globals():
    """Meters, which fairseq up to 0.9 kept (under their name of then), and dictionaries, of some tasks' state."""
    kept = [meters.AverageMeter, meters.TimeMeter, meters.StopwatchMeter]
    return [*kept, *((meter, f"fairseq.meters.{meter.__name__}") for meter in kept), Dictionary]


def _load_safely_whatever_the_environment_says():
    """TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 would switch protection off wherever a caller of torch.load leaves it open.

    That is everywhere in fairseq: checkpoints, vocoders, quantisers, what a worker broadcasts to the others.
    """
    torch_load = torch.load

    @functools.wraps(torch_load)
    def load(f, map_location=None, pickle_module=None, *, weights_only=None, **kwargs):
        if weights_only is None and pickle_module is None:
            weights_only = True
        return torch_load(f, map_location, pickle_module, weights_only=weights_only, **kwargs)

    torch.load = load


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


def _report_rejected_globals():
    """A checkpoint that holds anything else ends the command with a one-line error message that names it."""
    load = checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(load)
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        try:
            state = load(path, *args, **kwargs)
        except pickle.UnpicklingError as error:
            raise UsageError(f"checkpoint {path} is rejected: {_why_rejected(error)}") from None
        except Exception as error:  # torch raises whatever the bytes of a file that is no checkpoint lead to
            raise UsageError(f"checkpoint {path} cannot be read: {type(error).__name__}: {reason(error)}") from None
        drop_fast_path_weights(state)
        return state

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu


def _why_rejected(error):
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found:
        return (
            f"it holds {found.group(1)}, which is none of the types that are allowed, and which may run code; "
            "load it only if you trust whoever made it, and save its weights afresh"
        )
    # torch's advice around it is to load it without protection.
    _, _, what = str(error).rpartition("WeightsUnpickler error:")
    return f"it is not a checkpoint ({reason(type(error)(what))})"
