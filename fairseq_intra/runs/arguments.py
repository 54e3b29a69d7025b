"""Words of a command line for fairseq-train: their values, what is wrong with them, and how two lists differ."""

import difflib
import importlib.util
import re
from pathlib import Path

from ..console import say
from ..errors import UsageError
from ..files import sha256
from ..limits import check_alpha, check_precision
from ..methods import COMPUTATION, FLAGS, method_of

#: Flags that only intra-distillation has; those of METHOD_SWITCHES take no value.
OF_THE_METHOD = re.compile("|".join(f"--{name.replace('_', '-')}" for name in (*FLAGS, *COMPUTATION)))
METHOD_SWITCHES = ("--encoder-once",)
#: Of these, the ones that would make R-Drop another method, and those of the late start.
NOT_OF_RDROP = re.compile(
    r"--(num-iter|div|adaptive-alpha|temperature-[pq]|max-updates-train|plain-.*|distill-.*|encoder-once)"
)
OF_THE_LATE_START = re.compile(r"--plain-(updates|patience)")
#: What a run's arguments.txt has before the SHA-256 of its dataset's manifest.json.
DATA = "# data "
#: Flags that a run sets itself, and why.
OWNED = {
    "--save-dir": "checkpoints go to OUT/checkpoints; see --out",
    "--no-save": "a run without checkpoints could neither be resumed nor evaluated",
    "--no-last-checkpoints": "a run without checkpoint_last.pt could not be resumed",
    "--log-format": "train.log has the format that table and plot read",
    "--no-progress-bar": "train.log has the format that table and plot read",
    "--user-dir": "it is this plugin; one of your own, which imports it, is for fairseq-train itself",
}
_DIRECTION = "the languages are those of --data; prepare that with --src and --tgt for the other direction"
OWNED_BY_TRAIN = {
    "--source-lang": _DIRECTION,
    "--target-lang": _DIRECTION,
    "--update-freq": "it follows from --batch-tokens, --max-tokens and the number of workers",
    "--device-id": "start it with torchrun or srun for more than one machine",
    "--local_rank": "start it with torchrun or srun for more than one machine",
    "--local-rank": "start it with torchrun or srun for more than one machine",
}
OWNED_BY_FINETUNE = {
    name: "--batch is the batch of an update, from which the schedule follows"
    for name in ("--batch-size", "--max-sentences", "--update-freq")
}
#: Lines of arguments.txt that are no flags, and what they are called.
COMMENTS = {
    "data": "the checksum of --data",
    "batch": "--batch-tokens",
    "checkpoint": "the checksum of --checkpoint",
    "continued": "the checksum of --continue-from",
    "teacher": "the checksum of --teacher",
}
#: Short forms of fairseq-train's flags; it has no others.
SHORT = {"-a": "--arch", "-s": "--source-lang", "-t": "--target-lang"}
#: How much a flag is like one of ours, from 0 to 1, to be taken for it with a typo.
LIKENESS = 0.88
#: Flags of fairseq-train that choose the precision of a training, and what it wraps the optimizer in.
PRECISIONS = {
    "--memory-efficient-fp16": "MemoryEfficientFP16Optimizer",
    "--memory-efficient-bf16": "MemoryEfficientFP16Optimizer",
    "--fp16": "FP16Optimizer",
    "--bf16": "FP16Optimizer",
    "--amp": "AMPOptimizer",
}


def flag_values(words: list[str]) -> dict[str, str]:
    """The value of each flag, "" if it has none; of several the last counts, as with fairseq."""
    values, name = {}, None
    for word in words:
        if word.startswith("# "):
            what, _, value = word[2:].partition(" ")
            values[COMMENTS.get(what, what)], name = value, None
        elif _is_flag(word):
            name, _, value = word.partition("=")
            name = SHORT.get(name, name)
            values[name] = value
        elif name:
            values[name] = f"{values[name]} {word}".strip()
    return values


def _is_flag(word):
    return word.startswith("--") or word in SHORT


def flag_value(words: list[str], name: str) -> str | None:
    """The value of a flag, None if it is not there."""
    return flag_values(words).get(name)


def method_by_flags(words: list[str]) -> str:
    """The method that tables will call a training with these flags, as `methods.method_of`."""
    flags: dict[str, object]
    flags = {name: as_number(flag_value(words, f"--{name.replace('_', '-')}")) for name in FLAGS}
    flags |= {"div": flag_value(words, "--div"), "encoder_once": flag_value(words, "--encoder-once") is not None}
    task, criterion = (flag_value(words, f"--{name}") for name in ("task", "criterion"))
    return method_of({"task": flags | {"_name": task}, "criterion": flags | {"_name": criterion}})


