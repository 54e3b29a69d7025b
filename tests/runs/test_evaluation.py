"""From fairseq-generate's output to a record, and the record's files."""

import dataclasses
import fcntl
import threading
from pathlib import Path

import pytest
import sacrebleu
from evaluated_runs import REFERENCE, digest, evaluated, spoilt
from waiting import wait_for

from fairseq_intra.errors import UsageError
from fairseq_intra.runs import evaluation
from fairseq_intra.runs.evaluation import Evaluation, model_name, record_name
from fairseq_intra.runs.generation import read_nbest


def generated(folder, texts, order=None):
    """A file as fairseq-generate writes it: in an order of its own, with sources and scores in between."""
    lines = []
    for number in order or range(len(texts)):
        lines += [f"S-{number}\tx", f"H-{number}\t-0.5\tx", f"D-{number}\t-0.5\t{texts[number]}"]
        lines += [f"P-{number}\t-0.5000 -0.2500 -0.1250"]
    path = folder / "generate-test.txt"
    text = "".join(f"{line}\n" for line in [*lines, "Generate test with beam=5: BLEU4 = 0.00"])
    path.write_text(text, encoding="utf-8")
    return path


def test_hypotheses_come_in_the_order_of_the_split(tmp_path):
    texts = ["first", "", "third\u2028with\x85odd breaks", "D-9\tlooks like one", *map(str, range(4, 12))]
    path = generated(tmp_path, texts, order=[10, 2, 0, 11, 3, 1, 9, 4, 8, 5, 7, 6])
    found = [(entry.text, entry.length) for (entry,) in read_nbest(path)]
    assert found == [(text, 3) for text in texts]


def test_several_hypotheses_stay_in_their_order(tmp_path):
    path = tmp_path / "nbest"
    texts = {"best of 1": 1, "worse of 1": 1, "best of 0": 0, "worse of 0": 0}
    path.write_text("".join(f"D-{number}\t-0.1\t{text}\nP-{number}\t-1\n" for text, number in texts.items()))
    found = [[entry.text for entry in entries] for entries in read_nbest(path)]
    assert found == [["best of 0", "worse of 0"], ["best of 1", "worse of 1"]]


@pytest.mark.parametrize(
    "content", ["D-0\t-1\ta\nP-0\t-1\nD-2\t-1\tb\nP-2\t-1\n", "D-1\t-1\tb\nP-1\t-1\n", "D-0\t-1\tb\nP-0"]
)
def test_missing_hypotheses_are_noticed(tmp_path, content):
    (tmp_path / "cut").write_text(content)
    with pytest.raises(UsageError, match="lacks hypotheses"):
        read_nbest(tmp_path / "cut")


@pytest.mark.parametrize("stem", ["checkpoint_best", "x" * 200, "ä" * 100])
def test_the_name_of_an_ensemble_leaves_room_for_that_of_an_unfinished_file(stem):
    names = [model_name([Path(f"{stem}.pt")] * count) for count in (1, 8, 9)]
    assert len(set(names)) == 3 and names[2].startswith(stem[:15])
    longest = record_name(names[2], "wmt21/allowed-unsupervised", True)
    assert len(f".{longest}.unscored.hyp.{'h' * 64}.4194304.partial".encode()) <= 255


def test_names_of_models_that_are_no_longer_than_a_file_s_stay_as_they_are():
    seven = [Path(f"run{number}/checkpoint_best.pt") for number in range(7)]
    assert model_name(seven) == "+".join(["checkpoint_best"] * 7)
    of_nine = [[Path(f"checkpoint_{number}_of_a_long_run.pt") for number in range(n, n + 9)] for n in (0, 0, 1)]
    same, again, other = map(model_name, of_nine)
    assert same == again != other


def test_of_two_evaluations_at_once_one_stays_whole(tmp_path, monkeypatch):
    """The second comes when the first has written its texts, but not its record, and waits until it has."""
    path = evaluated(tmp_path / "run", share=5) / "checkpoint_best.test.json"
    second = threading.Thread(target=write, args=(path, 3), daemon=True)
    waiting = threading.Event()
    write_record = evaluation.write_record

    def write_record_of_first(*arguments):
        monkeypatch.setattr(evaluation, "write_record", write_record)
        second.start()
        wait_for(lambda: waiting.is_set() or not second.is_alive())
        assert waiting.is_set() and path.with_suffix(".hyp").read_text() == evaluation.join(spoilt(2))
        write_record(*arguments)

    monkeypatch.setattr(evaluation, "write_record", write_record_of_first)
    monkeypatch.setattr(fcntl, "flock", telling_flock(waiting))
    write(path, 2)
    second.join(60)
    last = Evaluation.read(path)
    assert last.hypotheses_sha256 == digest(spoilt(3)) and last.sentence_statistics(path)
    assert len(list(path.parent.iterdir())) == 3


def telling_flock(waiting):
    """flock that sets an event before it waits for somebody else's lock."""
    flock = fcntl.flock

    def tell(file, operation):
        try:
            flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting.set()
            flock(file, operation)

    return tell


def write(path, share):
    """Writes the evaluation anew with other hypotheses."""
    hypotheses, record = spoilt(share), Evaluation.read(path)
    score = {**record.bleu, "score": sacrebleu.corpus_bleu(hypotheses, [REFERENCE]).score}
    mine = dataclasses.replace(record, bleu=score, hypotheses_sha256=digest(hypotheses))
    mine.write(path, hypotheses, REFERENCE)
