"""`fairseq-intra evaluate`: a trained model translates a split or a WMT set, and sacreBLEU scores it."""

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from fairseq.data import Dictionary

from .. import checkpoint as checkpoints
from ..console import say
from ..errors import UsageError
from ..files import read_lines, write_text
from ..patches import dictionary_checksum
from ..translation.search import MAX_LEN, Limits, Search
from ..user_dir import PACKAGE
from . import ctranslate2_decoding
from .ctranslate2_decoding import Decoded
from .dataset import Dataset, read_dataset
from .decoding_input import DecodingInput, split_input, text_input
from .evaluation import FORMAT, Evaluation, Training, join
from .generation import generate, read_hypotheses, settings_of
from .scoring import bleu, score_all, sentence_statistics, tokenizer_of
from .wmt_sets import reference_file, source_file


@dataclass(frozen=True)
class Request:
    """What is asked for; see `fairseq-intra evaluate --help`."""

    checkpoints: list[Path]  #: several are an ensemble
    data: Path
    split: str  #: valid, test, or sacreBLEU's name of a WMT set
    wmt: bool
    metrics: tuple[str, ...]
    beam: int
    lenpen: float
    max_tokens: int
    output: Path  #: OUTPUT.json, .hyp and .ref are written
    tokenize: str | None
    confidence: bool
    truncate_source: bool
    engine: str  #: fairseq or ctranslate2
    passed: list[str]  #: fairseq-generate's other flags


def evaluate(request: Request) -> Evaluation:
    """Checks, translates, scores and records.

    Raises:
        UsageError: if a file is missing or was changed, a flag cannot be passed, or fairseq-generate fails.
    """
    dataset = read_dataset(request.data)
    tokenize = request.tokenize or tokenizer_of(dataset.target)
    bleu(tokenize)
    source, reference = _texts(request, dataset)
    states = [checkpoints.load(path) for path in request.checkpoints]
    about = _about(request, dataset, states)
    with tempfile.TemporaryDirectory(prefix="fairseq_intra.") as folder:
        scratch = Path(folder)
        limits = _limits(states)
        # The parameters are the other process's business: their memory is free from here on.
        del states
        by_engine = _by_ctranslate2 if request.engine == "ctranslate2" else _by_fairseq
        decoding, decoded = by_engine(request, dataset, source, limits, scratch)
    with _kept_if_scoring_fails(request.output, decoded.hypotheses):
        found = _scored(request, dataset, tokenize, decoded.hypotheses, read_lines(reference))
        record = Evaluation(
            format=FORMAT,
            **about,
            **found,
            decoding=decoding,
            truncated=decoded.truncated,
            at_length_limit=_at_limit(decoded.lengths, decoded.sizes, decoding, limits[1]),
        )
        record.write(
            request.output.with_name(f"{request.output.name}.json"), decoded.hypotheses, read_lines(reference)
        )
    return record


def _texts(request, dataset) -> tuple[Path, Path]:
    """The files of source and reference, checked."""
    if request.wmt:
        if dataset.lowercase:
            raise UsageError(f"{dataset.folder} was lowercased, and WMT's sets are scored as they are written")
        dataset.check(*dataset.dictionaries(), "spm/joint.model")
        return source_file(request.split, dataset.pair), reference_file(request.split, dataset.pair)
    dataset.check_split(request.split)
    raw = dataset.folder / "raw"
    return raw / f"{request.split}.{dataset.source}", raw / f"{request.split}.{dataset.target}"


def _about(request: Request, dataset: Dataset, states: list[dict]) -> dict:
    """What the record says of the model and its data."""
    trainings = [checkpoints.training(state) for state in states]
    methods = {training.method for training in trainings}
    return {
        "dataset": dataset.folder.absolute().name,
        "corpus": dataset.corpus,
        "source": dataset.source,
        "target": dataset.target,
        "lowercase": dataset.lowercase,
        "split": request.split,
        "method": trainings[0].method if len(methods) == 1 else "mixed",
        "seed": trainings[0].seed,
        "num_updates": trainings[0].num_updates,
        "checkpoint": ":".join(path.name for path in request.checkpoints),
        "kind": _kind(request.checkpoints, states),
        "dictionary": _check_dictionaries(request.checkpoints, dataset, states),
        "training": _training(states[0]),
        "engine": request.engine,
    }


def _kind(paths, states):
    if len(paths) > 1:
        return f"ensemble of {len(paths)}"
    averaged, name = states[0].get("averaged_checkpoints"), paths[0].stem
    if averaged:
        return f"average of {len(averaged)}"
    if name in ("checkpoint_best", "checkpoint_last"):
        return name.removeprefix("checkpoint_")
    return "numbered" if name.startswith("checkpoint") and name[10:].strip("_0123456789") == "" else "other"


def _check_dictionaries(paths, dataset, states):
    files = [dataset.folder / name for name in dataset.dictionaries()]
    symbols = dict(zip(("source", "target"), (Dictionary.load(str(file)).symbols for file in files), strict=True))
    known = [
        dictionary_checksum.check(path, dictionary_checksum.stored_in(state), symbols)
        for path, state in zip(paths, states, strict=True)
    ]
    for path, found in zip(paths, known, strict=True):
        if not found:
            say(f"{path} {dictionary_checksum.UNKNOWN}")
    return "checked" if all(known) else "unchecked"


