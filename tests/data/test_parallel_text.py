"""fairseq_intra/data/parallel_text.py: what counts as blank."""

import pytest

from fairseq_intra.data.parallel_text import is_blank


@pytest.mark.parametrize("text", ["", " \t", "\u200b\ufeff", "\ufffd", "\ufffd \ufffd", "\u0007", "\u00a0"])
def test_a_line_of_which_normalisation_leaves_nothing_is_blank(text):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", "…", "!", "۱", "日本", "\ufffd a", "☃", "\u0301", "- -"])
def test_a_line_that_shows_something_is_not_blank(text):
    assert not is_blank(text)
