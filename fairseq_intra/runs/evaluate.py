"""`fairseq-intra evaluate`: a trained model translates splits or a WMT set, and sacreBLEU scores them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from .. import checkpoint as checkpoints
from ..console import say
from ..errors import UsageError
from ..files import read_lines, write_text
from ..run_fairseq import word_of
from ..translation.search import Limits, Search
from ..user_dir import PACKAGE
from ..write_errors import full_temporary_folder_reported
from . import ctranslate2_decoding
from .ctranslate2_decoding import Decoded
from .dataset import Dataset, read_dataset
from .decoding_input import DecodingInput, split_input, text_input
from .evaluated_model import about_model, position_limits
from .evaluation import (
    FORMAT,
    Evaluation,
    join,
    model_name,
    record_name,
    unfinished_runs,
    warn_of_unfinished_runs,
)
from .generation import NbestEntry, generate, read_nbest, settings_of
from .length_penalty import Tuning, best_of, choose, shown
from .scored_texts import score_texts, texts_to_score
from .scoring import bleu, tokenizer_of
from .wmt_sets import reference_file, source_file

#: fairseq's default for --max-len-a and --max-len-b, with which published scores were made.
MAX_LEN = (0.0, 200)


@dataclass(frozen=True)
class Request:
    """What is asked for; see `fairseq-intra evaluate --help`."""

    checkpoints: list[Path]  #: several are an ensemble
    trained: list[Path]  #: they, or what their average was made of, where training left it
    data: Path
    splits: tuple[str, ...]  #: valid, test and so on, or sacreBLEU's name of a WMT set
    wmt: bool
    metrics: tuple[str, ...]
    beam: int
    lenpen: float
    tune_lenpen: bool  #: also by the length penalty that is best on valid
    max_tokens: int
    output: Path  #: folder of the results
    tokenize: str | None
    confidence: bool
    truncate_source: bool
    engine: str  #: fairseq or ctranslate2
    passed: list[str]  #: fairseq-generate's other flags

    def result(self, split: str, tuned: bool) -> Path:
        """RESULT.json, .hyp and .ref are written."""
        return self.output / record_name(model_name(self.checkpoints), split, tuned)


class Result(NamedTuple):
    """What came of one split and length penalty."""

    path: Path  #: PATH.json, .hyp and .ref were written
    records: list[Evaluation]  #: of tokenised text two, see `scored_texts`


def evaluate(request: Request) -> Iterator[Result]:
    """Checks all, and then translates, scores and records split by split.

    With --tune-lenpen the hypotheses of both length penalties are of one search (see `length_penalty`).

    Raises:
        UsageError: if a file is missing or was changed, a flag cannot be passed, or fairseq-generate fails.
    """
    dataset = read_dataset(request.data)
    tokenize = request.tokenize or ("none" if dataset.tokenized else tokenizer_of(dataset.target))
    bleu(tokenize)
    texts = {split: _texts(request, dataset, split) for split in request.splits}
    if request.tune_lenpen:
        dataset.check_split("valid")
    unfinished = unfinished_runs(request.trained)
    warn_of_unfinished_runs(unfinished)
    identities = _identities(request.checkpoints)
    states = [checkpoints.load(path) for path in request.checkpoints]
    evaluated = list(zip(request.checkpoints, identities, map(_fingerprint, states), strict=True))
    about = about_model(request.checkpoints, dataset, states, request.trained) | {"engine": request.engine}
    about |= {
        "fingerprint": evaluated[0][2] if len(evaluated) == 1 else None,
        "unfinished": None if unfinished is None else bool(unfinished),
    }
    for split in request.splits:
        for tuned in {False, request.tune_lenpen}:
            _check_nothing_is_lost(request.result(split, tuned), about)
    limits = position_limits(states)
    # The parameters are the other process's business: their memory is free from here on.
    del states
    tunings = [None, _tuned(request, dataset, tokenize, limits)] if request.tune_lenpen else [None]
    penalties = [tuning["chosen"] if tuning else request.lenpen for tuning in tunings]
    by_engine = _by_ctranslate2 if request.engine == "ctranslate2" else _by_fairseq
    for split, (source, reference) in texts.items():
        with _scratch() as scratch:
            decoding, translations = by_engine(request, dataset, split, source, limits, penalties, scratch)
        _check_same(evaluated)
        for tuning, lenpen, decoded in zip(tunings, penalties, translations, strict=True):
            fields = about | {"split": split, "tuning": tuning, "decoding": decoding | {"lenpen": lenpen}}
            fields |= {"truncated": decoded.truncated, "at_length_limit": _at_limit(decoded, decoding, limits[1])}
            path, hypotheses = request.result(split, tuning is not None), decoded.hypotheses
            with _kept_if_scoring_fails(path, hypotheses):
                scored = texts_to_score(dataset, path, hypotheses, read_lines(reference), tokenize)
                records = [_write_record(fields, request, path, each) for each in scored]
            yield Result(path, records)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for a search's files."""
    with tempfile.TemporaryDirectory(prefix="fairseq_intra.") as folder, full_temporary_folder_reported(Path(folder)):
        yield Path(folder)


