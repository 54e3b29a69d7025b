"""Stubs of fairseq-train for tests of what starts it."""

import os
import shlex
from pathlib import Path

#: manifest.json of a dataset of which nothing else is read.
MANIFEST = '{"source": "de", "target": "en", "settings": {}, "files": {}}'
#: In place of fairseq_cli/train.py: notes its arguments, and makes checkpoints unless it is to fail.
STUB = """import os, pathlib, sys
def cli_main():
    words = sys.argv[1:]
    with open(os.environ["CALLS"], "a") as calls:
        calls.write("".join(f"{word}\\n" for word in words))
    if os.environ["FAILS"] != "0":
        sys.exit(1)
    folder = pathlib.Path(words[words.index("--save-dir") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("last", "best"):
        (folder / f"checkpoint_{name}.pt").touch()
    print("2026-11-25 00:00:00 | INFO | fairseq_cli.train | done training in 1.0 seconds")
if __name__ == "__main__":
    cli_main()
"""
#: Run by every Python that is started: it sees as many GPUs as it is told.
GPUS = """import os
import fairseq_intra.runs.workers as workers
workers.gpu_count = lambda: int(os.environ["GPUS"])
"""


class FakeTraining:
    """In place of `runs.process.run`: notes what is started, and prints and makes what a training would.

    Set `lines` (as fairseq-train prints them), `status` and `makes` (names of checkpoints) before a call.
    """

    def __init__(self):
        self.calls, self.environment, self.status = [], {}, 0
        self.lines = ["2026-11-25 00:00:00 | INFO | fairseq_cli.train | done training in 1.0 seconds"]
        self.makes = ("checkpoint_best.pt", "checkpoint_last.pt")

    def __call__(self, command, environment, take):
        # What starts it: this Python, and -m with the module or the console script.
        words = command[command.index("train") + 1 :] if "train" in command else command[2:]
        self.calls.append(words)
        self.environment = environment
        for line in self.lines:
            take(f"{line}\n".encode())
        folder = Path(words[words.index("--save-dir") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.makes if not self.status else ():
            (folder / name).touch()
        return self.status


def environment(folder: Path, gpus: int = 0, fails: int = 0) -> dict[str, str]:
    """What a script is run with so that the stub is fairseq-train; $CALLS is folder/calls."""
    stub = folder / "stub"
    (stub / "fairseq_cli").mkdir(parents=True, exist_ok=True)
    (stub / "fairseq_cli" / "__init__.py").touch()
    (stub / "fairseq_cli" / "train.py").write_text(STUB)
    (stub / "sitecustomize.py").write_text(GPUS)
    path = os.pathsep.join([str(stub), str(Path(__file__).resolve().parent.parent)])
    return {"PYTHONPATH": path, "CALLS": str(folder / "calls"), "GPUS": str(gpus), "FAILS": str(fails)}


def follow(words: list[str], *wanted: str) -> bool:
    """Whether the words stand in the list, one behind the other."""
    return any(tuple(words[start : start + len(wanted)]) == wanted for start in range(len(words)))


def shown(text: str) -> list[str]:
    """The words of a command as --dry-run prints it."""
    return shlex.split(text.replace("\\\n", " "))
