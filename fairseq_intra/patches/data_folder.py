"""A folder that is no binarised text of the languages asked for is reported before fairseq looks for its files."""

import functools
from collections.abc import Sequence
from pathlib import Path

from fairseq import tasks, utils

from ..errors import UsageError
from ..methods import setting

#: Tasks whose data is a folder of dict.LANGUAGE.txt and binarised text.
OF_TRANSLATION = ("translation", "translation_intra_distillation")


def apply():
    """Puts the check into fairseq's modules."""
    setup = tasks.setup_task

    @functools.wraps(setup)
    def setup_task(cfg, **kwargs):
        if setting(cfg, "_name") in OF_TRANSLATION and setting(cfg, "data"):
            languages = [setting(cfg, f"{side}_lang") for side in ("source", "target")]
            check_folder(Path(utils.split_paths(cfg.data)[0]), languages)
        return setup(cfg, **kwargs)

    tasks.setup_task = setup_task


def check_folder(data: Path, languages: Sequence[str | None] = ()) -> None:
    """Raises UsageError where a folder is no binarised text, or lacks a language's dictionary."""
    if not data.is_dir():
        raise UsageError(f"data {data}: no such folder" + ("" if data.is_absolute() else f" in {Path.cwd()}"))
    there = sorted(path.name.split(".")[1] for path in data.glob("dict.*.txt"))
    if not there:
        inside = f"; did you mean {data / 'bin'}?" if [*data.glob("bin/dict.*.txt")] else ""
        raise UsageError(f"data {data} holds no binarised text: no dict.LANGUAGE.txt{inside}")
    for language in languages:
        if language and not (data / f"dict.{language}.txt").is_file():
            raise UsageError(f"data {data} has no dict.{language}.txt; it is text of {' and '.join(there)}")