def _check_nothing_is_lost(result, about):
    """Raises UsageError where an evaluation on another dataset, or of another model, would be replaced."""
    path = result.with_name(f"{result.name}.json")
    if not path.exists():
        return
    earlier, other = Evaluation.read(path), None
    if earlier.corpus not in (None, about["corpus"]):
        other = f"on another dataset ({earlier.dataset}, {earlier.source}-{earlier.target})"
    elif (earlier.method, earlier.seed) != (about["method"], about["seed"]):
        other = f"of another model ({earlier.method}, seed {earlier.seed})"
    elif earlier.run not in (None, about["run"]):
        other = f"of another model (run {earlier.run})"
    elif changed := _changed(earlier.hyperparameters or {}, about["hyperparameters"]):
        other = f"of another model ({changed})"
    elif (earlier.kind, earlier.num_updates) == (about["kind"], about["num_updates"]) and (
        earlier.fingerprint not in (None, about["fingerprint"])
    ):
        other = f"of other parameters, after {earlier.num_updates} updates, too"
    if other:
        raise UsageError(
            f"{path} is an evaluation {other}, and would be replaced; give another folder by --output, or remove it"
        )


def _changed(earlier, now):
    """A setting that two trainings have both, but not alike."""
    names = [name for name, value in earlier.items() if now.get(name, value) != value]
    return f"{names[0].replace('_', ' ')} {earlier[names[0]]}" if names else None


def _identities(paths):
    """What tells a file from another one of the same name."""
    found = [path.stat() if path.exists() else None for path in paths]
    return [its and (its.st_dev, its.st_ino, its.st_size, its.st_mtime_ns) for its in found]


def _fingerprint(state):
    return checkpoints.fingerprint(state["model"])


def _check_same(evaluated):
    """Raises UsageError where a training has replaced a checkpoint while it was read, more than once.

    The same average may have been written again, by an evaluation of another split.
    """
    for path, identity, fingerprint in evaluated:
        if _identities([path]) != [identity] and _fingerprint(checkpoints.load(path)) != fingerprint:
            raise UsageError(
                f"{path} was replaced while it was evaluated; evaluate again when its training has ended"
            )


def _write_record(fields, request, result, scored):
    found = score_texts(scored, request.metrics, request.confidence, request.engine)
    record = Evaluation(format=FORMAT, **fields, **found)
    record.write(
        scored.output.with_name(f"{scored.output.name}.json"),
        scored.hypotheses,
        scored.reference,
        # While this one was decoded, another evaluation may have written its results.
        lambda: _check_nothing_is_lost(result, fields),
    )
    return record


