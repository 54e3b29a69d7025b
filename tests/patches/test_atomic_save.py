"""A disk that is full: the scripts say so in one line, and go on once there is space. The disk is a small tmpfs."""

import subprocess
from types import SimpleNamespace

import campaign
import commands
import corpus
import pytest

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


def says_so(run):
    last = run.error.splitlines()[-1]
    return run.status == 1 and "no space left on the disk of " in last and "Traceback" not in run.error


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


def test_a_full_disk_ends_the_training_and_leaves_no_torn_checkpoint(dataset, tmp_path):
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
