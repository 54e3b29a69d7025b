"""What a user is told who lacks a package that only an extra brings."""

import sys

import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.fine_tuning import entities


def test_without_seqeval_the_extra_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "seqeval", None)
    monkeypatch.setattr("importlib.util.find_spec", {}.get)
    with pytest.raises(UsageError) as error:
        entities.count_entities([["O"]], [["O"]])
    assert error.value.code.endswith("seqeval is not installed; install it: pip install 'fairseq-intra[transfer]'")
