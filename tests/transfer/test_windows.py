"""Windows of contexts, and characters of subwords in scripts of every kind."""

import io
import json
import unicodedata

import asked
import pytest
import sentencepiece
import tagged
from fairseq.data import Dictionary, data_utils
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

from fairseq_intra.data.encoder_subwords import Gpt2, SentencePiece
from fairseq_intra.data.encoder_text import EncoderText
from fairseq_intra.errors import UsageError
from fairseq_intra.transfer.question_text import binarise, encode_question, read_text
from fairseq_intra.transfer.squad import Answer, Question
from fairseq_intra.transfer.windows import Lengths, align, windows

#: With combining marks (as they are, and where there is a composed character), ligatures, wide and double spaces,
#: zero-width and astral characters.
TEXTS = {
    "Arabic": "وُلِدَ عام ١٩٧٦ في القاهرة، مصر.",
    "Korean": "한니발 바르카는 고대 카르타고의 군사령관이다.",
    "Korean, decomposed": unicodedata.normalize("NFD", "한니발 바르카는 고대 카르타고의 군사령관이다."),
    "Telugu": "తెలుగు భాష దక్షిణ భారతదేశంలో మాట్లాడతారు.",
    "combining": "  Le cafe\u0301\u3000nai\u0308f  et ﬁn x² \u200b Z\u0323\u0307o 😀 fin",
    "Chinese": "北京是中华人民共和国的首都。",
}
ANSWERS = {
    "Arabic": ["القاهرة", "وُلِدَ", "١٩٧٦"],
    "Korean": ["군사령관", "한니발 바르카"],
    "Korean, decomposed": [unicodedata.normalize("NFD", "군사령관"), unicodedata.normalize("NFD", "한니발")],
    "Telugu": ["భాష", "భారతదేశంలో"],
    "combining": ["cafe\u0301", "nai\u0308f", "ﬁn", "x²", "Z\u0323\u0307o", "😀"],
    "Chinese": ["北京"],
}


@pytest.fixture(scope="module")
def sentencepiece_segmenter(tmp_path_factory):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS.values() for _ in range(9)]),
        model_writer=model,
        vocab_size=400,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("segmenter") / "sentencepiece.bpe.model"
    path.write_bytes(model.getvalue())
    return SentencePiece(path)


@pytest.fixture(scope="module")
def gpt2_segmenter(tmp_path_factory):
    """All bytes, and two merges: of the space with the first byte of Hangul, which is then half a character."""
    folder = tmp_path_factory.mktemp("segmenter")
    symbols = bytes_to_unicode()
    space, hangul, middle = symbols[0x20], symbols[0xEA], symbols[0xB5]
    vocabulary = [*symbols.values(), f"{space}{hangul}", f"{hangul}{middle}"]
    (folder / "encoder.json").write_text(json.dumps({symbol: n for n, symbol in enumerate(vocabulary)}))
    merges = f"#version: 0.2\n{space} {hangul}\n{hangul} {middle}\n"
    (folder / "vocab.bpe").write_text(merges, encoding="utf-8")
    return Gpt2(folder / "encoder.json", folder / "vocab.bpe")


@pytest.fixture(params=["sentencepiece", "gpt2"])
def segmenter(request):
    return request.getfixturevalue(f"{request.param}_segmenter")


@pytest.mark.parametrize("script", TEXTS)
def test_an_answer_comes_back_from_its_subwords_as_it_was(script, segmenter):
    text = TEXTS[script]
    subwords, offsets = segmenter.encode_with_offsets(text)
    assert subwords == segmenter.encode(text) and len(subwords) == len(offsets) > 5
    assert all(0 <= first <= after <= len(text) for first, after in offsets)
    assert sorted(offsets) == list(offsets)
    for answer in ANSWERS[script]:
        start = text.index(answer)
        first, last = align(start, start + len(answer), offsets)
        found = text[offsets[first][0] : offsets[last][1]].strip()
        # A subword may be longer than the answer; where the text is cut at its edges, it is the answer.
        assert answer in found and len(found) <= len(answer) + 4
        if isinstance(segmenter, Gpt2):
            assert found == answer


def test_subwords_of_an_unmerged_vocabulary_are_the_characters(sentencepiece_segmenter):
    """By hand: two characters that one subword stands for, one that two stand for, and spaces before a word."""
    text = "  cafe\u0301 ﬁ"
    subwords, offsets = sentencepiece_segmenter.encode_with_offsets(text)
    found = [
        (subword.strip("▁"), text[first:after].strip())
        for subword, (first, after) in zip(subwords, offsets, strict=True)
    ]
    assert "".join(subword for subword, _ in found) == "caféfi"
    assert "".join(characters for _, characters in found) == "cafe\u0301ﬁ"