def differences(before: list[str], now: list[str]) -> dict[str, tuple[str | None, str | None]]:
    """The flags whose values differ, with both values."""
    old, new = flag_values(before), flag_values(now)
    return {name: (old.get(name), new.get(name)) for name in old | new if old.get(name) != new.get(name)}


def flags_for(method: str, words: list[str]) -> list[str]:
    """The words without flags that are not a method's, so that one command line does for all methods.

    Raises:
        UsageError: if such a flag lacks its value.
    """
    if method in ("intra", "late"):
        return words
    if method == "rdrop":
        return without(words, NOT_OF_RDROP, "as R-Drop does not have them")
    return without_method_flags(words)


def without_method_flags(words: list[str]) -> list[str]:
    """The words without those of intra-distillation alone and their values.

    Raises:
        UsageError: if such a flag lacks its value.
    """
    return without(words, OF_THE_METHOD, "as only intra-distillation has them")


def flags_in_grid(method: str, methods: list[str], words: list[str]) -> list[str]:
    """The words of a grid that one of its methods gets: of intra and late, only late starts late."""
    return without(words, OF_THE_LATE_START) if method == "intra" and "late" in methods else words


def without(words: list[str], flags: re.Pattern, why: str = "") -> list[str]:
    """The words without these flags and their values; says which, where it is said why.

    Raises:
        UsageError: if such a flag lacks its value.
    """
    kept, dropped = [], []
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, _ = word.partition("=")
        if not flags.fullmatch(name):
            kept.append(word)
        elif equals or name in METHOD_SWITCHES:
            dropped.append(word)
        elif not left or _is_flag(left[0]):
            raise UsageError(f"{word} needs a value")
        else:
            dropped += [word, left.pop(0)]
    if dropped and why:
        say(f"left out, {why}: {' '.join(dropped)}")
    return kept


def check_passed(words: list[str], ours: list[str], owned: dict[str, str]) -> None:
    """Checks the words that a command passes to fairseq-train.

    Args:
        words: as the user gave them.
        ours: the command's own flags.
        owned: flags of fairseq-train that the command sets itself, each with the reason.

    Raises:
        UsageError: on one of those, on what looks like one of ours with a typo, and on what fairseq would not do.
    """
    for word in words:
        name = word.partition("=")[0]
        name = SHORT.get(name, name)
        if name in owned:
            raise UsageError(f"{name} is set by this command: {owned[name]}")
        if name.startswith("--distributed-"):
            raise UsageError(
                f"{name} is set by this command; start it with torchrun or srun for more than one machine"
            )
        like = difflib.get_close_matches(name, ours, 1, LIKENESS) if name.startswith("--") else []
        if like:
            raise UsageError(f"unknown flag {name}; is it {like[0]}?")
    alpha = as_number(flag_value(words, "--alpha"))
    if alpha is not None:
        check_alpha(alpha)
    if (flag_value(words, "--valid-subset") or "").startswith("test"):
        raise UsageError("--valid-subset: the best checkpoint would be chosen on a test set; name valid first")
    if flag_value(words, "--wandb-project") and importlib.util.find_spec("wandb") is None:
        raise UsageError("--wandb-project needs the package wandb (pip install wandb)")


def data_line(data: Path) -> str:
    """The line of a run's arguments.txt that tells its dataset, a folder, from others."""
    return f"{DATA}{sha256(data / 'manifest.json')}"


def device_flags(passed: list[str], gpus: int, fp16: bool = True) -> list[str]:
    """What fairseq-train is told of its device: --cpu without a GPU; on one --fp16.

    Args:
        passed: what the user passes on, whose choice of a precision counts.
        gpus: their number.
        fp16: whether half precision is wanted on a GPU.

    Raises:
        UsageError: if fp16 is asked for without a GPU, or two precisions are.
    """
    given = [flag for flag in PRECISIONS if flag in flag_values(passed)]
    check_precision(given, "" if gpus else "torch sees none")
    if not gpus:
        return ["--cpu"]
    return ["--fp16"] if fp16 and not given else []


def as_number(text: str | None) -> float | None:
    """The number that a word stands for, None if it is none."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
