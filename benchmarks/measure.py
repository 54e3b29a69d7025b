"""What the benchmarks share: interleaved timing, ratios within one run, the machine, tables."""

import argparse
import datetime
import functools
import json
import logging
import os
import platform
import shlex
import statistics
import sys
import time
from importlib import metadata

import torch

# fairseq lets through all that libraries log of their own workings.
logging.getLogger("matplotlib").setLevel(logging.WARNING)
#: Operations that a profile names; the rest is summed up.
NAMED = 8

#: What scripts/train.sh sets on a CPU (CPU_ENVIRONMENT of runs/workers.py).
CPU_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GOMP_SPINCOUNT")


def arguments(description):
    """A parser with the flags of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds, after one to warm up")
    parser.add_argument("--json", metavar="FILE", help="write figures and machine here")
    return parser


def parsed(parser):
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


def interleaved(runs, rounds, device, queued=False):
    """Seconds of every round, by name: one of each in turn, so that a slow spell of the machine hits all alike.

    Args:
        queued: on a GPU, time the kernels alone: they are launched while it is busy, so that it never waits for the
            host.
    """
    seconds = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            elapsed = _timed(run, device, queued)
            if number:
                seconds[name].append(elapsed)
        print(f"round {number} of {rounds}", file=sys.stderr)
    return seconds


def ratio(seconds, to):
    """Of two lists of seconds, round by round: median, 20th and 80th percentile."""
    ratios = sorted(a / b for a, b in zip(seconds, to, strict=True))
    fifths = statistics.quantiles(ratios, n=5, method="inclusive") if len(ratios) > 1 else ratios * 4
    return {"median": statistics.median(ratios), "p20": fifths[0], "p80": fifths[-1]}


def profile(run, args, title):
    """Shows the shares of the time that operations take themselves, over some rounds."""
    run()
    with torch.profiler.profile() as profiler:
        for _ in range(args.rounds):
            run()
    measure = "self_device_time_total" if args.device == "cuda" else "self_cpu_time_total"
    times = {event.key: getattr(event, measure) for event in profiler.key_averages()}
    shares = {name: time / sum(times.values()) for name, time in sorted(times.items(), key=lambda item: -item[1])}
    rows = [[name, f"{share:.0%}"] for name, share in list(shares.items())[:NAMED]]
    rows.append(["all others", f"{sum(list(shares.values())[NAMED:]):.0%}"])
    show(title, ["operation", "share of the time"], rows, args, shares=shares)


def machine(args):
    """Where and with what the figures were made, and the command."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"{args.threads} CPU threads ({_processor()})"
    return {
        "command": shlex.join(["python", *_without_json(sys.argv)]),
        "date": datetime.date.today().isoformat(),
        "device": device,
        **{name: os.environ[name] for name in CPU_SETTINGS if name in os.environ},
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("torch", "triton") if _installed(name)},
    }


def show(title, columns, rows, args, **figures):
    """Prints a Markdown table of rows of cells, and writes `figures` where --json says."""
    made = machine(args)
    print(f"**{title}**\n")
    print(", ".join(f"{name} {value}" if name != "command" else f"`{value}`" for name, value in made.items()) + "\n")
    print("| " + " | ".join(columns) + " |\n|" + "---|" + "---:|" * (len(columns) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"title": title, "machine": made, **figures}, file, indent=1)
            file.write("\n")


def cell(found):
    return f"{found['median']:.2f} ({found['p20']:.2f} to {found['p80']:.2f})"


def _timed(run, device, queued):
    if device == "cpu":
        began = time.perf_counter()
        run()
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    if queued:
        _keep_busy()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


@functools.cache
def _large_buffer():
    return torch.empty(1 << 28, device="cuda")


def _keep_busy():
    """Some milliseconds of work for a GPU; its cache then holds nothing of the run before."""
    for _ in range(20):
        _large_buffer().zero_()


def _without_json(argv):
    """Where the figures were written does not matter to who makes them again."""
    at = argv.index("--json") if "--json" in argv else len(argv)
    return argv[:at] + argv[at + 2 :]


def _installed(name):
    try:
        return metadata.version(name) is not None
    except metadata.PackageNotFoundError:
        return False


def _processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()
