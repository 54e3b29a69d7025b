"""What decides a training besides data, batch, seed and limits, as the records of evaluations hold it."""

import argparse

from fairseq.models import ARCH_MODEL_NAME_REGISTRY
from omegaconf import DictConfig

from ..methods import COMPUTATION, RDROP_OF_FAIRSEQ, SETTINGS, method_of, setting

#: Without effect where alpha is constant.
ADAPTIVE = ("temperature_p", "temperature_q", "max_updates_train")
#: Criterions that are this one, with a method's divergence added.
BASE = "label_smoothed_cross_entropy"
BUILT_ON_IT = ("intra_distillation", RDROP_OF_FAIRSEQ)
#: No difference in what is trained: how the loss is computed, what is logged, and what other sections hold.
IGNORED = {
    *COMPUTATION,
    *("report_accuracy", "sentence_avg", "lr", "tpu", "fp16_adam_stats", "use_old_adam", "arch", "data"),
    *("no_seed_provided", "pad", "eos", "unk", "checkpoint_activations", "offload_activations"),
    "min_params_to_wrap",
}


def hyperparameters(cfg: DictConfig) -> dict[str, str]:
    """The architecture, optimizer, schedule and loss of a training, by the names that fairseq-train's flags have.

    What has no effect is left out: of plain training all settings of the method, of a constant alpha those of the
    adaptive one.

    Args:
        cfg: fairseq's configuration, of a checkpoint.
    """
    architecture, criterion = (setting(cfg[name], "_name") for name in ("model", "criterion"))
    found = {
        "architecture": ARCH_MODEL_NAME_REGISTRY.get(architecture, architecture),
        **_own(cfg, "model"),
        "criterion": BASE if criterion in BUILT_ON_IT else criterion,
        **_own(cfg, "criterion"),
        **{name: value for section in ("optimizer", "lr_scheduler") for name, value in _named(cfg, section)},
        **{name: cfg.optimization[name] for name in ("lr", "clip_norm", "sentence_avg")},
        "precision": _precision(cfg.common),
        "train_subset": cfg.dataset.train_subset,
        # They leave out longer sentences.
        **{name: setting(cfg["model"], name) for name in ("max_source_positions", "max_target_positions")},
        "finetune_from_model": cfg.checkpoint.finetune_from_model is not None,
        # Plain updates before a late start are some of its own.
        "continued": bool(setting(cfg.checkpoint, "continue_once")) and not _plain_updates(cfg),
    }
    of_others = {name: value for name, value in found.items() if name not in SETTINGS}
    return {name: _text(value) for name, value in (of_others | _of_the_method(cfg)).items()}


def _plain_updates(cfg):
    return int(_method_values(cfg).get("plain_updates") or 0)


def _method_values(cfg):
    """As for `method_of`, the task's flags count where the criterion has none."""
    return _values(cfg["task"]) | _values(cfg["criterion"])


def _own(cfg, section):
    """The values of a section; fairseq holds some, as of most models, among the values of all the others."""
    values = _values(cfg[section])
    if not isinstance(cfg[section], argparse.Namespace):
        return values
    sections = [cfg[name] for name in cfg]
    known = {*cfg, *(name for each in sections if isinstance(each, DictConfig) for name in _values(each))}
    return {name: value for name, value in values.items() if name not in known}


def _named(cfg, section):
    """The name of an optimizer or schedule, and its settings; those that repeat --max-update are limits."""
    yield section, setting(cfg[section], "_name")
    limit = cfg.optimization.max_update
    for name, value in _own(cfg, section).items():
        if not (name in ("max_update", "total_num_update") and value == limit):
            yield name, value


def _of_the_method(cfg):
    if method_of(cfg) == "plain":
        return {}
    values = _method_values(cfg)
    ineffective = () if values.get("adaptive_alpha") else ADAPTIVE
    return {name: values[name] for name in SETTINGS if name in values and name not in ineffective}


def _precision(common):
    kinds = {"bf16": ("bf16", "memory_efficient_bf16"), "fp16": ("fp16", "memory_efficient_fp16"), "amp": ("amp",)}
    return next((kind for kind, flags in kinds.items() if any(setting(common, flag) for flag in flags)), "fp32")


def _values(section):
    """The values of a section by name; of sections within it, their names are joined as in the flags."""
    if section is None:
        return {}
    items = vars(section) if isinstance(section, argparse.Namespace) else section
    found = {}
    for name, value in items.items():
        if isinstance(value, DictConfig):
            found |= {f"{name}_{inner}": each for inner, each in _values(value).items()}
        elif name not in IGNORED and not name.startswith("_"):
            found[name] = value
    return found


def _text(value):
    """One spelling, whether a value came from a flag, a preset or Hydra: of 0 and 0.0, (1, 2) and [1,2]."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.15g}"
    return str(value).replace(" ", "").translate(str.maketrans("()", "[]"))
