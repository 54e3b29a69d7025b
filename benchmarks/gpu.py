"""All measurements on one GPU, in slices: what an earlier call has finished is skipped (`gpu.sh` starts it).

At the end it prints the tables for README.md of all that is finished, and how much is left.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from gpu_parts import LAUNCHED, OURS, OutOfTime, cases
from measure import cell, machine, ratio

from fairseq_intra.console import say
from fairseq_intra.errors import UsageError
from fairseq_intra.files import locked, make_folder
from fairseq_intra.json_files import read_json, write_json
from fairseq_intra.runs.same_arguments import keep_arguments


def main():
    args = parsed()
    try:
        make_folder("--out", args.out)
        with locked(args.out):
            left, failed = measure(args)
            print_tables(args)
    except UsageError as error:
        sys.exit(f"gpu.py: error: {error}")
    if failed:
        sys.exit(f"gpu.py: error: failed: {', '.join(failed)}; repeat the command to try them again")
    say(f"{left} cases left: repeat the command" if left else "all cases are finished")


def parsed():
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; to resume, the same")
    parser.add_argument("--minutes", type=float, default=9, help="start nothing new after (default: %(default)s)")
    parser.add_argument(
        "--data", nargs="*", default=[], help="datasets to train on, as prepare-parallel.sh makes them"
    )
    parser.add_argument("--updates", type=int, default=4000, help="of each training (default: %(default)s)")
    parser.add_argument("--preset", default="paper", help="of scripts/train.sh (default: %(default)s)")
    parser.add_argument(
        "--parts", nargs="*", choices=list(TABLES), default=list(TABLES), help="only these (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds, after one to warm up")
    parser.add_argument("--rehearse", action="store_true", help="every part on the CPU with tiny sizes")
    args = parser.parse_args()
    names = [Path(data).resolve().name for data in args.data]
    if twice := [name for name in names if names.count(name) > 1]:
        parser.error(f"--data: two folders are called {twice[0]}, and figures by the folder's name; rename one")
    args.device, args.threads = ("cpu", 1) if args.rehearse else ("cuda", 0)
    args.rounds = 1 if args.rehearse else args.rounds
    args.deadline = time.monotonic() + 60 * args.minutes
    if args.rehearse:
        # The kernels are imported by now; only their own parts use the interpreter.
        if os.environ.pop("TRITON_INTERPRET", None) != "1":
            parser.error("--rehearse needs TRITON_INTERPRET=1 from the start, as gpu.sh sets it")
        torch.set_num_threads(1)
    elif not torch.cuda.is_available():
        parser.error("there is no GPU here that torch can use; --rehearse does every part on the CPU")
    return args


def measure(args):
    """How many cases are left, and the names of those that failed."""
    write_machine(args)
    if "training" in args.parts and args.data:
        keep_arguments(args.out, [f"--preset {args.preset}", f"--updates {args.updates}"])
    left, failed = 0, []
    for part, name, run in cases(args):
        path = args.out / f"{name}.json"
        if path.exists() or part not in args.parts:
            continue
        if time.monotonic() > args.deadline:
            left += 1
            continue
        say(name)
        try:
            write_json(path, run())
        except OutOfTime:
            left += 1
        except Exception as error:  # one failure is not to cost the other figures
            say(f"{name} failed: {type(error).__name__}: {error}")
            failed.append(name)
    return left, failed


def write_machine(args):
    """Writes where the figures are made; figures of two GPUs never share a folder."""
    path, made = args.out / "machine.json", machine(args)
    if args.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        made |= {"memory, bytes": properties.total_memory, "SMs": properties.multi_processor_count}
        made |= {"cuda": torch.version.cuda}
    if path.exists() and (before := read_json(path)["device"]) != made["device"]:
        raise UsageError(f"--out {args.out} has results of {before}, not of {made['device']}: name another folder")
    if not path.exists():
        write_json(path, made)


def print_tables(args):
    found = {}
    for part, name, _ in cases(args):
        if (args.out / f"{name}.json").exists():
            found.setdefault(part, {})[name.partition(".")[2]] = read_json(args.out / f"{name}.json")
    made = read_json(args.out / "machine.json")
    print(", ".join(f"{name} {value}" for name, value in made.items()) + "\n")
    for part, results in found.items():
        title, columns, rows = TABLES[part](results)
        print(f"**{title}**\n\n| " + " | ".join(columns) + " |\n|" + "---|" + "---:|" * (len(columns) - 1))
        for row in rows:
            print("| " + " | ".join(row) + " |")
        print()


def tests_table(results):
    rows = [[name, str(found["status"]), found["summary"]] for name, found in results[""].items()]
    return "Tests", ["tests", "exit status", "summary"], rows


def launch_table(results):
    seconds, usual = results[""]["seconds"], results[""]["usual"]
    against = seconds.get(usual, next(iter(seconds.values())))
    rows = [[name, cell(ratio(values, against))] for name, values in seconds.items()]
    return f"Block size and warps of the kernels (now {usual})", ["block size, warps", "time against now"], rows


#: Columns of the table of the loss.
LOSSES = (OURS, LAUNCHED, "cross-entropies", "naive")


def loss_table(results):
    rows = []
    for name, found in results.items():
        vocab, dtype = name.split(".")
        columns = [cell(found["ratios"][which]) for which in LOSSES]
        rows.append([f"V = {vocab}, {dtype}", *columns, f"{found['bytes per second'] / 1e12:.2f}"])
    title = "Loss, forward and backward, K = 3: time against 2 reads and 1 write of the logits"
    return title, ["logits", *LOSSES, "bandwidth of a copy, TB/s"], rows


def step_table(results):
    rows = []
    for name, found in results.items():
        for method, bytes_ in found["bytes"].items():
            memory = f"{bytes_ / 2**20:.0f}", f"{bytes_ / found['bytes']['plain']:.2f}"
            rows.append([name.replace(".", ", "), method, cell(found["ratios"][method]), *memory])
    columns = ["size", "method", "time against plain", "peak memory, MiB", "memory against plain"]
    return "A training step, K = 3", columns, rows


def host_table(results):
    rows = [[f"{method}: launches", f"{share:.0%} of the time"] for method, share in results[""]["share"].items()]
    for name, found in results[""]["attempts"].items():
        rows.append([name, found if isinstance(found, str) else f"{cell(found)} of eager's time"])
    return "Launches by the host; forward and backward captured or compiled", ["what", "result"], rows


def largest_table(results):
    plain = results.get("plain", {}).get("max_tokens")
    rows = [
        [name, str(found["max_tokens"]), f"{found['max_tokens'] / plain:.2f}" if plain else ""]
        for name, found in results.items()
    ]
    return "Largest --max-tokens that fits", ["method", "tokens", "against plain"], rows


def training_table(results):
    rows = [
        [name, str(found["updates"]), f"{found['best validation nll']:.3f}", f"{found['bleu']:.2f}"]
        for name, found in results.items()
    ]
    return "Trainings, one seed", ["dataset, method", "updates", "best validation nll", "BLEU"], rows


TABLES = {
    "tests": tests_table,
    "launch": launch_table,
    "loss": loss_table,
    "step": step_table,
    "host": host_table,
    "largest": largest_table,
    "training": training_table,
}


if __name__ == "__main__":
    main()
