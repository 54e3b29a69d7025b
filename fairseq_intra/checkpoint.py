"""Reading, building and averaging fairseq checkpoints, through the same safe loading as fairseq's own commands."""

import hashlib
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq import checkpoint_utils
from fairseq.tasks import FairseqTask
from omegaconf import DictConfig

from .errors import UsageError, reason
from .files import replacing


class Training(NamedTuple):
    """How the model in a checkpoint was trained."""

    method: str  #: "intra", "self-distillation" or "plain"
    seed: int
    num_updates: int


class Built(NamedTuple):
    """The model of a checkpoint, and what it works with."""

    model: torch.nn.Module  #: in evaluation mode, float32, on the CPU
    task: FairseqTask  #: set up afresh, on the data given
    cfg: DictConfig  #: the checkpoint's own but for the data
    training: Training
    fingerprint: str  #: of the parameters, see `fingerprint`


def load(path: Path, overrides: dict | None = None) -> dict:
    """A checkpoint's content, on the CPU; `overrides` replace values of its configuration, by name.

    Raises:
        UsageError: if there is no such file, or it is not a checkpoint that loads safely.
    """
    # A checkpoint names the task and criterion that trained it. At run time, as the plugin imports this module.
    importlib.import_module("fairseq_intra.plugin")
    if not path.is_file():
        raise UsageError(f"no checkpoint {path}")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path), overrides)
    if "model" not in state:
        raise UsageError(f"{path} holds no model: not a fairseq checkpoint")
    return state


def training(state: dict) -> Training:
    """Reads from a checkpoint's configuration which method made it."""
    cfg = state["cfg"]
    names = (cfg.task._name, cfg.criterion._name)
    method = "plain"
    if any("intra_distillation" in name for name in names):
        method = "intra"
    elif "self_distillation" in names:
        method = "self-distillation"
    history = state.get("optimizer_history") or [{}]
    return Training(method, cfg.common.seed, history[-1].get("num_updates", 0))


def build(path: Path, data: Path) -> Built:
    """The model in a checkpoint, with its task on the dictionaries of a folder that fairseq-preprocess made.

    Raises:
        UsageError: if the checkpoint cannot be read, or its model not be built on these dictionaries.
    """
    # The scores of --eval-bleu would want a generator, which nobody here asks for.
    state = load(path, {"data": str(data), "eval_bleu": False})
    digest = fingerprint(state["model"])
    if not [*data.glob("dict*.txt"), *data.glob("*/dict.txt")]:
        raise UsageError(f"{data} holds no dictionary (dict.*.txt): not data that fairseq-preprocess made")
    try:
        (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], state=state)
    except Exception as error:  # fairseq raises whatever the configuration and the dictionaries lead to
        raise UsageError(f"{path} cannot be built on {data}: {reason(error)}") from None
    return Built(model.float().eval(), task, cfg, training(state), digest)


def fingerprint(model: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the parameters in a checkpoint: names, shapes and numbers as they are stored."""
    digest = hashlib.sha256()
    for name in sorted(model):
        value = model[name]
        digest.update(f"{name} {list(value.shape)} {value.dtype}\n".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def save(state: dict, output: Path) -> None:
    """Writes a checkpoint without the optimizer's state, which belongs to other parameters than it holds now."""
    with replacing(output) as partial:
        torch.save(state | {"last_optimizer_state": None}, partial)


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
    state["averaged_checkpoints"] = [path.name for path in inputs]
    save(state, output)


def _shapes(model):
    return {name: value.shape for name, value in model.items()}
