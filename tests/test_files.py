"""Files that several processes write at once, or that cannot be written."""

import multiprocessing
import os
from pathlib import Path

import pytest
from waiting import wait_for

from fairseq_intra.errors import UsageError
from fairseq_intra.files import is_locked, locked, need_file_or_none, replacing


def test_two_processes_that_write_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as ours:
        ours.write_text("ours")
        other = multiprocessing.get_context("fork").Process(target=write, args=(path, "theirs"))
        other.start()
        other.join()
        assert other.exitcode == 0 and path.read_text() == "theirs"
    assert path.read_text() == "ours" and os.listdir(tmp_path) == ["file"]


def write(path, text):
    with replacing(path) as partial:
        partial.write_text(text)


def test_a_lock_ends_with_the_process_that_took_it_not_with_those_it_forked(tmp_path):
    fork = multiprocessing.get_context("fork")
    end = fork.Event()
    with locked(tmp_path):
        child = fork.Process(target=end.wait)
        child.start()
        assert is_locked(tmp_path)
    try:
        # It lets go as its first act.
        wait_for(lambda: not is_locked(tmp_path))
        assert child.is_alive()
    finally:
        end.set()
        child.join()


def test_what_a_killed_process_has_left_is_removed(tmp_path):
    killed = multiprocessing.get_context("fork").Process(target=leave_half, args=(tmp_path / "file",))
    killed.start()
    killed.join()
    assert len(os.listdir(tmp_path)) == 1
    write(tmp_path / "file", "whole")
    assert os.listdir(tmp_path) == ["file"]


def leave_half(path):
    with replacing(path) as partial:
        partial.write_text("half")
        os._exit(1)


def test_a_folder_makes_no_way_for_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes").write_text("mine")
    with pytest.raises(UsageError, match="folder is a folder"):
        write(tmp_path / "folder", "text")
    assert (tmp_path / "folder" / "notes").read_text() == "mine" and os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("before", ["text", None])
def test_through_a_symbolic_link_the_file_it_points_to_is_written(tmp_path, before):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    if before:
        target.write_text(before)
    link.symlink_to(target)
    write(link, "new")
    assert link.is_symlink() and target.read_text() == "new" and os.listdir(tmp_path / "folder") == ["target"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/proc/none/file", "--output /proc/none/file: its folder does not exist"),
        ("/proc/file", "--output /proc/file: its folder cannot be written to: "),
        ("/proc", "--output /proc exists and is not a file"),
        ("..", "--output .. exists and is not a file"),
    ],
)
def test_an_output_that_cannot_be_written_is_named_before_the_work(name, message):
    with pytest.raises(UsageError, match=message):
        need_file_or_none(Path(name))
