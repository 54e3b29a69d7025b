"""Folders of evaluated runs, as `fairseq-intra evaluate` leaves them, without a training."""

import dataclasses
import hashlib
import json

import corpus
import sacrebleu

from fairseq_intra.runs.evaluation import FORMAT, Evaluation
from fairseq_intra.runs.scoring import sentence_statistics

REFERENCE = [target for _, target in corpus.sentences(40, seed=7)]
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
TRAINING = {
    "batch_tokens": 4096,
    "batch_sentences": None,
    "max_update": 100,
    "max_epoch": 0,
    "patience": -1,
    "stop_time_hours": 0.0,
    "seconds": 60.0,
}
HYPERPARAMETERS = {"architecture": "transformer", "dropout": "0.3", "lr": "[0.0005]"}
SETTINGS = {"num_iter": "3", "alpha": "5", "plain_updates": "0"}
#: Of a run whose length penalty was tuned.
TUNING = {"split": "valid", "grid": [1.0, 1.2], "bleu": [9.0, 9.5], "chosen": 1.2}
DECODING = {"beam": 5, "lenpen": 1.0, "max_tokens": 8000, "max_len_a": 1.0, "max_len_b": 200, "flags": {}}


def spoilt(share):
    """Hypotheses of which every `share`-th has lost its last words."""
    return [" ".join(line.split()[:3]) if number % share == 0 else line for number, line in enumerate(REFERENCE)]


def evaluated(folder, method="plain", source="de", share=2, name="checkpoint_best.test", **more):
    """The folder of an evaluated run."""
    folder.mkdir(parents=True, exist_ok=True)
    hypotheses = spoilt(share)
    texts = {"hyp": hypotheses, "ref": REFERENCE}
    content = {
        "format": FORMAT,
        "dataset": f"{source}-en",
        "source": source,
        "target": "en",
        "split": "test",
        "method": method,
        "seed": 0,
        "num_updates": 100,
        "checkpoint": "checkpoint_best.pt",
        "bleu": {"score": sacrebleu.corpus_bleu(hypotheses, [REFERENCE]).score, "signature": SIGNATURE},
        "chrf": None,
        "ter": None,
        "decoding": DECODING,
        "sentences": len(REFERENCE),
        "hypotheses": f"{name}.hyp",
        "hypotheses_sha256": digest(hypotheses),
        "reference": f"{name}.ref",
        "reference_sha256": digest(REFERENCE),
        "versions": {"sacrebleu": "2.6.0"},
        "corpus": f"{source}-en",
        "trained_on": f"{source}-en",
        "lowercase": False,
        "tokenize": "13a",
        "engine": "fairseq",
        "kind": "best",
        "dictionary": "checked",
        "training": TRAINING,
        "hyperparameters": HYPERPARAMETERS | (SETTINGS if method != "plain" else {}),
        "before_switch": None,
        "run": "run",
        "unfinished": False,
        "fingerprint": None,
        "at_length_limit": 0,
        "truncated": 0,
        "tuning": None,
        "statistics": [" ".join(map(str, row)) for row in sentence_statistics(hypotheses, REFERENCE, "13a")],
    }
    assert set(content) == {field.name for field in dataclasses.fields(Evaluation)}
    (folder / f"{name}.json").write_text(json.dumps(content | more))
    for ending, text in texts.items():
        (folder / f"{name}.{ending}").write_text("".join(f"{line}\n" for line in text))
    return folder


def digest(lines):
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def of_format_2(path):
    """Makes a record one as it was written before format 3."""
    record = json.loads(path.read_text())
    later = [field.name for field in dataclasses.fields(Evaluation) if field.default is None]
    old = {name: value for name, value in record.items() if name not in later} | {"format": 2}
    path.write_text(json.dumps(old | {"decoding": {"beam": 5, "lenpen": 1.0, "flags": ""}}))
