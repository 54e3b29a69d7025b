"""The methods by name, as commands, records of evaluations and tables have them."""

import argparse

#: What a table calls each method, in the order of its columns.
TITLES = {
    "plain": "plain",
    "rdrop": "R-Drop",
    "intra": "intra-distillation",
    "late": "late intra-distillation",
}
METHODS = tuple(TITLES)
#: What a method is made of, by the names that a configuration has.
FLAGS = (
    "num_iter",
    "alpha",
    "div",
    "encoder_once",
    "adaptive_alpha",
    "temperature_p",
    "temperature_q",
    "max_updates_train",
    "plain_updates",
    "plain_patience",
    "distill_interval",
    "distill_part",
)
#: How its loss is computed, which decides nothing.
COMPUTATION = ("passes", "id_loss", "split_batch")
#: R-Drop's criterion in later fairseq (fairseq/criterions/label_smoothed_cross_entropy_with_rdrop.py).
RDROP_OF_FAIRSEQ = "label_smoothed_cross_entropy_with_rdrop"
#: Runs of two methods differ in these; the last is of that criterion.
SETTINGS = (*FLAGS, "reg_alpha")


def method_of(cfg) -> str:
    """The method that a configuration trains with, told from what decides the loss, whatever the run was called.

    One pass is plain training; a late start is "late"; two passes over all of every update, with the X-divergence and
    a constant alpha, are R-Drop, whose loss that is up to a factor (see `loss.definitions`), as is fairseq's own
    criterion of it; all else is "intra".

    Args:
        cfg: of fairseq-train, with the sections task and criterion.
    """
    task, criterion = cfg["task"], cfg["criterion"]
    names = (setting(task, "_name"), setting(criterion, "_name"))
    if "self_distillation" in names:
        return "self-distillation"
    if RDROP_OF_FAIRSEQ in names:
        return "rdrop"
    if not any("intra_distillation" in name for name in names):
        return "plain"
    # The authors' command gives the method's flags to the task, and names fairseq's own criterion.
    flags = task if setting(criterion, "num_iter") is None else criterion
    if setting(flags, "num_iter") == 1:
        return "plain"
    if setting(task, "plain_updates") or setting(task, "plain_patience"):
        return "late"
    if any((setting(task, name) or 1) > 1 for name in ("distill_interval", "distill_part")):
        return "intra"
    grows = setting(task, "adaptive_alpha") == 1 and (setting(flags, "alpha") or 0) > 1
    of_two = setting(flags, "num_iter") == 2 and str(setting(flags, "div")) == "X"
    is_rdrop = of_two and not setting(flags, "encoder_once")
    return "rdrop" if is_rdrop and not grows else "intra"


def setting(section, name: str):
    """A value in a section of a configuration, None where it has none.

    Of a task or criterion without a dataclass, such as fairseq's translation_from_pretrained_bart, the section is an
    argparse.Namespace.
    """
    return getattr(section, name, None) if isinstance(section, argparse.Namespace) else section.get(name)


def is_before(switch: float | None, num_updates: float) -> bool:
    """Whether so many updates of a late start were all plain; None is a switch that has not come."""
    return switch is None or num_updates <= switch
