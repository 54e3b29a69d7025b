"""Files that several processes write at once, and JSON of the wrong shape."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.files import FileName, has_type, need_file_or_none, read_record, replacing, write_record


@dataclass(frozen=True)
class Record:
    format: int
    count: int
    share: float
    name: FileName
    notes: dict[str, list[int]]
    later: str | None = None


GOOD = Record(1, 3, 1, "a.json", {"a": [1, 2]})


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


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_record(tmp_path / "good", GOOD)
    assert read_record(Record, tmp_path / "good", 1, "a record") == GOOD


@pytest.mark.parametrize(
    ("annotation", "good", "wrong"),
    [
        (int, [1], [True, 1.0, "1", None]),
        (float, [1, 1.5], [True, "1"]),
        (str | None, ["a", None], [1, ["a"]]),
        (FileName, ["a.hyp"], ["../a", "/a", "..", "", "a/b", 1, "a\0"]),
        (list[str], [["a"], []], [[1], "a", {"a": 1}]),
        (dict[str, float], [{"a": 1}, {}], [{"a": "1"}, ["a"], None]),
    ],
    ids=str,
)
def test_types_of_json(annotation, good, wrong):
    assert [has_type(value, annotation) for value in (*good, *wrong)] == [True] * len(good) + [False] * len(wrong)


@pytest.mark.parametrize("content", ["[]", "null", "1", "{}", '{"format": []}', '{"format": 1}', "{"])
def test_a_file_that_is_no_record_is_one_line(tmp_path, content):
    Path(tmp_path / "record").write_text(content)
    with pytest.raises(UsageError, match=r"record is not (a record .format 1.|JSON)") as error:
        read_record(Record, tmp_path / "record", 1, "a record")
    assert "\n" not in str(error.value)
