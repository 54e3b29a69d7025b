"""Reading and averaging fairseq checkpoints, through the same safe loading as fairseq's own commands."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq import checkpoint_utils

from .errors import UsageError


class Training(NamedTuple):
    """How the model in a checkpoint was trained."""

    method: str  #: "intra" or "plain"
    seed: int
    num_updates: int


def load(path: Path) -> dict:
    """A checkpoint's content, on the CPU.

    Raises:
        UsageError: if there is no such file, or it is not a checkpoint that loads safely.
    """
    if not path.is_file():
        raise UsageError(f"no checkpoint {path}")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    if "model" not in state:
        raise UsageError(f"{path} holds no model: not a fairseq checkpoint")
    return state


def training(state: dict) -> Training:
    """Reads from a checkpoint's configuration which method made it."""
    cfg = state["cfg"]
    names = (cfg.task._name, cfg.criterion._name)
    intra = "translation_intra_distillation" in names or "intra_distillation" in names
    history = state.get("optimizer_history") or [{}]
    return Training("intra" if intra else "plain", cfg.common.seed, history[-1].get("num_updates", 0))


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """The last `count` numbered checkpoints of a run, oldest first.

    Those of epochs (checkpoint7.pt), or where there are none those of updates (checkpoint_2_500.pt).

    Raises:
        UsageError: if the folder holds fewer.
    """
    found = []
    for pattern in (r"checkpoint(\d+)\.pt", r"checkpoint_\d+_(\d+)\.pt"):
        matches = [(re.fullmatch(pattern, path.name), path) for path in folder.glob("checkpoint*.pt")]
        found = sorted((int(match.group(1)), path) for match, path in matches if match)
        if found:
            break
    if len(found) < count:
        raise UsageError(
            f"{folder} holds {len(found)} numbered checkpoints, not the {count} to average; "
            "train with --keep-last-epochs (and without --no-epoch-checkpoints)"
        )
    return [path for _, path in found[-count:]]


def average(inputs: list[Path], output: Path) -> None:
    """Writes a checkpoint whose floating-point parameters are the means of those of `inputs`.

    All else (configuration, buffers of integers) is the last input's; the optimizer's state is left out. The
    means are taken in float64, whatever the parameters are stored in.

    Raises:
        UsageError: if an input cannot be read, or two differ in the names or shapes of their parameters.
    """
    total: dict[str, torch.Tensor] = {}
    for path in inputs:
        state = load(path)
        model = state["model"]
        if total and _shapes(model) != _shapes(total):
            raise UsageError(f"{path} is a checkpoint of another model than {inputs[0]}")
        for name, value in model.items():
            if value.is_floating_point():
                value = value.double() + total.get(name, 0)
            total[name] = value
    state["model"] = {
        name: (value / len(inputs)).to(model[name].dtype) if value.is_floating_point() else value
        for name, value in total.items()
    }
    state["last_optimizer_state"] = None
    state["averaged_checkpoints"] = [path.name for path in inputs]
    partial = output.with_name(f".{output.name}.partial")
    torch.save(state, partial)
    os.replace(partial, output)


def _shapes(model):
    return {name: value.shape for name, value in model.items()}
