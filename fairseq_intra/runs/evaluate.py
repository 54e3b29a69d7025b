"""`fairseq-intra evaluate`: a trained model translates a split or a WMT set, and sacreBLEU scores it."""

import contextlib
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .. import checkpoint as checkpoints
from ..console import say
from ..errors import UsageError
from ..files import read_lines, write_text
from ..run_fairseq import word_of
from ..translation.search import Limits, Search
from ..user_dir import PACKAGE
from . import ctranslate2_decoding
from .ctranslate2_decoding import Decoded
from .dataset import Dataset, read_dataset
from .decoding_input import DecodingInput, split_input, text_input
from .evaluated_model import about_model, position_limits
from .evaluation import FORMAT, Evaluation, join
from .generation import generate, read_hypotheses, read_nbest, settings_of
from .length_penalty import DEFAULT, Tuning, choose, shown
from .scored_texts import score_texts, texts_to_score
from .scoring import bleu, tokenizer_of
from .wmt_sets import reference_file, source_file

#: fairseq's default for --max-len-a and --max-len-b, with which published scores were made.
MAX_LEN = (0.0, 200)


@dataclass(frozen=True)
class Request:
    """What is asked for; see `fairseq-intra evaluate --help`."""

    checkpoints: list[Path]  #: several are an ensemble
    data: Path
    split: str  #: valid, test, or sacreBLEU's name of a WMT set
    wmt: bool
    metrics: tuple[str, ...]
    beam: int
    lenpen: float | None  #: None: the one that is best on valid
    max_tokens: int
    output: Path  #: OUTPUT.json, .hyp and .ref are written
    tokenize: str | None
    confidence: bool
    truncate_source: bool
    engine: str  #: fairseq or ctranslate2
    passed: list[str]  #: fairseq-generate's other flags


def evaluate(request: Request) -> list[Evaluation]:
    """Checks, translates, scores and records; of tokenised text there are two records, see `scored_texts`.

    Raises:
        UsageError: if a file is missing or was changed, a flag cannot be passed, or fairseq-generate fails.
    """
    dataset = read_dataset(request.data)
    tokenize = request.tokenize or ("none" if dataset.tokenized else tokenizer_of(dataset.target))
    bleu(tokenize)
    source, reference = _texts(request, dataset)
    if request.lenpen is None:
        dataset.check_split("valid")
    _check_nothing_is_lost(request.output, dataset)
    evaluated = _identities(request.checkpoints)
    states = [checkpoints.load(path) for path in request.checkpoints]
    about = about_model(request.checkpoints, dataset, states) | {"split": request.split, "engine": request.engine}
    with tempfile.TemporaryDirectory(prefix="fairseq_intra.") as folder:
        scratch = Path(folder)
        limits = position_limits(states)
        # The parameters are the other process's business: their memory is free from here on.
        del states
        tuning = None
        if request.lenpen is None:
            tuning = _tuned(request, dataset, tokenize, limits, scratch)
            request = replace(request, lenpen=tuning["chosen"])
        by_engine = _by_ctranslate2 if request.engine == "ctranslate2" else _by_fairseq
        decoding, decoded = by_engine(request, dataset, source, limits, scratch)
        _check_same(request.checkpoints, evaluated)
    with _kept_if_scoring_fails(request.output, decoded.hypotheses):
        limit = _at_limit(decoded.lengths, decoded.sizes, decoding, limits[1])
        more = {"decoding": decoding, "tuning": tuning, "truncated": decoded.truncated, "at_length_limit": limit}
        texts = texts_to_score(dataset, request.output, decoded.hypotheses, read_lines(reference), tokenize)
        return [_write_record(about | more, request, scored) for scored in texts]


def _check_nothing_is_lost(output, dataset):
    """Raises UsageError where an evaluation on another dataset would be replaced."""
    path = output.with_name(f"{output.name}.json")
    if not path.exists():
        return
    earlier = Evaluation.read(path)
    if earlier.corpus not in (None, dataset.corpus):
        raise UsageError(
            f"{path} is an evaluation on another dataset ({earlier.dataset}, {earlier.source}-{earlier.target}), and "
            "would be replaced; give --output DIR, or remove it"
        )


def _identities(paths):
    """What tells a file from another one of the same name."""
    found = [path.stat() if path.exists() else None for path in paths]
    return [its and (its.st_dev, its.st_ino, its.st_size, its.st_mtime_ns) for its in found]


def _check_same(paths, before):
    """Raises UsageError where a training has replaced a checkpoint while it was read, more than once."""
    for path, was, now in zip(paths, before, _identities(paths), strict=True):
        if was != now:
            raise UsageError(
                f"{path} was replaced while it was evaluated; evaluate again when its training has ended"
            )


def _write_record(fields, request, scored):
    found = score_texts(scored, request.metrics, request.confidence, request.engine)
    record = Evaluation(format=FORMAT, **fields, **found)
    record.write(scored.output.with_name(f"{scored.output.name}.json"), scored.hypotheses, scored.reference)
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


def _tuned(request, dataset, tokenize, limits, scratch) -> Tuning:
    """The length penalty that is best on valid, and the choice."""
    folder = scratch / "tuning"
    folder.mkdir()
    asked = replace(request, split="valid", lenpen=DEFAULT, passed=[*request.passed, "--nbest", str(request.beam)])
    given = split_input(dataset, "valid", limits, request.truncate_source, folder)
    decoding, generated = _translate(asked, dataset, given, folder)
    if decoding["flags"].get("unnormalized"):
        raise UsageError("--tune-lenpen has no effect with --unnormalized")
    reference = read_lines(dataset.folder / "raw" / f"valid.{dataset.target}")
    found = choose(read_nbest(generated), reference, "valid", tokenize)
    say(f"length penalty {found['chosen']:g}: BLEU on valid {max(found['bleu']):.2f}, of {shown(found)}")
    return found


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
        request.checkpoints[0], dataset, source, search, Limits(*limits, *MAX_LEN), request.truncate_source, scratch
    )
    named = {"beam": request.beam, "lenpen": request.lenpen, "max_tokens": request.max_tokens}
    return named | {"max_len_a": MAX_LEN[0], "max_len_b": MAX_LEN[1], "flags": {}}, decoded


def _translate(request: Request, dataset: Dataset, given: DecodingInput, scratch: Path) -> tuple[dict, Path]:
    """(settings of the search, fairseq-generate's output)."""
    cpu = not torch.cuda.is_available()
    arguments = [word_of(given.folder), "--user-dir", str(PACKAGE), *(["--cpu"] if cpu else [])]
    arguments += ["--path", os.pathsep.join(map(word_of, request.checkpoints)), "--gen-subset", given.subset]
    arguments += ["--source-lang", dataset.source, "--target-lang", dataset.target]
    arguments += [
        "--beam",
        str(request.beam),
        "--lenpen",
        str(request.lenpen),
        "--max-tokens",
        str(request.max_tokens),
    ]
    arguments += ["--post-process", dataset.subwords, "--no-progress-bar", *given.flags]
    decoding = settings_of(arguments, request.passed)
    say(f"translating {request.split} with {', '.join(map(str, request.checkpoints))}")
    generate([*arguments, *request.passed], scratch / "generated", len(given.sizes), cpu)
    return decoding, scratch / "generated"


def _at_limit(lengths, sizes, decoding, model_limit):
    """How many hypotheses are as long as the limit of their source allows (fairseq/sequence_generator.py)."""
    limits = [int(decoding["max_len_a"] * size + decoding["max_len_b"]) for size in sizes]
    return sum(length >= min(limit, model_limit - 1) for length, limit in zip(lengths, limits, strict=False))


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
