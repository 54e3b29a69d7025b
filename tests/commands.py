"""How the tests run fairseq's own commands with the plugin, and read what they log."""

import fcntl
import functools
import os
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import corpus
from forked_fairseq import ForkedFairseq

PLUGIN = corpus.CHECKOUT / "fairseq_intra"

#: The authors' training command (github fe1ixxu/Intra-Distillation, Machine_Translation/scripts/train.sh), word
#: for word but for --fp16, which wants a GPU.
PUBLISHED = """--arch transformer_iwslt_de_en --task translation_intra_distillation
--alpha 5 --adaptive-alpha 1 --max-updates-train 50000 --max-update 50000 --num-iter 3
--temperature-q 10 --temperature-p 5
--criterion label_smoothed_cross_entropy --label-smoothing 0.1 --optimizer adam --adam-eps 1e-06
--lr-scheduler inverse_sqrt --lr 0.0005 --warmup-updates 8000 --dropout 0.3 --attention-dropout 0.1
--weight-decay 0.0001 --max-tokens 4096 --update-freq 1 --keep-interval-updates 1 --patience 40
--no-epoch-checkpoints --log-format simple --log-interval 100
--ddp-backend no_c10d --fp16-init-scale 16 --seed 1
--max-source-positions 512 --max-target-positions 512 --skip-invalid-size-inputs-valid-test""".split()
PUBLISHED += ["--adam-betas", "(0.9, 0.98)"]

#: What torchrun tells one of its processes.
TORCHRUN = {"WORLD_SIZE": "16", "RANK": "9", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}

_MAKING = threading.Lock()
_SIZES = {"layers": 1, "embed-dim": 16, "ffn-embed-dim": 16, "attention-heads": 2}
#: Flags that make a model of any preset small enough for a test, and its log full.
TINY = [f"--{side}-{name}={value}" for side in ("encoder", "decoder") for name, value in _SIZES.items()]
TINY += ["--share-all-embeddings", "--lr=0.01", "--warmup-updates=4", "--max-tokens", "500", "--log-interval=1"]


def fairseq(command: str, *arguments: object, **more) -> str:
    """Runs one of fairseq's commands, which must do its work; returns all that it said."""
    done = run(command, *arguments, **more)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    return said


def refused(command: str, *arguments: object) -> str:
    """Runs one of fairseq's commands, which must refuse; returns the one line in which it tells why."""
    done = run(command, *arguments)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    errors = [line for line in done.stderr.split("\n") if ": error: " in line]
    assert len(errors) == 1 and done.stderr.endswith(errors[0] + "\n"), done.stderr[-3000:]
    return errors[0]


def run(
    command: str, *arguments: object, cwd: Path | None = None, stderr: int | None = None, **more: str
) -> subprocess.CompletedProcess:
    """Runs one of fairseq's commands to its end, however that is.

    Args:
        command: "train", "hydra-train" and so on, or the path of a program in Python.
        arguments: its words.
        cwd: its current folder.
        stderr: descriptor of its standard error; None: it is returned.
        more: of its environment.
    """
    words = [*map(str, arguments)]
    environment = corpus.environment(OMP_NUM_THREADS="1", PYTHONPATH="", **more)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        descriptor = err.fileno() if stderr is None else stderr
        with _MAKING:
            forked = _forked()
        status = forked.start(command, words, environment, cwd or Path.cwd(), out.fileno(), descriptor)
        with open(status, "rb") as ended:
            assert select.select([ended], [], [], 900)[0], f"fairseq-{command} takes more than 15 minutes"
            code = int(ended.read())
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess([f"fairseq-{command}", *words], code, *said)


def train(data: Path, folder: Path, *arguments: object, **more) -> str:
    """Runs fairseq-train for a tiny model whose checkpoints go to a folder; returns the log."""
    always = ["--user-dir", PLUGIN, "--cpu", "--save-dir", folder]
    return fairseq("train", data / "bin", *always, *arguments, **more)


def train_killed(data: Path, folder: Path, moments: Sequence[str], *arguments: object) -> list[str]:
    """As `train`, killed at these moments (see killed_training.py) and started again; what it said in every start."""
    program = str(Path(__file__).with_name("killed_training.py"))
    flags = ["--user-dir", PLUGIN, "--cpu", "--save-dir", folder, "--num-workers", 0, *arguments]
    starts = [run(program, moment, data / "bin", *flags) for moment in moments]
    for moment, done in zip(moments, starts, strict=True):
        expected = 0 if moment == "end" else -signal.SIGKILL
        assert done.returncode == expected, f"until {moment}: {(done.stdout + done.stderr)[-3000:]}"
    return [done.stdout + done.stderr for done in starts]


def train_on_two_workers(*arguments: object) -> str:
    """Runs fairseq-train as two processes of torchrun, on the CPU; returns what they said."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    train = Path(sys.executable).with_name("fairseq-train")
    done = subprocess.run(
        [str(word) for word in [*torchrun, train, *arguments, "--user-dir", PLUGIN, "--cpu"]],
        env=corpus.environment(OMP_NUM_THREADS="1", PYTHONPATH=""),
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def at_once(*calls):
    """The results of functions that mostly wait for other processes, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def updates(log: str) -> list[dict[str, float]]:
    """The numbers that --log-format simple gives for every update, those that tell the time left out."""
    found = [
        {name: float(value) for name, value in re.findall(r"(\w+)=([\d.e+-]+)", line)}
        for line in log.split("\n")
        if "train_inner" in line
    ]
    return [
        {name: n for name, n in line.items() if name not in ("wps", "ups", "train_wall", "wall")} for line in found
    ]


@functools.cache
def _forked():
    """Made once; the first call holds `_MAKING`."""
    # --user-dir alone has to find the plugin.
    return ForkedFairseq(corpus.environment(OMP_NUM_THREADS="1", PYTHONPATH=""))


def on_terminal(call) -> str:
    """What call(stderr=...) writes to its standard error, being told that this is a terminal."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 400, 0, 0))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_read, ours)
        call(stderr=theirs)
        os.close(theirs)
        return reading.result()


def _read(descriptor):
    said = b""
    try:
        while chunk := os.read(descriptor, 1 << 16):
            said += chunk
    except OSError:  # Linux' way to say that the other end was closed
        pass
    os.close(descriptor)
    return said.decode()
