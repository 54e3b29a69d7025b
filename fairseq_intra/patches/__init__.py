"""What is fixed in fairseq, none by its version number. Applied once; for plain training too."""

import functools
import importlib

PATCHES = (
    "current_folder",
    "safe_loading",
    "shell_names",
    "literals",
    "last_batch",
    "compat",
    "paths",
    "data_parallel",
    "input_checks",
    "checkpoint_checks",
    "data_folder",
    "patience",
    "resume",
    "task_state",
    "early_end_warning",
    "half_precision",
    "amp_on_cpu",
    "amp_step",
    "bf16",
    "atomic_save",
    "background_loading",
    "preemption",
    "tokenized_bleu",
    "dictionary_checksum",
    "flag_help",
)


@functools.cache
def apply() -> None:
    """Applies every patch; repeated, it does nothing."""
    for name in PATCHES:
        importlib.import_module(f".{name}", __package__).apply()
