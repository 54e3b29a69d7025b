"""The folder of a training: its lock, its arguments, its log, and whether it is finished."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from ..console import say
from ..errors import UsageError
from ..files import locked, make_folder, remove, write_text
from ..json_files import read_json
from ..last_checkpoint import LAST
from ..processes import UNFINISHED, ending_on_signals
from . import process
from .arguments import differences, flag_value
from .train_output import TrainOutput

TIME_LIMIT = "--stop-time-hours"
#: What a record of `evaluate-transfer` has, and no other.
OF_TRANSFER = {"metric", "labels_sha256"}


class RunFolder:
    """The folder that --out names.

    Args:
        folder: may be missing.
        rank: of this worker; the first has the folder's files in its care, another one writes a log of its own.
    """

    def __init__(self, folder: Path, rank: int = 0):
        self.folder, self.rank = folder, rank
        self.arguments, self.finished = folder / "arguments.txt", folder / "finished"
        self.checkpoints = folder / "checkpoints"
        self.log = folder / (f"train.rank{rank}.log" if rank else "train.log")

    @contextlib.contextmanager
    def opened(self, arguments: list[str], extend: bool | None = None) -> Iterator[None]:
        """Makes the folder, holds its lock, and sees to it that it is a run with these arguments.

        Args:
            arguments: what the run is made with, one word a line of arguments.txt.
            extend: more updates may be wanted than the run was begun with, though its schedule depends on the number;
                None where the command has no such flag.

        Raises:
            UsageError: if another process works in it, it is a run with other arguments, or its checkpoints are gone.
        """
        make_folder("--out", self.folder)
        if self.rank:
            yield
            return
        with locked(self.folder):
            self._need_checkpoints()
            self._keep_arguments([_line(word) for word in arguments], extend)
            yield

    def is_finished(self, arguments: list[str]) -> bool:
        """Whether nothing is left to train with these arguments, for the first worker and for others.

        Others may look before the first has seen that more updates are wanted: the file goes before the arguments do.
        """
        before = self.made_with()
        if before is None:
            return False
        wanted = [flag_value(words, "--max-update") for words in (before, arguments)]
        return wanted[0] == wanted[1] and self.finished.exists()

    def train(self, command: list[str], environment: dict[str, str], total_updates: int | None) -> None:
        """Runs fairseq-train, appends all that it prints to the log, and shows what tells of its progress.

        Raises:
            UsageError: if it failed; the message has the reason.
            SystemExit: with UNFINISHED, or 128 + the number of the signal that ended it.
        """
        output = TrainOutput(self.log, total_updates)
        try:
            with ending_on_signals(f"the same command resumes {self.folder}"):
                status = process.run(command, environment, output.take)
        finally:
            output.close()
        # SIGUSR1 may come when the training has ended, but not yet its process.
        if status and not (status == -signal.SIGUSR1 and (output.done or output.preempted)):
            how = "failed" if status > 0 else f"was ended by {signal.Signals(-status).name}"
            reason = output.reason()
            raise UsageError(
                f"fairseq-train {how}; the whole log is {self.log}{reason and ', and it ends: '}{reason}"
            )
        # fairseq lets the first worker alone log how it ended.
        if output.came_to_its_end or self.rank:
            return
        if output.preempted:
            say(f"stopped by SIGUSR1 after writing a checkpoint; the same command resumes {self.folder}")
        elif output.time_is_up:
            say(f"stopped by {TIME_LIMIT}; the same command with a larger one resumes {self.folder}")
        else:
            raise UsageError(f"fairseq-train ended before its last update; the whole log is {self.log}")
        sys.exit(UNFINISHED)

    def finish(self, *needed: str) -> Path:
        """Marks the run as finished; returns the first of its checkpoints of these names that is there.

        Raises:
            UsageError: if there is none.
        """
        found = self._first_of(needed)
        if not found:
            raise UsageError(f"fairseq-train wrote no checkpoint; see {self.log}")
        # Those that were made while it trained: what the table shows is to be of the finished run.
        self._set_evaluations_aside("unfinished")
        write_text(self.finished, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ\n"))
        return found

    def _first_of(self, names):
        return next((self.checkpoints / name for name in names if (self.checkpoints / name).is_file()), None)

    def _saved_before(self):
        """Whether the log tells of a checkpoint."""
        try:
            return b" | Saved checkpoint " in self.log.read_bytes()
        except FileNotFoundError:
            return False

    def _has_checkpoints(self):
        return any(self.checkpoints.glob("*.pt"))

    def can_be_resumed(self) -> bool:
        """Whether it has the checkpoint that fairseq-train resumes from."""
        return (self.checkpoints / LAST).is_file()

    def _was_cleared(self):
        """Whether it is finished and evaluated, so that its checkpoints may be gone.

        The scores of `finetune`, which leaves a run.json, are those of its validations, in the log.
        """
        return self.finished.exists() and (any(self._evaluations()) or (self.folder / "run.json").exists())

    def _need_checkpoints(self):
        is_whole = self._has_checkpoints() if self.finished.exists() else self.can_be_resumed()
        if is_whole or self._was_cleared():
            return
        if self.finished.exists() or self._saved_before():
            raise UsageError(
                f"the checkpoints of {self.folder} are gone, which it had; put them back into {self.checkpoints}, or "
                "remove the folder of the run to train it again"
            )

    def made_with(self):
        """The words of arguments.txt, None where it is not there."""
        try:
            return self.arguments.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None

    def _keep_arguments(self, arguments, extend):
        before = self.made_with()
        if before is None:
            before = arguments
        found = differences(before, arguments)
        # Counted over all parts of a training: another one continues it, and changes nothing that was trained.
        time_limit = found.pop(TIME_LIMIT, None)
        if found and not self._has_checkpoints() and not self._was_cleared():
            say(f"{self.folder} has no checkpoint yet: it begins anew with these arguments")
            remove(self.log)
        elif list(found) == ["--max-update"] and _is_more(*found["--max-update"]):
            self._extend(arguments, found["--max-update"], extend)
        elif found:
            # Other updates alone need not stand in the way.
            name = next((each for each in found if each != "--max-update"), "--max-update")
            old, new = found[name]
            raise UsageError(
                f"{self.folder} is a run with other arguments or data; give another --out. The first that differs: "
                f"{name} is {_shown(old)} in the run and {_shown(new)} here"
            )
        elif not time_limit:
            arguments = before
        write_text(self.arguments, "".join(f"{word}\n" for word in arguments))

    def _extend(self, arguments, numbers, extend):
        old, new = numbers
        why = depends_on_total(arguments)
        if why and not extend:
            instead = (
                "Give another --out"
                if extend is None
                else "Give --extend to continue it all the same, or another --out"
            )
            raise UsageError(
                f"{self.folder} was begun for {old} updates, and {why}: its updates so far are not those of a run of "
                f"{new}. {instead}"
            )
        if not self.can_be_resumed():
            raise UsageError(
                f"{self.folder} was begun for {old} updates, and {LAST}, from which it would resume to {new}, is "
                "gone; give another --out"
            )
        say(f"{self.folder} continues to {new} updates in place of {old}")
        self._set_evaluations_aside(old)
        remove(self.finished)

    def _evaluations(self):
        """The records of evaluations of its checkpoints."""
        return [record for record in self.checkpoints.rglob("*.json") if _tells_a_score(record)]

    def _set_evaluations_aside(self, name):
        """What was evaluated is no result of a longer run, whose checkpoints have the same names."""
        for record in self._evaluations():
            aside = self.folder / f"evaluated.{name}" / record.parent.relative_to(self.checkpoints)
            aside.mkdir(parents=True, exist_ok=True)
            for end in (".json", ".ref", ".hyp", ".predictions.json"):
                with contextlib.suppress(FileNotFoundError):
                    record.with_suffix(end).replace(aside / record.with_suffix(end).name)


def depends_on_total(arguments: list[str]) -> str:
    """What of a run's schedule depends on its number of updates, "" if nothing does."""
    scheduler = flag_value(arguments, "--lr-scheduler")
    if scheduler in ("cosine", "polynomial_decay", "tri_stage"):
        return f"--lr-scheduler {scheduler} depends on that number"
    adaptive = flag_value(arguments, "--adaptive-alpha") == "1"
    if adaptive and flag_value(arguments, "--max-updates-train") in (None, "0"):
        return "adaptive alpha depends on that number"
    return ""


def _tells_a_score(record):
    from .evaluation import is_evaluation  # which every training would load

    # What is no JSON is nobody's result.
    with contextlib.suppress(UsageError):
        kept = read_json(record)
        return is_evaluation(record) or (isinstance(kept, dict) and OF_TRANSFER <= kept.keys())
    return False


def _line(word):
    """A word as a line of arguments.txt: a line break in it, as in JSON, is no more than a space."""
    return " ".join(word.splitlines())


def _is_more(old, new):
    return bool(old and new and old.isdigit() and new.isdigit() and int(new) > int(old))


def _shown(value):
    if value is None:
        return "not given"
    return value or "given"
