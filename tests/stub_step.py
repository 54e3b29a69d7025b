"""A stub of the commands that a grid starts: notes its words, and makes as little as each of them has to make.

    python stub_step.py CALLS NAME FLAGS...

HOLD, FAILS and OUT_OF_TIME in the environment are parts of the names of runs whose training waits, fails, or is
stopped before its end; HOLD_IN is another step that waits in place of the training. SIGUSR1 makes a training that
waits save and end.
"""

import fcntl
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

LOG = """2026-11-24 00:00:00 | INFO | fairseq.trainer | begin training epoch 1
2026-11-24 00:01:00 | INFO | train_inner | epoch 001: 1 / 8 loss=9, num_updates=2
"""


def main(calls, name, *flags):
    if "--dry-run" in flags:
        if "--bad" in flags:
            sys.exit("fairseq_intra: error: --bad is no flag")
        print(shlex.join(flags))
        return
    with open(calls, "a") as file:
        file.write(json.dumps([name, os.environ.get("CUDA_VISIBLE_DEVICES"), *flags]) + "\n")
    given = dict(zip(flags, flags[1:], strict=False))
    if name in ("train", "finetune", "finetune-transfer"):
        _train(Path(given["--out"]), given)
    elif name == "evaluate":
        _evaluate(Path(given["--checkpoint"]), given.get("--average"))
    elif name == "evaluate-transfer":
        for language in ("de", "en"):
            _make(Path(given["--checkpoint"]).with_suffix(f".{language}.json"))
    elif name == "prepare-transfer":
        summary = {
            "kind": "ner",
            "source": "en",
            "languages": ["de", "en"],
            "labels": ["O"],
            "splits": {"train": {"sentences": 9}},
        }
        _make(Path(given["--out"]) / "manifest.json", json.dumps(summary))
    else:
        _make(Path(given.get("--output") or Path(given["--out"]) / "manifest.json"))


def _train(out, given):
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _make(out / "arguments.txt", "--max-update\n12\n")
        _make(out / "train.log", LOG)
        signal.signal(signal.SIGUSR1, lambda *_: _save(out))
        _hold("train", out.name)
        if os.environ.get("FAILS", "none") in out.name:
            print("something\nthe reason\n", flush=True)
            sys.exit(1)
        if os.environ.get("OUT_OF_TIME", "none") in out.name:
            print("stopped by --stop-time-hours", flush=True)
            sys.exit(75)
        _make(out / "checkpoints" / "checkpoint_best.pt")
        _make(out / "finished")


def _save(out):
    _make(out / "saved")
    sys.exit(75)


def _hold(step, run):
    while os.environ.get("HOLD", "none") in run and os.environ.get("HOLD_IN", "train") == step:
        time.sleep(0.02)


def _evaluate(checkpoint, average):
    _hold("evaluate", checkpoint.parent.parent.name)
    if not checkpoint.exists():
        sys.exit(f"{checkpoint}: no such file")
    checkpoint = checkpoint.with_name(f"average{average}.pt") if average else checkpoint
    _make(checkpoint.with_suffix(".test.json"))


def _make(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
