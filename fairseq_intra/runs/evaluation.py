"""What one evaluated checkpoint leaves behind: hypotheses, reference and scores, and how they were made."""

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ..console import say
from ..errors import UsageError
from ..files import read_lines, write_text
from ..json_files import FileName, read_json, read_record, write_record
from .length_penalty import Tuning
from .scoring import Score, ScoreWithConfidence, bleu_of, sentence_statistics

FORMAT = 3
#: What earlier formats lack is None, and a table calls it unchecked.
READABLE = (2, FORMAT)
#: By how much a score may differ from the one computed again: releases of sacreBLEU round differently.
TOLERANCE = 0.005
#: Bytes of the model in a file's name: of the 255 that a file system allows, the rest is for what stands around it,
#: up to .MODEL.SPLIT.tuned.unscored.hyp.HOST.PID.partial.
LONGEST_NAME = 120


class TrainingRules(TypedDict):
    """How the evaluated model was trained: batch, and the rules by which it ended."""

    batch_tokens: int | None  #: of one update, over all GPUs and --update-freq
    batch_sentences: int | None
    max_update: int
    max_epoch: int
    patience: int
    stop_time_hours: float
    seconds: float | None  #: of training


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
    bleu: Score | ScoreWithConfidence
    chrf: Score | ScoreWithConfidence | None  #: None where not asked for
    ter: Score | ScoreWithConfidence | None
    decoding: dict  #: the settings of the search as they took effect; "flags": those that are not fairseq's defaults
    sentences: int
    hypotheses: FileName
    reference: FileName
    reference_sha256: str
    versions: dict[str, str]
    hypotheses_sha256: str | None = None
    corpus: str | None = None  #: SHA-256 over the checksums of all files of the dataset
    trained_on: str | None = None  #: the same of the one that the training had; None where that is not known
    lowercase: bool | None = None
    tokenize: str | None = None  #: sacreBLEU's tokenizer for BLEU
    engine: str | None = None  #: what decoded
    #: Of checkpoint: best, last, numbered, pruned, "average of N epochs", "average of N", "ensemble of N" or other.
    kind: str | None = None
    dictionary: str | None = None  #: "checked" against the checkpoint's checksum, or "unchecked"
    training: TrainingRules | None = None
    hyperparameters: dict[str, str] | None = None  #: see `hyperparameters`; "mixed" where those of an ensemble differ
    before_switch: bool | None = None  #: of a late start: whether all updates of the checkpoint were plain
    at_length_limit: int | None = None  #: hypotheses that were ended by the limit of their length
    truncated: int | None = None  #: sources that were cut to the model's --max-source-positions
    run: str | None = None  #: the name of the folder of the training
    unfinished: bool | None = None  #: whether it, or one of an ensemble's, had not come to its end when evaluated
    fingerprint: str | None = None  #: see `checkpoint.fingerprint`; of an ensemble None
    tuning: Tuning | None = None  #: how the length penalty was chosen; None: it was given
    statistics: list[str] | None = None  #: see `scoring.sentence_statistics`, a sentence a line

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Reads the JSON file that `write` wrote.

        Raises:
            UsageError: if it is not there or not such a file.
        """
        return read_record(cls, path, READABLE, "an evaluation that scripts/evaluate.sh wrote")

    def write(
        self, path: Path, hypotheses: list[str], reference: list[str], check: Callable[[], None] = lambda: None
    ) -> None:
        """Writes the JSON file, and before it the two texts. Of two commands in parallel, one writes all files.

        Args:
            path: of the JSON file.
            hypotheses: lines.
            reference: lines.
            check: called before anything is written, when no other evaluation writes into the folder; it may raise.
        """
        with _folder_to_itself(path.parent):
            check()
            write_text(path.with_name(self.hypotheses), join(hypotheses))
            write_text(path.with_name(self.reference), join(reference))
            write_record(path, self)

    @property
    def unfinished_run(self) -> str | None:
        """The name of the run, where the record says that it was not finished."""
        return (self.run or self.method) if self.unfinished else None

    @property
    def tokenizer(self) -> str:
        """sacreBLEU's tokenizer, which an earlier format has in the signature alone."""
        found = re.search(r"(?:^|\|)tok:([^|]+)", self.bleu["signature"])
        return self.tokenize or (found[1] if found else "13a")

    def sentence_statistics(self, path: Path) -> list[list[int]]:
        """BLEU's statistics by sentence: of the texts that lie beside `path`, or where these are not, of the record.

        Raises:
            UsageError: if the texts are not those that were scored, or the score is not theirs.
        """
        texts = [path.with_name(name) for name in (self.hypotheses, self.reference)]
        if self.statistics is None or all(text.is_file() for text in texts):
            lines = [read_lines(text) for text in texts]
            self._check_texts(texts, lines)
            found = sentence_statistics(lines[0], lines[1], self.tokenizer)
        else:
            found = self._recorded_statistics(path)
        score = bleu_of(found)
        if not abs(score - self.bleu["score"]) < TOLERANCE:
            raise UsageError(f"{path} says BLEU {self.bleu['score']:.2f}, but its text has {score:.2f}")
        return found

    def _check_texts(self, texts, lines):
        for text, content, known in zip(texts, lines, (self.hypotheses_sha256, self.reference_sha256), strict=True):
            if known is not None and hashlib.sha256(join(content).encode()).hexdigest() != known:
                raise UsageError(f"{text} was changed since it was scored; evaluate the checkpoint again")
        if len({len(content) for content in lines}) > 1:
            raise UsageError(f"{texts[0]} has {len(lines[0])} lines, not {len(lines[1])}")

    def _recorded_statistics(self, path):
        rows = [line.split() for line in self.statistics or []]
        if len(rows) != self.sentences or not all(len(row) == 10 and all(map(str.isdigit, row)) for row in rows):
            raise UsageError(f"{path} holds no counts of {self.sentences} sentences")
        return [[int(count) for count in row] for row in rows]