def _texts(request, dataset, split) -> tuple[Path, Path]:
    """The files of source and reference, checked."""
    if request.wmt:
        if dataset.lowercase:
            raise UsageError(f"{dataset.folder} was lowercased, and WMT's sets are scored as they are written")
        dataset.check(*dataset.dictionaries(), "spm/joint.model")
        return source_file(split, dataset.pair), reference_file(split, dataset.pair)
    dataset.check_split(split)
    raw = dataset.folder / "raw"
    return raw / f"{split}.{dataset.source}", raw / f"{split}.{dataset.target}"


def _tuned(request, dataset, tokenize, limits) -> Tuning:
    """The length penalty that is best on valid, and the choice."""
    with _scratch() as scratch:
        given = split_input(dataset, "valid", limits, request.truncate_source, scratch)
        _, nbest = _translate(request, dataset, "valid", given, scratch)
    reference = read_lines(dataset.folder / "raw" / f"valid.{dataset.target}")
    found = choose(nbest, reference, "valid", tokenize)
    say(f"length penalty {found['chosen']:g}: BLEU on valid {max(found['bleu']):.2f}, of {shown(found)}")
    return found


def _by_fairseq(request, dataset, split, source, limits, penalties, scratch) -> tuple[dict, list[Decoded]]:
    """(settings of the search, what fairseq-generate translates, by each of the length penalties)."""
    if request.wmt:
        given = text_input(dataset, source, read_lines(source), limits[0], request.truncate_source, scratch)
    else:
        given = split_input(dataset, split, limits, request.truncate_source, scratch)
    decoding, nbest = _translate(request, dataset, split, given, scratch)
    translations = []
    for lenpen in penalties:
        best = best_of(nbest, lenpen)
        # Lengths count the end of a sentence.
        hypotheses, lengths = [entry.text for entry in best], [entry.length - 1 for entry in best]
        translations.append(Decoded(hypotheses, lengths, given.truncated))
    return decoding, translations


def _by_ctranslate2(
    request, dataset, split, source, limits: tuple[int, int], penalties, scratch
) -> tuple[dict, list[Decoded]]:
    """(settings of the search, what CTranslate2 translates by the one length penalty)."""
    dataset.check("spm/joint.model")
    (lenpen,) = penalties
    search = Search(request.beam, lenpen, batch_tokens=request.max_tokens)
    say(f"translating {split} with {request.checkpoints[0]} by CTranslate2")
    decoded = ctranslate2_decoding.translate(
        request.checkpoints[0], dataset, source, search, Limits(*limits, *MAX_LEN), request.truncate_source, scratch
    )
    named = {"beam": request.beam, "lenpen": lenpen, "max_tokens": request.max_tokens}
    return named | {"max_len_a": MAX_LEN[0], "max_len_b": MAX_LEN[1], "flags": {}}, [decoded]


def _translate(
    request: Request, dataset: Dataset, split: str, given: DecodingInput, scratch: Path
) -> tuple[dict, list[list[NbestEntry]]]:
    """(settings of the search, fairseq-generate's n-best lists: whole ones where a length penalty is chosen)."""
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
    say(f"translating {split} with {', '.join(map(str, request.checkpoints))}")
    whole = ["--nbest", str(request.beam)] if request.tune_lenpen else []
    generate([*arguments, *request.passed, *whole], scratch / "generated", len(given.sizes), cpu)
    return decoding, read_nbest(scratch / "generated")


def _at_limit(decoded, decoding, model_limit):
    """How many hypotheses are as long as their limit; None where that is of the longest source of a mini-batch, with
    --max-len-a (fairseq/sequence_generator.py).
    """
    if decoding["max_len_a"]:
        return None
    limit = min(int(decoding["max_len_b"]), model_limit - 1)
    return sum(length >= limit for length in decoded.lengths)


@contextlib.contextmanager
def _kept_if_scoring_fails(result, hypotheses):
    """Decoding may have taken hours: its translations stay, whatever becomes of their score."""
    try:
        yield
    except BaseException:
        kept = result.with_name(f"{result.name}.unscored.hyp")
        with contextlib.suppress(OSError):
            write_text(kept, join(hypotheses))
            say(f"the translations are kept in {kept}")
        raise
