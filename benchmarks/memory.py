"""The peak memory of training, in each way, against that of plain training.

python benchmarks/memory.py [--size cpu|iwslt|wmt] [--fp16]

Each way in a process of its own: weights, gradients, Adam's moments and activations over three steps; on a CPU the
resident memory above that of the process with everything imported, on a GPU what torch has allocated.
"""

import json
import resource
import subprocess
import sys

import torch
from measure import arguments, parsed, show
from workload import METHODS, SIZES, K, Workload


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--size", default="cpu", choices=SIZES, help="model and mini-batch (default: %(default)s)")
    parser.add_argument("--fp16", action="store_true", help="half-precision weights")
    parser.add_argument("--only", choices=METHODS, help="this way in this process, bytes to stdout")
    args = parsed(parser)
    if args.only:
        print(peak(args))
        return
    found = {method: _in_a_process(args, method) for method in METHODS}
    rows = [[name, f"{size / 2**20:.0f}", f"{size / found['plain']:.2f}"] for name, size in found.items()]
    title = f"Peak memory of training, K = {K}: size {args.size}{', fp16' if args.fp16 else ''}"
    show(title, ["method", "MiB", "against plain"], rows, args, bytes=found)


def peak(args):
    """Bytes."""
    before = _resident()
    workload = Workload(args.size, args.device, args.fp16)
    for _ in range(3):
        workload.step(args.only)
    if args.device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _in_a_process(args, method):
    command = [sys.executable, __file__, "--only", method, "--size", args.size, "--device", args.device]
    command += ["--threads", str(args.threads), *(["--fp16"] if args.fp16 else [])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