def join(lines: list[str]) -> str:
    """The content of a text file of these lines."""
    return "".join(f"{line}\n" for line in lines)


@contextlib.contextmanager
def _folder_to_itself(folder):
    """Waits until no other evaluation writes into the folder."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def unfinished_runs(checkpoints: Iterable[Path]) -> list[Path] | None:
    """The runs of checkpoints that have not come to their end.

    Returns:
        None where that is not known: a checkpoint lies in no run, and the runs of the others are finished.
    """
    runs = dict.fromkeys(map(run_of, checkpoints))
    unfinished = [run for run in runs if run and not _is_finished(run)]
    return None if None in runs and not unfinished else unfinished


def warn_of_unfinished_runs(runs: list[Path] | None) -> None:
    """Says which of the runs that are evaluated have not come to their end: those of `unfinished_runs`."""
    for run in runs or []:
        say(f"{run} is not finished: its training may go on, or has failed")


def unfinished_note(records: Iterable[tuple[Path, str | None]]) -> list[str]:
    """The line below a table that names the runs which have not come to their end; none where all have.

    Args:
        records: each with the name of its run where it says itself that this was not finished.
    """
    unfinished: dict[Path | str, str] = {}
    for path, said in records:
        run = run_of(path)
        if run and not _is_finished(run):
            unfinished[run] = run.name
        elif said:
            unfinished[said] = said
    return [f"Not finished: {', '.join(unfinished.values())}."] if unfinished else []


def plain_note(before_switch: Iterable[bool | None]) -> list[str]:
    """The line below a table that counts the late checkpoints which are plain training yet; none where none is."""
    plain = sum(map(bool, before_switch))
    count = f"{plain} of the late checkpoints {'is' if plain == 1 else 'are'}"
    return [f"{count} of before the switch: plain training."] if plain else []


def run_of(path: Path) -> Path | None:
    """The run of `train` in whose folder of checkpoints a file lies; None where it lies elsewhere."""
    folder = path.absolute().parent
    return folder.parent if folder.name == "checkpoints" and (folder.parent / "arguments.txt").exists() else None


def _is_finished(run):
    return (run / "finished").exists()


def model_name(checkpoints: list[Path]) -> str:
    """What the files of an evaluation call its model: as its checkpoint, of an ensemble as all of them.

    What would be too long for a file's name is the first of them, how many more there are, and a checksum of all.
    """
    stems = [path.stem for path in checkpoints]
    name = "+".join(stems)
    if len(name.encode()) <= LONGEST_NAME:
        return name
    more = f"+{len(stems) - 1}-more" if len(stems) > 1 else ""
    end = f"{more}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    # Where this cuts within a character, the character is left out.
    return stems[0].encode()[: LONGEST_NAME - len(end)].decode(errors="ignore") + end


def record_name(model: str, split: str, tuned: bool) -> str:
    """What the files of an evaluation are called, before .json, .hyp and .ref.

    Args:
        model: see `model_name`.
        split: may be sacreBLEU's name of a WMT set, as "wmt17/tc".
        tuned: by the length penalty that is best on valid (see `length_penalty`).
    """
    return f"{model}.{split.replace('/', '_')}{'.tuned' * tuned}"


def is_evaluation(path: Path) -> bool:
    """Whether a JSON file is an `Evaluation`'s: its texts lie beside it, or it has the counts in their place."""
    if path.with_suffix(".hyp").exists():
        return True
    kept = read_json(path)
    return isinstance(kept, dict) and {"hypotheses", "statistics"} <= kept.keys()
