"""fairseq_intra/data/manifest.py: files of a dataset against its checksums, and records of the wrong shape."""

import json
import shutil

import pytest
from preparing import rejected

from fairseq_intra import files
from fairseq_intra.data import manifest
from fairseq_intra.errors import UsageError


@pytest.fixture
def data(dataset, tmp_path):
    """A copy of a finished dataset."""
    shutil.copytree(dataset, tmp_path / "data")
    return tmp_path / "data"


def again(dataset, out):
    """The flags that made the dataset."""
    text = ["--input", dataset.parent / "text", "--src", "de", "--tgt", "en"]
    return ["parallel", *text, "--out", out, "--vocab-size", 120]


def test_files_are_checked_one_by_one(data):
    entries = manifest.read_manifest(data)["files"]
    manifest.verify_files(data, entries, ["raw/test.en", "bin/dict.de.txt"])
    (data / "raw" / "test.en").write_text("a hypothesis\n")
    manifest.verify_files(data, entries, ["bin/dict.de.txt"])
    with pytest.raises(UsageError, match="raw/test.en was changed since the dataset was made"):
        manifest.verify_files(data, entries, ["bin/dict.de.txt", "raw/test.en"])
    with pytest.raises(UsageError, match="has no raw/other.en: no such split"):
        manifest.verify_files(data, entries, ["raw/other.en"])


def test_an_interrupted_start_over_leaves_no_half_of_a_step(data, monkeypatch):
    (data / "manifest.json").unlink()
    asked = manifest.read_sources(data / "settings.json")
    remove = files.remove

    def interrupted(path):
        if path.is_dir():
            next(path.iterdir()).unlink()
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(files, "remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        manifest.begin(data, asked | {"settings": asked["settings"] | {"vocab_size": 3}})
    # The old command again: the step that was being removed is not taken for done.
    assert manifest.begin(data, asked) == "resuming an unfinished run"
    assert not (data / "raw").exists() and (data / "spm").exists()


@pytest.mark.parametrize("content", ["[]", "null", '"x"', "{}", '{"settings": [], "inputs": {}}', "{"])
def test_settings_of_the_wrong_shape_are_reported(dataset, data, content):
    (data / "settings.json").write_text(content)
    assert f"{data / 'settings.json'} is " in rejected(*again(dataset, data))


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": {"raw/test.en": "x"}},
        {"files": {"raw/test.en": {}}},
        {"source": None},
        {"settings": 1},
        None,
    ],
)
def test_a_manifest_of_the_wrong_shape_is_reported(dataset, data, change):
    made = json.loads((data / "manifest.json").read_text())
    (data / "manifest.json").write_text(json.dumps(change and made | change))
    assert f"{data / 'manifest.json'} is damaged" in rejected(*again(dataset, data))


@pytest.mark.parametrize("name", ["/etc/passwd", "../text/train.de"])
def test_no_path_out_of_a_manifest_leaves_its_folder(dataset, data, name):
    made = json.loads((data / "manifest.json").read_text())
    made["files"][name] = {"sha256": "0", "bytes": 1}
    (data / "manifest.json").write_text(json.dumps(made))
    assert f"names {name}, which is not in {data}" in rejected(*again(dataset, data))
    made["files"], made["source"] = {}, name
    (data / "manifest.json").write_text(json.dumps(made))
    assert f"names {name}" in rejected(*again(dataset, data / "new"), "--like", data)
