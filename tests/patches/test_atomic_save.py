"""A checkpoint that cannot be written is reported in one line, and what is there stays whole.

Where the disk is full, the scripts resume once there is space. The disk is a small tmpfs."""

import errno
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import campaign
import commands
import corpus
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from fairseq_intra import checkpoint
from fairseq_intra.errors import UsageError

#: Mounts a small disk where nobody else sees it, runs a command there, and again after the disk has grown.
ON_SMALL_DISK = """
mount -t tmpfs -o size="$1" none "$2" || exit 77
disk=$2 said=$3
shift 3
for run in 1 2; do
  "$@" >"$said/$run.out" 2>"$said/$run.err"
  echo $? >"$said/$run.status"
  find "$disk" -type f -printf '%P\\n' >"$said/$run.files"
  mount -o remount,size=64m "$disk"
done
"""


def on_small_disk(size, tmp_path, script, *arguments):
    """How a script ends on a small disk, tmp_path/disk, and on one that is large enough."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "said").mkdir()
    inside = ["bash", "-c", ON_SMALL_DISK, "-", size, tmp_path / "disk", tmp_path / "said"]
    command = ["unshare", "--map-root-user", "--mount", *inside, corpus.CHECKOUT / script, *arguments]
    done = subprocess.run([str(word) for word in command], env=corpus.environment(), capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    return [
        SimpleNamespace(
            status=int((tmp_path / f"said/{run}.status").read_text()),
            error=(tmp_path / f"said/{run}.err").read_text(),
            files=(tmp_path / f"said/{run}.files").read_text().splitlines(),
        )
        for run in (1, 2)
    ]


class Failing:
    """A file that a system stops writing to."""

    def __init__(self, path, number):
        self.path, self.number = path, number

    def __enter__(self):
        self.path.write_text("half of it")
        return self

    def __exit__(self, *_):
        pass

    def write(self, content):
        raise OSError(self.number, os.strerror(self.number))

    def flush(self):
        pass


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left on the disk of {}; free some"),
        (errno.EDQUOT, "no space left on the disk of {}; free some"),
        (errno.EFBIG, r"{} would be larger than its file system or the limit of this shell \(ulimit -f\) allows"),
        (errno.EROFS, "{}: Read-only file system"),
        (errno.EIO, "{}: Input/output error"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_is_reported_and_leaves_nothing(tmp_path, monkeypatch, number, message):
    path = tmp_path / "checkpoint1.pt"
    monkeypatch.setattr(PathManager, "open", lambda name, mode: Failing(Path(name), number))
    with pytest.raises(UsageError, match=message.format(path)):
        checkpoint_utils.torch_persistent_save({"model": torch.zeros(2)}, str(path))
    assert not [*tmp_path.iterdir()]


def test_a_write_that_failed_once_is_not_tried_again_behind_the_truncated_bytes(tmp_path, monkeypatch):
    class FailingOnce(Failing):
        failed = False

        def write(self, content):
            if not self.failed:
                self.failed = True
                super().write(content)
            return len(content)

    monkeypatch.setattr(PathManager, "open", lambda name, mode: FailingOnce(Path(name), errno.EIO))
    with pytest.raises(UsageError, match="Input/output error"):
        checkpoint_utils.torch_persistent_save({"model": torch.zeros(2)}, str(tmp_path / "checkpoint1.pt"))
    assert not [*tmp_path.iterdir()]


def test_a_mean_that_cannot_be_written_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    really_open = Path.open

    def open_or_fail(path, mode="r", **more):
        return Failing(path, errno.ENOSPC) if mode == "wb" else really_open(path, mode, **more)

    monkeypatch.setattr(Path, "open", open_or_fail)
    with pytest.raises(UsageError, match=f"no space left on the disk of {tmp_path}/mean.pt; free some"):
        checkpoint.save({"model": torch.zeros(2)}, tmp_path / "mean.pt")
    assert not [*tmp_path.iterdir()]


def test_other_errors_of_writing_stay_as_they_are(tmp_path):
    with pytest.raises(AttributeError):
        checkpoint_utils.torch_persistent_save(lambda: None, str(tmp_path / "checkpoint1.pt"))


def test_a_save_dir_that_cannot_be_written_is_reported_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=f"--save-dir {tmp_path}/file/run cannot be written to: .*Not a directory"):
        checkpoint_utils.verify_checkpoint_directory(str(tmp_path / "file" / "run"))

    def read_only(path, mode):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr("builtins.open", read_only)
    with pytest.raises(UsageError, match=f"--save-dir {tmp_path} cannot be written to: .*Read-only file system"):
        checkpoint_utils.verify_checkpoint_directory(str(tmp_path))


def says_so(run):
    last = run.error.splitlines()[-1]
    return run.status == 1 and "no space left on the disk of " in last and "Traceback" not in run.error


@pytest.mark.slow
def test_a_full_disk_ends_the_preparation_in_one_line(tmp_path):
    """There is space for the text, but not for the binarised data, whose log has none either."""
    archive = tmp_path / "2014-01.tgz"
    campaign.write_archive(archive, ["de"])
    arguments = ["--langs", "de", "--archive", archive, "--out", tmp_path / "disk/out", "--vocab-size", 150]
    full, large = on_small_disk("420k", tmp_path, "data-prep/prepare-iwslt14.sh", *arguments)
    assert says_so(full), full.error
    assert not [name for name in full.files if ".partial." in name or "/bin/" in name or "manifest" in name]
    assert large.status == 0, large.error
    assert {"out/de-en/manifest.json", "out/de-en/bin/train.de-en.de.bin"} <= set(large.files)


def test_a_full_disk_ends_the_training_and_leaves_no_truncated_checkpoint(dataset, tmp_path):
    """The first checkpoint finds space, checkpoint_last.pt does not."""
    arguments = ["--data", dataset, "--method", "intra", "--out", tmp_path / "disk/run", "--preset", "tiny"]
    small = ["--updates", 2, *commands.TINY, "--save-interval-updates=1"]
    full, large = on_small_disk("280k", tmp_path, "scripts/train.sh", *arguments, *small)
    assert says_so(full), full.error
    assert "run/checkpoints/checkpoint_1_1.pt" in full.files
    assert "run/checkpoints/checkpoint_last.pt" not in full.files
    assert not [name for name in full.files if name.endswith(".tmp")]
    assert large.status == 0, large.error
    assert "run/checkpoints/checkpoint_last.pt" in large.files
