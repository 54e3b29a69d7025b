"""What fairseq-train logged with --log-format simple, as scripts/train.sh keeps it in RUN/train.log."""

import re
from datetime import datetime, timedelta
from typing import NamedTuple

_LINE = re.compile(r"^(\S+ \S+) \| INFO \| (train_inner|valid) \| (.*\bnum_updates\b.*)$", re.MULTILINE)
_NUMBER = re.compile(r"(\w+)[= ]([-+]?(?:[\d.]+(?:e[-+]?\d+)?|nan|inf))(?=,| \||$)")
_SWITCH = re.compile(r"^(\S+ \S+) \| .*intra-distillation begins after (\d+) updates", re.MULTILINE)
_BEGIN, _RESUME = "begin training epoch", "Preparing to load checkpoint"
_MOMENT = re.compile(rf"^(\S+ \S+) \| .*?({_BEGIN}|{_RESUME}|\| (?:train_inner|valid) \|)", re.MULTILINE)


class TrainingLog(NamedTuple):
    """Lines of a log in the order of their updates, each as numbers by the name that fairseq gives them.

    "time" is added to every line: seconds since the first epoch began (it is 0 where the log lacks that line), but
    for those between an interruption and the epoch in which the training was resumed.
    """

    train: list[dict[str, float]]  #: one line every --log-interval updates
    valid: list[dict[str, float]]  #: one line a validation
    #: The number of updates, and the time, after which intra-distillation began late; None where it did not.
    switch: dict[str, float] | None = None


def parse_log(text: str) -> TrainingLog:
    """Reads a log. Of updates that a resumed run did again, only the last time counts."""
    parts = list(_parts(text))

    def seconds(moment):
        moment = datetime.fromisoformat(moment)
        begun = [pause for start, pause in parts if start <= moment]
        return (moment - parts[0][0] - sum(begun, timedelta())).total_seconds() if begun else 0.0

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


def _parts(text):
    """(when it began, how long nothing had been trained before) of the training and of every time it was resumed."""
    last, is_new = None, True
    for moment, what in _MOMENT.findall(text):
        now = datetime.fromisoformat(moment)
        if what == _RESUME:
            is_new = True
        elif what != _BEGIN:
            last = now
        elif is_new:
            yield now, now - (last or now)
            last, is_new = now, False


def _drop_from(entries, update):
    while entries and entries[-1]["num_updates"] >= update:
        entries.pop()
