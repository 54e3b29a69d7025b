"""Folders of evaluated runs, as `fairseq-intra evaluate` leaves them, without a training."""

import dataclasses
import json

import corpus
import sacrebleu

from fairseq_intra.runs.evaluation import Evaluation

REFERENCE = [target for _, target in corpus.sentences(40, seed=7)]
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"


def spoilt(share):
    """Hypotheses of which every `share`-th has lost its last words."""
    return [" ".join(line.split()[:3]) if number % share == 0 else line for number, line in enumerate(REFERENCE)]


def evaluated(folder, method="plain", source="de", share=2, name="checkpoint_best.test", **more):
    """The folder of an evaluated run."""
    folder.mkdir(parents=True, exist_ok=True)
    hypotheses = spoilt(share)
    content = dict.fromkeys((field.name for field in dataclasses.fields(Evaluation)), 0) | {
        "format": 2,
        "dataset": f"{source}-en",
        "source": source,
        "target": "en",
        "split": "test",
        "method": method,
        "bleu": {"score": sacrebleu.corpus_bleu(hypotheses, [REFERENCE]).score, "signature": SIGNATURE},
        "hypotheses": f"{name}.hyp",
        "reference": f"{name}.ref",
        "reference_sha256": "aa",
    }
    (folder / f"{name}.json").write_text(json.dumps(content | more))
    for ending, text in (("hyp", hypotheses), ("ref", REFERENCE)):
        (folder / f"{name}.{ending}").write_text("".join(f"{line}\n" for line in text))
    return folder
