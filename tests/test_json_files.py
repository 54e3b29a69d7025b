"""JSON of a record, and of the wrong shape."""

from dataclasses import dataclass

import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.json_files import FileName, has_type, read_record, write_record


@dataclass(frozen=True)
class Record:
    format: int
    count: int
    share: float
    name: FileName
    notes: dict[str, list[int]]
    later: str | None = None


GOOD = Record(1, 3, 1, "a.json", {"a": [1, 2]})


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
    (tmp_path / "record").write_text(content)
    with pytest.raises(UsageError, match=r"record is not (a record .format 1.|JSON)") as error:
        read_record(Record, tmp_path / "record", 1, "a record")
    assert "\n" not in str(error.value)