def _training(state) -> Training:
    cfg = state["cfg"]
    batches = cfg.optimization.update_freq[0] * cfg.distributed_training.distributed_world_size
    tokens, sentences = cfg.dataset.max_tokens, cfg.dataset.batch_size
    seconds = (state.get("extra_state") or {}).get("previous_training_time")
    return {
        "batch_tokens": tokens and tokens * batches,
        "batch_sentences": sentences and sentences * batches,
        "max_update": cfg.optimization.max_update,
        "max_epoch": cfg.optimization.max_epoch,
        "patience": cfg.checkpoint.patience,
        "stop_time_hours": float(cfg.optimization.stop_time_hours),
        "seconds": None if seconds is None else float(seconds),
    }


def _limits(states) -> tuple[int, int]:
    """The smallest --max-source-positions and --max-target-positions of the models."""
    return tuple(
        min(int(getattr(state["cfg"].model, f"max_{side}_positions", None) or 1 << 30) for state in states)
        for side in ("source", "target")
    )


def _by_fairseq(request, dataset, source, limits, scratch) -> tuple[dict, Decoded]:
    """(settings of the search, what fairseq-generate translates)."""
    if request.wmt:
        given = text_input(dataset, source, read_lines(source), limits[0], request.truncate_source, scratch)
    else:
        given = split_input(dataset, request.split, limits, request.truncate_source, scratch)
    decoding, generated = _translate(request, dataset, given, scratch)
    hypotheses, lengths = read_hypotheses(generated)
    return decoding, Decoded(hypotheses, lengths, given.sizes.tolist(), given.truncated)


def _by_ctranslate2(request, dataset, source, limits, scratch) -> tuple[dict, Decoded]:
    """(settings of the search, what CTranslate2 translates)."""
    dataset.check("spm/joint.model")
    search = Search(request.beam, request.lenpen, batch_tokens=request.max_tokens)
    say(f"translating {request.split} with {request.checkpoints[0]} by CTranslate2")
    decoded = ctranslate2_decoding.translate(
        request.checkpoints[0], dataset, source, search, Limits(*limits), request.truncate_source, scratch
    )
    named = {"beam": request.beam, "lenpen": request.lenpen, "max_tokens": request.max_tokens}
    return named | {"max_len_a": MAX_LEN[0], "max_len_b": MAX_LEN[1], "flags": {}}, decoded


def _translate(request: Request, dataset: Dataset, given: DecodingInput, scratch: Path) -> tuple[dict, Path]:
    """(settings of the search, fairseq-generate's output)."""
    cpu = not torch.cuda.is_available()
    arguments = [str(given.folder), "--user-dir", str(PACKAGE), *(["--cpu"] if cpu else [])]
    arguments += ["--path", os.pathsep.join(map(str, request.checkpoints)), "--gen-subset", given.subset]
    arguments += ["--source-lang", dataset.source, "--target-lang", dataset.target]
    arguments += [
        "--beam",
        str(request.beam),
        "--lenpen",
        str(request.lenpen),
        "--max-tokens",
        str(request.max_tokens),
    ]
    arguments += ["--post-process", "sentencepiece", "--no-progress-bar", *given.flags]
    if not any(word.startswith(("--max-len-a", "--max-len-b")) for word in request.passed):
        arguments += ["--max-len-a", str(MAX_LEN[0]), "--max-len-b", str(MAX_LEN[1])]
    decoding = settings_of(arguments, request.passed)
    say(f"translating {request.split} with {', '.join(map(str, request.checkpoints))}")
    generate([*arguments, *request.passed], scratch / "generated", len(given.sizes), cpu)
    return decoding, scratch / "generated"


def _at_limit(lengths, sizes, decoding, model_limit):
    """How many hypotheses are as long as the limit of their source allows (fairseq/sequence_generator.py)."""
    limits = [int(decoding["max_len_a"] * size + decoding["max_len_b"]) for size in sizes]
    return sum(length >= min(limit, model_limit - 1) for length, limit in zip(lengths, limits, strict=False))


def _scored(request, dataset, tokenize, hypotheses, reference):
    if len(hypotheses) != len(reference):
        raise UsageError(f"{request.engine} made {len(hypotheses)} hypotheses for {len(reference)} references")
    rows = sentence_statistics(hypotheses, reference, tokenize)
    return score_all(hypotheses, reference, request.metrics, tokenize, request.confidence) | {
        "tokenize": tokenize,
        "statistics": [" ".join(map(str, row)) for row in rows],
        "sentences": len(hypotheses),
        "hypotheses": f"{request.output.name}.hyp",
        "hypotheses_sha256": _digest(hypotheses),
        "reference": f"{request.output.name}.ref",
        "reference_sha256": _digest(reference),
        "versions": {name: version(name) for name in ("sacrebleu", request.engine.replace("fairseq", "torch"))},
    }


def _digest(lines):
    return hashlib.sha256(join(lines).encode()).hexdigest()


@contextlib.contextmanager
def _kept_if_scoring_fails(output, hypotheses):
    """Decoding may have taken hours: its translations stay, whatever becomes of their score."""
    try:
        yield
    except BaseException:
        kept = output.with_name(f"{output.name}.unscored.hyp")
        with contextlib.suppress(OSError):
            write_text(kept, join(hypotheses))
            say(f"the translations are kept in {kept}")
        raise
