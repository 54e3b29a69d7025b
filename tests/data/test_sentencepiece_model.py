"""fairseq_intra/data/sentencepiece_model.py: lines that SentencePiece by itself leaves out of its training."""

import io

import corpus
import pytest
import sentencepiece

from fairseq_intra.data import sentencepiece_model
from fairseq_intra.errors import UsageError


def model_of(tmp_path, lines):
    (tmp_path / "train").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    made = sentencepiece_model.train([tmp_path / "train"], 40, 1.0)
    return made, sentencepiece.SentencePieceProcessor(model_proto=made)


def test_long_lines_are_learned_from(tmp_path):
    """A script that only lines of over SentencePiece's 4,192 bytes have is in the model all the same."""
    short = [pair[0] for pair in corpus.sentences(200, seed=6)]
    made, model = model_of(tmp_path, [*short, "αβγδ " * 600])
    assert model.unk_id() not in model.encode("αβγδ")
    assert model_of(tmp_path, short)[0] != made


def test_lines_beyond_every_limit_are_counted(tmp_path, capsys):
    model_of(tmp_path, [*[pair[0] for pair in corpus.sentences(200, seed=6)], "αβγδ " * 9000])
    assert "1 lines of over 65536 bytes are left out of the SentencePiece model's training" in capsys.readouterr().err


def test_lines_longer_than_the_positions_of_a_model_are_reported(tmp_path, capsys):
    lines = [pair[0] for pair in corpus.sentences(200, seed=6)]
    (tmp_path / "joint.model").write_bytes(model_of(tmp_path, lines)[0])
    (tmp_path / "text").write_text(
        "\n".join([lines[0], "ab " * 1100, lines[1], "ba " * 1100]) + "\n", encoding="utf-8"
    )
    sentencepiece_model.encode(tmp_path / "joint.model", tmp_path / "text", tmp_path / "encoded", 1)
    assert f"{tmp_path}/text: 2 lines, the first is line 2, have more subwords than" in capsys.readouterr().err
    assert len(corpus.lines(tmp_path / "encoded")) == 4


def test_what_the_model_does_not_know_is_its_unknown_symbol(tmp_path, capsys):
    """SentencePiece's own text of it would become a type of the dictionary, which the model hardly meets."""
    lines = [pair[0] for pair in corpus.sentences(200, seed=6)]
    (tmp_path / "joint.model").write_bytes(model_of(tmp_path, lines)[0])
    (tmp_path / "text").write_text(f"{lines[0]}\n{lines[0]} 漢字かな {lines[1]}\n", encoding="utf-8")
    sentencepiece_model.encode(tmp_path / "joint.model", tmp_path / "text", tmp_path / "encoded", 1)
    known, unknown = (line.split() for line in corpus.lines(tmp_path / "encoded"))
    assert unknown[: len(known)] == known and "<unk>" not in known
    assert unknown.count("<unk>") == 1 and not any("漢" in piece for piece in unknown)
    counted = (
        f"{tmp_path}/text: 1 of {len(known) + len(unknown)} subwords are unknown to the SentencePiece model, as 漢"
    )
    assert counted in capsys.readouterr().err


def test_too_little_text_is_named_by_what_made_it_little(tmp_path):
    texts = [tmp_path / "text"]
    texts[0].write_text("".join(f"{pair[0]}\n" for pair in corpus.sentences(50, seed=6)), encoding="utf-8")
    with pytest.raises(UsageError, match="train is too little text for --vocab-size 9000; the largest possible is"):
        sentencepiece_model.train(texts, 9000, 1.0)
    with pytest.raises(UsageError, match="--spm-lines 10 of train are too little text for --vocab-size 9000"):
        sentencepiece_model.train(texts, 9000, 1.0, 10)


def test_other_text_gives_the_same_model_as_ever(tmp_path):
    lines = [pair[0] for pair in corpus.sentences(200, seed=6)]
    own = io.BytesIO()
    flags = {"vocab_size": 40, "character_coverage": 1.0, "num_threads": sentencepiece_model.TRAINING_THREADS}
    flags |= {"input_sentence_size": 0, "shuffle_input_sentence": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=own, **flags)
    assert model_of(tmp_path, lines)[0] == own.getvalue()
