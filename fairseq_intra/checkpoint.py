"""Reading, building and averaging fairseq checkpoints, through the same safe loading as fairseq's own commands."""

import hashlib
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq import checkpoint_utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from omegaconf import DictConfig

from .console import say
from .errors import UsageError, reason
from .files import replacing
from .methods import is_before, method_of
from .patches.dictionary_checksum import stored_in
from .write_errors import write_failure_reported


class Training(NamedTuple):
    """How the model in a checkpoint was trained."""

    method: str  #: see `methods.method_of`
    seed: int
    num_updates: int
    before_switch: bool = False  #: whether it is a late start of which all updates were plain


class Built(NamedTuple):
    """The model of a checkpoint, and what it works with."""

    model: BaseFairseqModel  #: in evaluation mode, float32, on the CPU
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
    if path.is_dir():
        raise UsageError(f"checkpoint {path} is a folder; give a checkpoint in it")
    if not path.is_file():
        raise UsageError(f"no checkpoint {path}")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path), overrides)
    if "model" not in state:
        raise UsageError(f"{path} holds no model: not a fairseq checkpoint")
    if state.get("cfg") is None:
        raise UsageError(f"{path} holds no configuration: not a checkpoint that fairseq-train wrote")
    return state


def training(state: dict) -> Training:
    """Reads from a checkpoint's configuration which method made it."""
    cfg = state["cfg"]
    history = state.get("optimizer_history") or [{}]
    method, num_updates = method_of(cfg), history[-1].get("num_updates", 0)
    return Training(method, cfg.common.seed, num_updates, method == "late" and is_before(_switch(state), num_updates))


def _switch(state):
    """The update of a late start's switch, None where it has not come."""
    task = state["cfg"].task
    kept = ((state.get("extra_state") or {}).get("task_state") or {}).get("late_start", {})
    return kept.get("switch_update") if task.plain_patience else task.plain_updates


def run_name(state: dict) -> str | None:
    """What the folder of the training was called that made a checkpoint, as far as its configuration tells."""
    folder = Path(state["cfg"].checkpoint.save_dir)
    return (folder.parent if folder.name == "checkpoints" else folder).name or None


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
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save(state: dict, output: Path, with_optimizer: bool = False) -> None:
    """Writes a checkpoint; without the optimizer's state where that belongs to other parameters than it holds now."""
    with replacing(output) as partial, write_failure_reported(output), partial.open("wb") as file:
        torch.save(state if with_optimizer else state | {"last_optimizer_state": None}, file)


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """The last `count` numbered checkpoints of a run, oldest first.

    Those of epochs (checkpoint7.pt), or where there are too few those of updates (checkpoint_2_500.pt). Where an
    update ends an epoch, fairseq writes none of these: there checkpoint_last.pt is the newest.

    Raises:
        UsageError: if the folder holds fewer.
    """
    epochs = _numbered(folder, r"checkpoint(\d+)\.pt")
    if len(epochs) >= count:
        return epochs[-count:]
    updates = _with_the_last(folder, _numbered(folder, r"checkpoint_\d+_(\d+)\.pt"))
    if len(updates) >= count:
        return updates[-count:]
    keep = "--keep-last-epochs" if epochs else "--keep-interval-updates"
    more = "" if epochs or updates else "--save-interval-updates U and "
    raise UsageError(
        f"{folder} holds {max(len(epochs), len(updates))} numbered checkpoints, not the {count} to average; "
        f"train with {more}{keep} {count}"
    )


def _numbered(folder, pattern):
    """The checkpoints whose names match, in the order of their number."""
    matches = [(re.fullmatch(pattern, path.name), path) for path in folder.glob("checkpoint*.pt")]
    return [path for _, path in sorted((int(match.group(1)), path) for match, path in matches if match)]


def _with_the_last(folder, numbered):
    """The checkpoints of updates and, if it is one of them under another name, checkpoint_last.pt."""
    last = folder / "checkpoint_last.pt"
    if not numbered or not last.is_file():
        return numbered
    newest = int(numbered[-1].stem.split("_")[-1])
    state = load(last)
    update, interval = training(state).num_updates, state["cfg"].checkpoint.save_interval_updates
    if update <= newest:
        return numbered
    if interval and update % interval == 0:
        return [*numbered, last]
    say(f"{last} (update {update}) is left out: --save-interval-updates is {interval}")
    return numbered


def average(inputs: list[Path], output: Path) -> None:
    """Writes a checkpoint whose floating-point parameters are the means of those of `inputs`.

    All else (configuration, buffers of integers) is the last input's; the optimizer's state is left out. The
    means are taken in float64, whatever the parameters are stored in.

    Raises:
        UsageError: if an input cannot be read, or two differ in the names or shapes of their parameters, in their
            languages or dictionaries, or in the method, seed or (from one folder to another) name of their training,
            or one is given twice.
    """
    if len({path.resolve() for path in inputs}) < len(inputs):
        resolved = [path.resolve() for path in inputs]
        raise UsageError(f"{max(resolved, key=resolved.count)} is given more than once")
    total: dict[str, torch.Tensor] = {}
    known = first = None
    before_switch = 0
    for path in inputs:
        state = load(path)
        model = state["model"]
        if total and _shapes(model) != _shapes(total):
            raise UsageError(f"{path} is a checkpoint of another model than {inputs[0]}")
        if known and (stored_in(state) or known) != known:
            raise UsageError(f"{path} has other languages or dictionaries than {inputs[0]}")
        known = known or stored_in(state)
        origin = training(state), run_name(state)
        first = first or origin
        _need_one_training(path, origin, inputs[0], first)
        before_switch += origin[0].before_switch
        for name, value in model.items():
            if value.is_floating_point():
                value = value.double() + total.get(name, 0)
            total[name] = value
    state["model"] = {
        name: (value / len(inputs)).to(model[name].dtype) if value.is_floating_point() else value
        for name, value in total.items()
    }
    state["averaged_checkpoints"] = [path.name for path in inputs]
    if 0 < before_switch < len(inputs):
        say(f"{before_switch} of the {len(inputs)} checkpoints averaged are from before intra-distillation began")
    save(state, output)


def _need_one_training(path, origin, other, of_other):
    """An origin is a training and the name of its run, which counts between folders alone: a run may be moved."""
    (made_by, run), (other_made_by, other_run) = origin, of_other
    if made_by[:2] != other_made_by[:2]:
        raise UsageError(f"{path} is of a training ({_who(made_by)}) other than {other} ({_who(other_made_by)})")
    if path.parent != other.parent and None not in (run, other_run) and run != other_run:
        raise UsageError(f"{path} is of the training {run}, {other} of {other_run}: average those of one training")


def _who(made_by):
    return f"{made_by.method}, seed {made_by.seed}"


def _shapes(model):
    return {name: value.shape for name, value in model.items()}
