"""The methods by name, as commands, records of evaluations and tables have them."""

#: What a table calls each method, in the order of its columns.
TITLES = {
    "plain": "plain",
    "rdrop": "R-Drop",
    "intra": "intra-distillation",
    "late": "late intra-distillation",
}
METHODS = tuple(TITLES)


def method_of(cfg) -> str:
    """The method that a configuration trains with, told from what decides the loss, whatever the run was called.

    One pass is plain training; a late start is "late"; two passes over all of every update, with the X-divergence and
    a constant alpha, are R-Drop, whose loss that is up to a factor (see `loss.definitions`); all else is "intra".

    Args:
        cfg: of fairseq-train, with the sections task and criterion.
    """
    names = (cfg["task"]["_name"], cfg["criterion"]["_name"])
    if "self_distillation" in names:
        return "self-distillation"
    if not any("intra_distillation" in name for name in names):
        return "plain"
    # The authors' command gives the method's flags to the task, and names fairseq's own criterion.
    flags = cfg["criterion"] if "num_iter" in cfg["criterion"] else cfg["task"]
    if flags.get("num_iter") == 1:
        return "plain"
    if cfg["task"].get("plain_updates") or cfg["task"].get("plain_patience"):
        return "late"
    if any((cfg["task"].get(name) or 1) > 1 for name in ("distill_interval", "distill_part")):
        return "intra"
    grows = cfg["task"].get("adaptive_alpha") == 1 and (flags.get("alpha") or 0) > 1
    is_rdrop = flags.get("num_iter") == 2 and str(flags.get("div")) == "X" and not flags.get("encoder_once")
    return "rdrop" if is_rdrop and not grows else "intra"


def is_before(switch: int | None, num_updates: int) -> bool:
    """Whether so many updates of a late start were all plain; None is a switch that has not come."""
    return switch is None or num_updates <= switch
