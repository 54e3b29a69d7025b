"""The checkpoint that a training is resumed from: fairseq's default of --restore-file, in --save-dir."""

from pathlib import Path

LAST = "checkpoint_last.pt"


def is_own_last(restore_file: str, save_dir: Path | str) -> bool:
    """Whether --restore-file names the last checkpoint of the training itself, which is not there when it begins."""
    return restore_file == LAST or Path(restore_file).absolute() == Path(save_dir, LAST).absolute()
