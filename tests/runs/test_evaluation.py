"""fairseq_intra/evaluation.py: from fairseq-generate's output to scores that tell how they were made."""

import dataclasses
import hashlib
import json
import shutil

import corpus
import pytest
import sacrebleu

from fairseq_intra.errors import UsageError
from fairseq_intra.runs import evaluation
from fairseq_intra.runs.evaluation import Evaluation

DECODING = {"beam": 5, "lenpen": 1.0}


def generated(folder, texts, order=None):
    """A file as fairseq-generate writes it: in an order of its own, with sources and scores in between."""
    lines = []
    for number in order or range(len(texts)):
        lines += [
            f"S-{number}\tx",
            f"H-{number}\t-0.5\t▁x",
            f"D-{number}\t-0.5\t{texts[number]}",
            f"P-{number}\t-0.5",
        ]
    path = folder / "generate-test.txt"
    path.write_text(
        "".join(f"{line}\n" for line in [*lines, "Generate test with beam=5: BLEU4 = 0.00"]), encoding="utf-8"
    )
    return path


def test_hypotheses_come_in_the_order_of_the_split(tmp_path):
    texts = ["first", "", "third\u2028with\x85odd breaks", "D-9\tlooks like one", *map(str, range(4, 12))]
    path = generated(tmp_path, texts, order=[10, 2, 0, 11, 3, 1, 9, 4, 8, 5, 7, 6])
    assert evaluation.read_hypotheses(path) == texts


def test_of_several_hypotheses_the_best_counts(tmp_path):
    path = tmp_path / "nbest"
    path.write_text("D-1\t-0.1\tbest of 1\nD-1\t-0.2\tworse\nD-0\t-0.1\tbest of 0\nD-0\t-0.2\tworse\n")
    assert evaluation.read_hypotheses(path) == ["best of 0", "best of 1"]


@pytest.mark.parametrize("content", ["D-0\t-1\ta\nD-2\t-1\tb\n", "D-1\t-1\tb\n", "D-1\t-1\tb\nD-0\t-1"])
def test_missing_hypotheses_are_noticed(tmp_path, content):
    (tmp_path / "cut").write_text(content)
    with pytest.raises(UsageError, match="lacks hypotheses"):
        evaluation.read_hypotheses(tmp_path / "cut")


def test_scores_come_with_all_that_decided_them(dataset, trained, tmp_path):
    reference = corpus.lines(dataset / "raw" / "test.en")
    hypotheses = [*reference[:5], *("wrong " + line for line in reference[5:])]
    path = generated(tmp_path, hypotheses, order=range(9, -1, -1))
    made = evaluation.evaluate(path, dataset, "test", trained.checkpoint, DECODING, tmp_path / "model.test")
    assert Evaluation.read(tmp_path / "model.test.json") == made
    assert corpus.lines(tmp_path / "model.test.hyp") == hypotheses
    assert corpus.lines(tmp_path / "model.test.ref") == reference
    assert made.bleu == {
        "score": pytest.approx(sacrebleu.corpus_bleu(hypotheses, [reference]).score),
        "signature": f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}",
    }
    assert 50 < made.bleu["score"] < 100
    assert made.chrf["score"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [reference]).score)
    assert made.ter is None and made.dataset == dataset.name
    about = (made.source, made.target, made.split, made.method, made.seed, made.num_updates, made.sentences)
    assert about == ("de", "en", "test", "intra", 1, 20, 10)
    assert made.checkpoint == "checkpoint_last.pt" and made.decoding == DECODING
    assert made.reference_sha256 == hashlib.sha256((dataset / "raw" / "test.en").read_bytes()).hexdigest()


def test_what_does_not_belong_together_is_refused(dataset, trained, tmp_path):
    output = tmp_path / "out"
    path = generated(tmp_path, ["one", "two"])
    with pytest.raises(UsageError, match=r"holds 2 hypotheses, .*test\.en 10 references"):
        evaluation.evaluate(path, dataset, "test", trained.checkpoint, DECODING, output)
    with pytest.raises(UsageError, match=r"cannot read .*text\.en: No such file"):
        evaluation.evaluate(path, dataset, "text", trained.checkpoint, DECODING, output)
    with pytest.raises(UsageError, match="is not a prepared dataset: no manifest.json"):
        evaluation.evaluate(path, tmp_path, "test", trained.checkpoint, DECODING, output)
    for metrics in (("chrf",), ("bleu", "meteor")):
        with pytest.raises(UsageError, match=f"metrics must be bleu, .* not '{' '.join(metrics)}'"):
            evaluation.evaluate(path, dataset, "test", trained.checkpoint, DECODING, output, metrics)
    shutil.copytree(dataset, tmp_path / "data")
    (tmp_path / "data" / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match="manifest.json is damaged"):
        evaluation.evaluate(path, tmp_path / "data", "test", trained.checkpoint, DECODING, output)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "cannot read .*: No such file"),
        ("{", "is not JSON"),
        ("[1]", "is not an evaluation"),
        ('{"format": 2}', "is not an evaluation"),
    ],
)
def test_a_file_that_is_no_evaluation_is_named(tmp_path, content, named):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=named):
        Evaluation.read(path)


def test_an_evaluation_of_another_format_is_refused(tmp_path):
    names = [field.name for field in dataclasses.fields(Evaluation)]
    (tmp_path / "run.json").write_text(json.dumps(dict.fromkeys(names, 0) | {"format": 1}))
    with pytest.raises(UsageError, match="is not an evaluation that scripts/evaluate.sh wrote .format 2."):
        Evaluation.read(tmp_path / "run.json")
