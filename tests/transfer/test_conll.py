"""Tagged text: what is read, what is converted, and what is rejected by file and line."""

import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.transfer.conll import BLANK, read_tagged


def write(tmp_path, text):
    path = tmp_path / "train"
    path.write_bytes(text.encode())
    return path


def test_wikiann_with_its_languages(tmp_path):
    text = "en:Kim\tB-PER\nen:Novak\tI-PER\nen::\tO\n\n\nen:http://x\tO\r\n"
    sentences, converted = read_tagged(write(tmp_path, text))
    assert sentences == [(["Kim", "Novak", ":"], ["B-PER", "I-PER", "O"]), (["http://x"], ["O"])]
    assert converted == 0


def test_conll_2003_with_four_columns_and_documents(tmp_path):
    text = "-DOCSTART- -X- -X- O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\nen:German JJ I-NP B-MISC"
    sentences, _ = read_tagged(write(tmp_path, text))
    assert sentences == [(["EU", "rejects"], ["B-ORG", "O"]), (["en:German"], ["B-MISC"])]


def test_entities_of_iob1_become_those_of_iob2(tmp_path):
    text = "a\tI-PER\nb\tI-PER\nc\tI-LOC\nd\tB-LOC\ne\tO\nf\tI-LOC\n"
    (sentence,), converted = read_tagged(write(tmp_path, text))
    assert sentence.tags == ["B-PER", "I-PER", "B-LOC", "B-LOC", "O", "B-LOC"]
    assert converted == 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("a\tO\nword\n", r"train line 2: a word and its tag expected.*'word'"),
        ("a\tO\n\tB-PER\n", "train line 2: a word and its tag expected"),
        ("a\tO\nb\tPER\n", "train line 2: tag 'PER' is not of IOB2"),
        ("a\tE-PER\n", "train line 1: tag 'E-PER' is not of IOB2"),
        ("a\tO\rb\tB-PER\r\rc\tO\r", "train line 1 has a carriage return within"),
        ("\n\n", "train holds no sentence"),
        ("-DOCSTART- O\n", "train holds no sentence"),
    ],
)
def test_invalid_lines_are_reported(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_tagged(write(tmp_path, text))


def test_the_language_goes_from_every_word_though_some_lack_it_and_white_space_is_a_word(tmp_path, caplog):
    text = "ja:東\tO\nja:京\tB-LOC\nja:\u3000\tO\nja:に\tO\n\u00a0\tO\nstray\tO\n"
    (sentence,), _ = read_tagged(write(tmp_path, text))
    assert sentence.words == ["東", "京", BLANK, "に", BLANK, "stray"]
    assert "2 of 6 words do not begin with ja:" in caplog.text