def test_a_half_character_of_gpt2_has_all_of_it(gpt2_segmenter):
    subwords, offsets = gpt2_segmenter.encode_with_offsets("a 국")
    assert [gpt2_segmenter._encoder.decoder[int(subword)] for subword in subwords[1:2]] == ["Ġê"]
    assert offsets == [(0, 1), (1, 3), (2, 3), (2, 3)]


@pytest.mark.parametrize(
    "question, context, expected",
    [
        (2, 4, [range(4)]),
        (2, 5, [range(4), range(3, 5)]),
        (2, 9, [range(4), range(3, 7), range(6, 9)]),
        # Room for two alone, which is less than the stride.
        (4, 5, [range(2), range(2, 4), range(4, 5)]),
    ],
)
def test_windows_by_hand(question, context, expected):
    assert windows(question, context, Lengths(10, 3, 5)) == expected


def test_windows_hold_every_subword_and_no_window_is_within_another():
    for context in range(1, 40):
        for stride in (1, 3, 8, 50):
            found = windows(3, context, Lengths(15, stride, 5))
            assert {place for window in found for place in window} == set(range(context))
            assert all(len(window) <= 8 for window in found)
            assert all(a.start < b.start and a.stop < b.stop for a, b in zip(found, found[1:], strict=False))


def test_lengths_without_room_are_rejected():
    with pytest.raises(UsageError, match=r"--max-seq-length 68 leaves no room.*above --max-query-length 64 \+ 4"):
        Lengths(max_seq_length=68).check()


def test_align_takes_what_shares_a_character():
    offsets = [(0, 0), (0, 2), (2, 5), (5, 5), (5, 6)]
    assert align(1, 3, offsets) == (1, 2) and align(2, 5, offsets) == (2, 2) and align(4, 6, offsets) == (2, 4)
    assert align(6, 9, offsets) is None


@pytest.fixture
def encoder(tmp_path):
    tagged.write_encoder(tmp_path / "encoder")
    return EncoderText(tmp_path / "encoder"), Dictionary.load(str(tmp_path / "encoder/dict.txt"))


QUESTION = Question("q", "Mo.", "Bakemo dilanabo la mo nikomela.", [Answer(7, "dilanabo"), Answer(16, "la")])


WRONG = QUESTION._replace(answers=[Answer(8, "la")])


def test_the_rows_of_a_window(encoder):
    """Its span and offsets say where it is in the text; of two answers the first is learned, where all of it is."""
    segmenter, dictionary = encoder
    rows = list(encode_question(QUESTION, 3, segmenter, dictionary, Lengths(16, 4, 8)))
    assert len(rows) > 2
    learned = 0
    for tokens, (first, start, end), offsets in rows:
        symbols = ["<s>", *(dictionary[token] for token in tokens)]
        number, *characters = offsets.tolist()
        assert number == 3 and symbols[first - 1] == symbols[first - 2] == symbols[-1] == "</s>"
        assert len(characters) == 2 * (len(symbols) - first - 1)
        place = range(characters[0], characters[-1])
        if start:
            learned += 1
            begin, after = characters[2 * (start - first)], characters[2 * (end - first) + 1]
            assert QUESTION.context[begin:after].strip() == "dilanabo"
        else:
            assert end == 0 and not (7 in place and 14 in place)
    assert 0 < learned < len(rows)


def test_long_questions_are_cut(encoder):
    segmenter, dictionary = encoder
    (row,) = encode_question(QUESTION._replace(text="mo " * 50), 0, segmenter, dictionary, Lengths(384, 128, 8))
    assert row.span[0] == 8 + 3


def test_what_is_written_and_what_is_left_out(encoder, tmp_path):
    out = tmp_path / "data"
    out.mkdir()
    splits = {"train": [WRONG, QUESTION, QUESTION], "test.de": [QUESTION]}
    counts = binarise(splits, *encoder, Lengths(), out)
    assert counts["train"] == {"examples": 2, "questions": 2, "left_out": 1}
    assert read_text(out, "test.de") == [QUESTION]
    assert len(data_utils.load_indexed_dataset(str(out / "input0/train"), None)) == 2


@pytest.mark.parametrize(
    "split, questions, message",
    [
        ("test.de", [QUESTION, WRONG], "test.de: the id q appears twice"),
        ("test.de", [WRONG], "test.de: question q: the answer 'la' is not at answer_start 8, where 'il' is"),
        ("train", [WRONG], "train: no answer is where it is said to be; question q: the answer 'la'"),
        ("train", [Question("q", "Mo?", "\u200b", [Answer(0, "\u200b")])], "the context of question q has nothing"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_used_are_rejected(split, questions, message, encoder, tmp_path):
    with pytest.raises(UsageError, match=message):
        binarise({split: questions}, *encoder, Lengths(), tmp_path)


def test_text_of_another_kind_is_rejected(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text/test.de.json").write_text(json.dumps(asked.squad([])))
    with pytest.raises(UsageError, match="test.de.json was not made by fairseq-intra prepare-transfer"):
        read_text(tmp_path, "test.de")
