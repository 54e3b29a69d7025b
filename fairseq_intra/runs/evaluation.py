"""What one evaluated checkpoint leaves behind: hypotheses, reference and scores, and how they were made."""

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF, TER

from ..checkpoint import load, training
from ..errors import UsageError
from ..files import read_lines, read_record, write_record, write_text
from .wmt_sets import is_wmt_set, reference_file

FORMAT = 2
METRICS = {"bleu": BLEU, "chrf": CHRF, "ter": TER}


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint scored on one split. Written as JSON; the texts lie beside it under the names given here."""

    format: int
    dataset: str  #: the name of its folder
    source: str
    target: str
    split: str  #: valid, test, or sacreBLEU's name of a WMT set
    method: str
    seed: int
    num_updates: int
    checkpoint: str
    bleu: dict  #: score and sacreBLEU's signature
    chrf: dict | None  #: the same, None where not asked for
    ter: dict | None
    decoding: dict  #: the flags that decided the search
    sentences: int
    hypotheses: str
    reference: str
    reference_sha256: str
    versions: dict

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Reads the JSON file that :func:`evaluate` wrote.

        Raises:
            UsageError: if it is not there or not such a file.
        """
        return read_record(cls, path, FORMAT, "an evaluation that scripts/evaluate.sh wrote")


def evaluate(
    generated: Path,
    data: Path,
    split: str,
    checkpoint: Path,
    decoding: dict,
    output: Path,
    metrics: tuple[str, ...] = ("bleu", "chrf"),
) -> Evaluation:
    """Scores the output of fairseq-generate against the raw reference of a prepared dataset, or of a WMT set.

    Args:
        generated: fairseq-generate's or -interactive's output; its D lines hold the detokenised hypotheses.
        data: folder made by data-prep/ (manifest.json, raw/).
        split: the split generated from, or the WMT set by sacreBLEU's name.
        checkpoint: the model's file, read for how it was trained.
        decoding: search settings, to be recorded.
        output: OUTPUT.json, OUTPUT.hyp and OUTPUT.ref are written, the JSON last.
        metrics: names out of METRICS; bleu must be one.

    Raises:
        UsageError: if a file is missing or damaged, or the number of hypotheses is not that of references.
    """
    if "bleu" not in metrics or not set(metrics) <= set(METRICS):
        raise UsageError(f"metrics must be bleu, and with it any of chrf and ter, not '{' '.join(metrics)}'")
    manifest = read_manifest(data)
    pair = f"{manifest['source']}-{manifest['target']}"
    in_data = data / "raw" / f"{split}.{manifest['target']}"
    reference_path = reference_file(split, pair) if is_wmt_set(split) else in_data
    reference = read_lines(reference_path)
    hypotheses = read_hypotheses(generated)
    if len(hypotheses) != len(reference):
        raise UsageError(
            f"{generated} holds {len(hypotheses)} hypotheses, {reference_path} {len(reference)} references"
        )
    method, seed, num_updates = training(load(checkpoint))
    text = _join(reference)
    scores = {
        name: _score(metric(), hypotheses, reference) if name in metrics else None for name, metric in METRICS.items()
    }
    result = Evaluation(
        format=FORMAT,
        dataset=data.absolute().name,
        source=manifest["source"],
        target=manifest["target"],
        split=split,
        method=method,
        seed=seed,
        num_updates=num_updates,
        checkpoint=checkpoint.name,
        **scores,
        decoding=decoding,
        sentences=len(hypotheses),
        hypotheses=f"{output.name}.hyp",
        reference=f"{output.name}.ref",
        reference_sha256=hashlib.sha256(text.encode()).hexdigest(),
        versions={name: version(name) for name in ("sacrebleu", "torch")},
    )
    write_text(output.with_name(result.hypotheses), _join(hypotheses))
    write_text(output.with_name(result.reference), text)
    write_record(output.with_name(f"{output.name}.json"), result)
    return result


def read_manifest(data: Path) -> dict:
    """What the manifest.json of a dataset that data-prep/ finished says of its text."""
    path = data / "manifest.json"
    if not path.is_file():
        raise UsageError(f"{data} is not a prepared dataset: no manifest.json (see data-prep/)")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        lowercase = manifest.get("settings", {}).get("lowercase", False)
        return {"source": manifest["source"], "target": manifest["target"], "lowercase": lowercase}
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is damaged; make the dataset again with data-prep/") from None


def read_hypotheses(generated: Path) -> list[str]:
    """The detokenised hypotheses (D lines) of fairseq-generate, of every sentence the best, in the split's order."""
    hypotheses = {}
    for line in read_lines(generated):
        found = re.fullmatch(r"D-(\d+)\t[^\t]+\t(.*)", line, re.DOTALL)
        if found:
            hypotheses.setdefault(int(found[1]), found[2])
    if sorted(hypotheses) != list(range(len(hypotheses))):
        raise UsageError(f"{generated} lacks hypotheses: was the generation cut short?")
    return [hypotheses[number] for number in range(len(hypotheses))]


def _score(metric, hypotheses, reference):
    score = metric.corpus_score(hypotheses, [reference]).score
    return {"score": score, "signature": str(metric.get_signature())}


def _join(lines):
    return "".join(f"{line}\n" for line in lines)
