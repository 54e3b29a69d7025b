"""fairseq_intra/patches/data_folder.py: a wrong folder of data ends fairseq's commands in one line."""

import pytest
import tiny
from fairseq import tasks

from fairseq_intra.errors import UsageError


@pytest.mark.parametrize(
    ("place", "flags", "named"),
    [
        ("nowhere", (), "data FOLDER/nowhere: no such folder"),
        ("", (), "data FOLDER holds no binarised text: no dict.LANGUAGE.txt; did you mean FOLDER/bin\\?"),
        ("bin", ("--target-lang", "fr"), "data FOLDER/bin has no dict.fr.txt; it is text of de and en"),
    ],
)
def test_a_wrong_folder_of_data_is_reported(dataset, place, flags, named):
    found = tiny.configuration(dataset / place, *flags)
    with pytest.raises(UsageError, match=named.replace("FOLDER", str(dataset))):
        tasks.setup_task(found.task)


def test_a_relative_folder_of_data_is_reported_with_the_current_folder(tmp_path, monkeypatch):
    """fairseq-hydra-train changes it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"data DATA/bin: no such folder in {tmp_path}"):
        tasks.setup_task(tiny.configuration("DATA/bin").task)
