"""fairseq_intra/runs/ctranslate2_decoding.py: sources that are longer than a model can take; its engine is a stub."""

from types import SimpleNamespace

import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.runs import ctranslate2_decoding
from fairseq_intra.runs.dataset import Dataset
from fairseq_intra.translation.search import Hypothesis, Limits, Search

#: The end of sentence is one of the five subwords that the model takes.
LIMITS = Limits(source=5, target=9)


class Repeats:
    """Translates every source by itself, the last one first."""

    def translate(self, sources, _search):
        for number, source in reversed(list(enumerate(sources))):
            yield number, [Hypothesis(source, -1.0)]


@pytest.fixture
def translate(tmp_path, monkeypatch):
    """Translates a text whose words are its subwords."""
    words = SimpleNamespace(encode=lambda lines: [[f"▁{word}" for word in line.split()] for line in lines])
    monkeypatch.setattr(ctranslate2_decoding, "convert", lambda *_: None)
    monkeypatch.setattr(ctranslate2_decoding, "CTranslate2Engine", lambda *_: Repeats())
    monkeypatch.setattr(ctranslate2_decoding, "Subwords", lambda *_: words)

    def translate(text, truncate):
        (tmp_path / "test.de").write_text(text)
        dataset = Dataset(tmp_path, "de", "en", False, {})
        given = (tmp_path / "model.pt", dataset, tmp_path / "test.de", Search(), LIMITS, truncate, tmp_path)
        return ctranslate2_decoding.translate(*given)

    return translate


def test_sources_that_are_too_long_are_rejected_with_the_first_line(translate):
    with pytest.raises(UsageError, match="test.de: 2 sources are longer than the 5 .* first in line 2; give --trunc"):
        translate("a b c d\na b c d e\na b c d e f\n", truncate=False)


def test_where_that_is_asked_for_they_are_cut_to_what_fits_and_counted(translate):
    found = translate("a b c d\nb c d e f\nc d e f g h\nd\n", truncate=True)
    assert found.hypotheses == ["a b c d", "b c d e", "c d e f", "d"]
    assert found.lengths == [4, 4, 4, 1] and found.truncated == 2


@pytest.mark.parametrize("truncate", [False, True])
def test_sources_that_fit_are_left_whole(translate, truncate):
    found = translate("a b c d\n\nd\n", truncate)
    assert (found.hypotheses, found.truncated) == (["a b c d", "", "d"], 0)
