"""What gpu.py measures, in its order: every case is a function without arguments that returns figures for JSON."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from unittest import mock

import torch
from loss import floor_seconds, on_logits_runs
from measure import interleaved, ratio
from workload import METHODS, Workload

from fairseq_intra.loss import triton as kernels
from fairseq_intra.runs.training_log import parse_log

CHECKOUT = Path(__file__).resolve().parent.parent
OURS = "ours, gradient over the logits"
LAUNCHED = "ours, with its launches"
#: What the trainings differ in; "late" is plain for the first half.
TRAININGS = {
    "plain": ["--method", "plain"],
    "intra": ["--method", "intra"],
    "late": ["--method", "intra", "--plain-updates"],
}


class OutOfTime(Exception):
    """The next call goes on here."""


def cases(args):
    """(part, name of the case, function), in order.

    Args:
        args: of gpu.py; `device`, `rounds`, `rehearse`, `data` (folders), `updates`, `out`, `deadline` (of
            time.monotonic).
    """
    yield "tests", "tests", lambda: tests(args)
    n, vocabs = (1, (16, 17)) if args.rehearse else (3900, (12000, 12008, 12004, 12001, 32768, 32769))
    yield "launch", "launch", lambda: launch(args, n, vocabs[0])
    for words in vocabs:
        for dtype in ("float16", "bfloat16", "float32"):
            yield "loss", f"loss.{words}.{dtype}", lambda words=words, dtype=dtype: loss(args, n, words, dtype)
    iwslt, wmt = ("tiny", "tiny") if args.rehearse else ("iwslt", "wmt")
    for name, size, dtype in (("iwslt", iwslt, "float16"), ("iwslt", iwslt, "bfloat16"), ("wmt", wmt, "float16")):
        dtype = "float32" if args.rehearse else dtype
        yield "step", f"step.{name}.{dtype}", lambda size=size, dtype=dtype: step(args, size, dtype)
    half = "float32" if args.rehearse else "float16"
    yield "host", "host", lambda: host(args, iwslt, half)
    for method in METHODS:
        yield (
            "largest",
            f"largest.{method.replace(' ', '-')}",
            lambda method=method: largest(args, iwslt, half, method),
        )
    for data, method in itertools.product(args.data, TRAININGS):
        name = f"training.{Path(data).resolve().name}.{method}"
        yield "training", name, lambda data=data, method=method, name=name: training(args, data, method, name)


def tests(args):
    """The tests that need a GPU, and those of the kernels."""
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "--override-ini=addopts=",
        "-m",
        "gpu",
        *([] if args.rehearse else ["--numprocesses", "8"]),
    ]
    said = {}
    chosen = {"kernels": ["tests/loss/test_triton.py"], "on a GPU": ["tests/test_on_gpu.py"]}
    if args.rehearse:
        chosen = {"kernels": ["tests/loss/test_triton.py", "-k", "equal_passes"]}
    for name, which in chosen.items():
        with _kernels(args):
            done = subprocess.run([*pytest, *which], cwd=CHECKOUT, capture_output=True, text=True)
        said[name] = {"status": done.returncode, "summary": done.stdout.strip().split("\n")[-1], "log": done.stdout}
    return said


def launch(args, positions, vocab):
    """Seconds of forward and backward by block size and warps."""
    settings = Namespace(dtype="float32" if args.rehearse else "float16", device=args.device)
    run = on_logits_runs(settings, 3, positions, vocab)[OURS]
    usual, choices = (kernels.BLOCK_SIZE, kernels.NUM_WARPS), {}
    for block, warps in [(64, 4)] if args.rehearse else itertools.product((1 << 12, 1 << 13, 1 << 14), (2, 4, 8, 16)):
        choices[f"{block}, {warps}"] = lambda block=block, warps=warps: _launched(run, block, warps)
    try:
        with _kernels(args):
            seconds = interleaved(choices, args.rounds, args.device, queued=True)
    finally:
        kernels.BLOCK_SIZE, kernels.NUM_WARPS = usual
    return {"seconds": seconds, "usual": "{}, {}".format(*usual)}


def _kernels(args):
    """To rehearse, the kernels run here, in Triton's interpreter; elsewhere torch computes the loss, being faster."""
    return mock.patch.dict(os.environ, {"TRITON_INTERPRET": "1"} if args.rehearse else {})


def _launched(run, block, warps):
    kernels.BLOCK_SIZE, kernels.NUM_WARPS = block, warps
    run()


def loss(args, positions, vocab, dtype):
    """Ours and plain cross-entropies against moving the logits three times at the bandwidth of a copy.

    Of ours, also with its launches: what it takes where the GPU waits for the host.
    """
    settings = Namespace(dtype=dtype, device=args.device, rounds=args.rounds)
    wanted = ("cross-entropies", "naive", OURS)
    runs = on_logits_runs(settings, 3, positions, vocab)
    with _kernels(args):
        seconds = interleaved({name: runs[name] for name in wanted}, args.rounds, args.device, queued=True)
        seconds |= interleaved({LAUNCHED: runs[OURS]}, args.rounds, args.device)
    floor = floor_seconds(settings, 3, positions, vocab)
    bandwidth = 3 * 3 * positions * vocab * torch.finfo(getattr(torch, dtype)).bits / 8 / min(floor)
    ratios = {name: ratio(seconds[name], floor) for name in seconds}
    return {"seconds": seconds, "floor": floor, "ratios": ratios, "bytes per second": bandwidth}


