"""fairseq_intra/patches/current_folder.py: modules that lie in the current folder."""

import sys
from types import SimpleNamespace

import fairseq
import pytest

from fairseq_intra.patches import current_folder


@pytest.fixture
def path_after(tmp_path, monkeypatch):
    """sys.path of a program, started as `-m MODULE` or otherwise (None), as the plugin leaves it."""
    monkeypatch.chdir(tmp_path)

    def apply(module, path):
        spec = SimpleNamespace(name=module) if module else None
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", path)
            current_folder.apply()
        return path

    return apply


def test_started_with_m_fairseq_imports_nothing_from_the_current_folder(path_after, tmp_path):
    here = str(tmp_path)
    assert path_after("fairseq_cli.train", [here, "/lib"]) == ["/lib"]
    assert path_after("fairseq_cli.train", ["/plugins", here, "/lib"]) == ["/plugins", "/lib"]
    # The second is there because the plugin lies in it.
    assert path_after("fairseq_cli.train", [here, here, "/lib"]) == [here, "/lib"]


def test_a_path_that_somebody_chose_stays(path_after, tmp_path, monkeypatch):
    here = str(tmp_path)
    assert path_after("fairseq_cli.train", ["/bin", "/lib", here]) == ["/bin", "/lib", here]
    for module in (None, "pytest"):
        assert path_after(module, [here, "/lib"]) == [here, "/lib"]
    # fairseq itself lies here: a checkout of it.
    monkeypatch.setattr(fairseq, "__file__", str(tmp_path / "fairseq" / "__init__.py"))
    assert path_after("fairseq_cli.train", [here, "/lib"]) == [here, "/lib"]
