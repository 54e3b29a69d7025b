"""A colon in a path: one path where there is such a file, a list where there is none."""

import pytest
from fairseq import utils

import fairseq_intra.plugin  # noqa: F401


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("run:1/a.pt", ["run:1/a.pt"]),
        ("b.pt:c.pt", ["b.pt", "c.pt"]),
        ("run:1/a.pt:b.pt:run:1/a.pt", ["run:1/a.pt", "b.pt", "run:1/a.pt"]),
        ("none:run:1/a.pt", ["none", "run:1/a.pt"]),
        ("b.pt", ["b.pt"]),
    ],
)
def test_a_path_with_a_colon_is_one_path_and_ensembles_are_several(tmp_path, monkeypatch, paths, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run:1").mkdir()
    for name in ("run:1/a.pt", "b.pt", "c.pt"):
        (tmp_path / name).touch()
    assert utils.split_paths(paths) == expected
