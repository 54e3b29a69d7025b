"""Presets: files of config/ as fairseq-hydra-train reads them, here as flags of fairseq-train."""

from pathlib import Path
from typing import NamedTuple

from ..console import say
from ..user_dir import PACKAGE

CONFIG = PACKAGE / "config"
#: The name under which fairseq-hydra-train takes the preset "paper".
ALIAS = "intra_distillation"

#: Task and criterion of each method. A preset has the values of "intra"; config/method/METHOD.yaml, and for one
#: preset METHOD_PRESET.yaml, has those of another method in their place.
TASK_AND_CRITERION = {
    "plain": ("translation", "label_smoothed_cross_entropy"),
    **dict.fromkeys(("rdrop", "intra", "late"), ("translation_intra_distillation", "intra_distillation")),
    "self-distillation": ("translation", "self_distillation"),
}
#: Flags by their place: first these, then the rest as the file has them, then those of LAST. The order is that of the
#: arguments.txt of older runs.
FIRST = "share-all-embeddings label-smoothing optimizer adam-betas lr-scheduler clip-norm seed arch".split()
LAST = (
    "max-update validate-interval-updates save-interval-updates keep-interval-updates no-epoch-checkpoints "
    "keep-last-epochs log-interval"
).split()
PRESET_METHOD_FLAGS = (
    "num-iter alpha adaptive-alpha temperature-p temperature-q div plain-patience plain-updates".split()
)
#: The size of a model, which a named one (--arch) has of its own.
SIZES = [
    f"{side}-{size}"
    for side in ("encoder", "decoder")
    for size in "layers embed-dim ffn-embed-dim attention-heads".split()
]
#: Either ends plain training: the one that is given later takes the place of the other.
OTHER_SWITCH = {"plain-patience": "plain-updates", "plain-updates": "plain-patience"}
#: What a run decides by itself: batch and workers, device, places, task and criterion.
DECIDED = (
    "user-dir data source-lang target-lang log-format fp16 max-tokens update-freq max-updates-train task criterion"
).split()
#: What `_name` of a section is called on the command line.
FLAG_OF_SECTION = {"optimizer": "optimizer", "lr_scheduler": "lr-scheduler", "model": "arch"}


class Preset(NamedTuple):
    """A setting of config/; flags are names without dashes in front, with their values as the file writes them."""

    flags: dict[str, str]  #: "" where the flag has no value
    method_flags: dict[str, str]  #: those of intra-distillation
    batch_tokens: int  #: of an update
    max_tokens: int  #: of a worker's forward pass, at most
    fp16: bool  #: on a GPU


def preset_names() -> list[str]:
    """The presets, as --preset takes them."""
    return sorted(path.stem.replace("_", "-") for path in CONFIG.glob("*.yaml") if path.stem != ALIAS)


def read_preset(name: str, method: str = "intra") -> Preset:
    """The preset of a name that `preset_names` gives, with the flags of one of TASK_AND_CRITERION."""
    stem = name.replace("-", "_")
    sections = _read(CONFIG / f"{stem}.yaml")
    for over in (CONFIG / "method" / f"{end}.yaml" for end in (method, f"{method}_{stem}")):
        if over.is_file():
            sections = _merged(sections, _read(over))
    found = {}
    for section, content in sections.items():
        for key, value in content.items():
            flag = FLAG_OF_SECTION.get(section, section) if key == "_name" else key.replace("_", "-")
            found[flag] = value[0] if isinstance(value, list) else value
    max_tokens = int(found["max-tokens"])
    middle = [flag for flag in found if flag not in {*FIRST, *LAST, *PRESET_METHOD_FLAGS, *DECIDED}]
    if found.get("adaptive-alpha") == "0":
        found = {flag: value for flag, value in found.items() if not flag.startswith("temperature-")}
    return Preset(
        {flag: "" if found[flag] == "true" else found[flag] for flag in [*FIRST, *middle, *LAST] if flag in found},
        {flag: found[flag] for flag in PRESET_METHOD_FLAGS if flag in found},
        max_tokens * int(found.get("update-freq", 1)),
        max_tokens,
        found["fp16"] == "true",
    )


def as_words(flags: dict[str, str]) -> list[str]:
    """Flags as the words of a command line."""
    return [word for flag, value in flags.items() for word in (f"--{flag}", value) if word]


def for_arch(flags: dict[str, str], arch: str | None) -> dict[str, str]:
    """A preset's flags where a model is named that is not the preset's: without the sizes of the latter; says so."""
    if arch in (None, flags["arch"]):
        return flags
    dropped = {flag: value for flag, value in flags.items() if flag in SIZES}
    if dropped:
        say(f"left out of the preset, as --arch {arch} has its own sizes: {' '.join(as_words(dropped))}")
    return {flag: value for flag, value in flags.items() if flag not in dropped}


def _read(path: Path) -> dict[str, dict]:
    """The sections of a file, over those of the file that its defaults list names."""
    import yaml  # comes with omegaconf

    # Every number stays as it is written: 5e-4 is not to become 0.0005.
    content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    defaults = [name for name in content.pop("defaults", []) if name != "_self_"]
    sections = {}
    for part in [*(_read(path.with_name(f"{name}.yaml")) for name in defaults), content]:
        sections = _merged(sections, part)
    return sections


def _merged(sections, part):
    merged = {name: sections.get(name, {}) | keys for name, keys in part.items()}
    for switch, other in OTHER_SWITCH.items():
        if switch.replace("-", "_") in part.get("task", {}):
            merged["task"].pop(other.replace("-", "_"), None)
    return sections | merged