def step(args, size, dtype):
    """Time and peak memory of a step in every mode, against a plain step."""
    workload = Workload(size, args.device, dtype)
    peaks = {method: peak for method in METHODS if (peak := _peak(workload, method)) is not None}
    runs = {method: lambda method=method: workload.step(method) for method in peaks}
    seconds = interleaved(runs, args.rounds, args.device)
    ratios = {method: ratio(seconds[method], seconds["plain"]) for method in peaks}
    return {"seconds": seconds, "ratios": ratios, "bytes": peaks, "padding": workload.pads()}


def _peak(workload, method):
    """Bytes allocated at the most, on a CPU 1; None: too many."""
    on_gpu = workload.device == "cuda"
    try:
        workload.step(method)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        workload.step(method)
    except torch.OutOfMemoryError:
        workload.optimizer.zero_grad()
        torch.cuda.empty_cache()
        return None
    return torch.cuda.max_memory_allocated() if on_gpu else 1


def host(args, size, dtype):
    """The share of a step's time that its launches take, and what torch.compile makes of it.

    CUDA graphs are out of the question: in every layer fairseq's encoder asks the GPU whether there is padding
    (fairseq/models/transformer/transformer_encoder.py).
    """
    found = {"share": {}, "attempts": {}}
    for method in ("batched",) if args.rehearse else ("plain", "batched", "sequential"):
        workload = Workload(size, args.device, dtype)
        eager = lambda workload=workload, method=method: workload.forward_backward(method)  # noqa: E731
        found["share"][method] = _host_share(eager, args)
        try:
            compiled = _compiled(size, dtype, method, args)
            compiled()
            seconds = interleaved({"eager": eager, "compiled": compiled}, args.rounds, args.device)
            result = ratio(seconds["compiled"], seconds["eager"])
        except Exception as error:  # the answer, whatever it is
            result = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        found["attempts"][f"{method}, torch.compile"] = result
    return found


def _host_share(run, args):
    shares = []
    for _ in range(args.rounds + 1):
        start = time.perf_counter()
        run()
        launched = time.perf_counter() - start
        if args.device == "cuda":
            torch.cuda.synchronize()
        shares.append(launched / (time.perf_counter() - start))
    return sorted(shares[1:])[len(shares[1:]) // 2]


def _compiled(size, dtype, method, args):
    workload = Workload(size, args.device, dtype)
    workload.model.compile(backend="eager" if args.rehearse else "inductor")
    return lambda: workload.forward_backward(method)


def largest(args, size, dtype, method):
    """The largest --max-tokens whose step fits into memory, to 3 %."""
    low, high = 0, None
    tokens = 16 if args.rehearse else 4096
    while high is None or high > 1.03 * low + 1:
        if fits(args, size, dtype, method, tokens):
            low = tokens
        else:
            high = tokens
        tokens = 2 * low if high is None else (low + high) // 2
        if low >= 1 << 18:
            break
    return {"max_tokens": low, "too many": high}


def fits(args, size, dtype, method, tokens):
    try:
        if args.rehearse and tokens > 24:
            raise torch.OutOfMemoryError("out of memory, for the rehearsal")
        workload = Workload(size, args.device, dtype, tokens)
        workload.step(method)
        workload.step(method)
        return True
    except torch.OutOfMemoryError:
        return False
    finally:
        workload = None  # type: ignore[assignment]
        if args.device == "cuda":
            torch.cuda.empty_cache()


def training(args, data, method, name):
    """One training with its BLEU, in slices: it resumes from its last checkpoint in the next call."""
    out = args.out / "runs" / name
    half = [args.updates // 2] if method == "late" else []
    often = max(1, args.updates // 20)
    warm_up = ["--warmup-updates", max(1, args.updates // 5)]
    limits = [
        "--updates",
        args.updates,
        *warm_up,
        "--validate-interval-updates",
        often,
        "--save-interval-updates",
        often,
    ]
    command = ["train.sh", "--data", data, "--preset", args.preset, "--out", out, *TRAININGS[method], *half, *limits]
    _in_time(args, [*command, "--keep-interval-updates", 1, "--no-epoch-checkpoints"])
    checkpoint = out / "checkpoints" / "checkpoint_best.pt"
    _in_time(args, ["evaluate.sh", "--data", data, "--checkpoint", checkpoint])
    log = parse_log((out / "train.log").read_text())
    score = json.loads(checkpoint.with_name("checkpoint_best.test.json").read_text())
    return {
        "updates": int(log.train[-1]["num_updates"]),
        "best validation nll": min(line["nll_loss"] for line in log.valid),
        "bleu": score["bleu"]["score"],
        "signature": score["bleu"]["signature"],
    }


def _in_time(args, command):
    words = [str(CHECKOUT / "scripts" / command[0]), *map(str, command[1:])]
    environment = os.environ | {"FAIRSEQ_INTRA_PYTHON": sys.executable}
    process = subprocess.Popen(words, stdout=sys.stderr, env=environment, start_new_session=True)
    try:
        status = process.wait(max(1.0, args.deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise OutOfTime from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    if status:
        raise RuntimeError(f"{' '.join(words)} ended with status {status}")
