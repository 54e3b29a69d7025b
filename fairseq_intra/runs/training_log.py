"""What fairseq-train logged with --log-format simple, as scripts/train.sh keeps it in RUN/train.log."""

import re
from datetime import datetime
from typing import NamedTuple

_LINE = re.compile(r"^(\S+ \S+) \| INFO \| (train_inner|valid) \| (.*\bnum_updates\b.*)$", re.MULTILINE)
_NUMBER = re.compile(r"(\w+)[= ]([-+]?(?:[\d.]+(?:e[-+]?\d+)?|nan|inf))(?=,| \||$)")
_SWITCH = re.compile(r"^(\S+ \S+) \| .*intra-distillation begins after (\d+) updates", re.MULTILINE)
_BEGIN = re.compile(r"^(\S+ \S+) \| .*begin training epoch", re.MULTILINE)


class TrainingLog(NamedTuple):
    """Lines of a log in the order of their updates, each as numbers by the name that fairseq gives them.

    "time" is added to every line: seconds since the first epoch began (it is 0 where the log lacks that line).
    """

    train: list[dict[str, float]]  #: one line every --log-interval updates
    valid: list[dict[str, float]]  #: one line a validation
    #: The number of updates, and the time, after which intra-distillation began late; None where it did not.
    switch: dict[str, float] | None = None


def parse_log(text: str) -> TrainingLog:
    """Reads a log. Of updates that a resumed run did again, only the last time counts."""
    begin = _BEGIN.search(text)
    start = datetime.fromisoformat(begin[1]) if begin else None

    def seconds(moment):
        return (datetime.fromisoformat(moment) - start).total_seconds() if start else 0.0

    switches = [{"num_updates": int(updates), "time": seconds(moment)} for moment, updates in _SWITCH.findall(text)]
    log = TrainingLog([], [], switches[-1] if switches else None)
    for moment, kind, rest in _LINE.findall(text):
        entry = {name: float(value) for name, value in _NUMBER.findall(rest)}
        entry["time"] = seconds(moment)
        _drop_from(log.valid, entry["num_updates"])
        # A validation comes behind the line of its own update.
        _drop_from(log.train, entry["num_updates"] + (kind == "valid"))
        (log.valid if kind == "valid" else log.train).append(entry)
    return log


def _drop_from(entries, update):
    while entries and entries[-1]["num_updates"] >= update:
        entries.pop()
