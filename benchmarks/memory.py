"""The peak memory of training, in each mode, against that of plain training.

python benchmarks/memory.py [--size cpu|iwslt|wmt] [--fp16 | --bf16]

Each mode in a process of its own: weights, gradients, Adam's moments and activations over three steps. On a GPU, what
torch has allocated. On a CPU, the resident memory above that of the process with everything imported, twice: "held",
with an allocator that gives every freed block of 64 KiB and more back at once, so that resident is what is in use;
and as glibc's allocator comes, which keeps freed memory in fragments.
"""

import json
import os
import resource
import subprocess
import sys

import torch
from measure import arguments, parsed, show
from workload import METHODS, K, Workload, add_flags, named

FLAGS = {"float32": [], "float16": ["--fp16"], "bfloat16": ["--bf16"]}
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def main():
    parser = arguments(__doc__.split("\n")[0])
    add_flags(parser)
    parser.add_argument("--only", choices=METHODS, help="this mode in this process, bytes to stdout")
    args = parsed(parser)
    if args.only:
        print(peak(args))
        return
    measures = {"allocated": {}} if args.device == "cuda" else {"held": GIVE_BACK, "glibc's default": {}}
    found = {
        measure: {method: _in_a_process(args, method, settings) for method in METHODS}
        for measure, settings in measures.items()
    }
    rows = [[method, *(cell for sizes in found.values() for cell in _cells(sizes, method))] for method in METHODS]
    columns = ["method", *(name for measure in measures for name in (f"{measure}, MiB", "against plain"))]
    title = f"Peak memory of training, K = {K}: size {args.size}{named(args.dtype)}"
    show(title, columns, rows, args, bytes=found)


def peak(args):
    """Bytes."""
    before = _resident()
    workload = Workload(args.size, args.device, args.dtype)
    for _ in range(3):
        workload.step(args.only)
    if args.device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _cells(sizes, method):
    return f"{sizes[method] / 2**20:.0f}", f"{sizes[method] / sizes['plain']:.2f}"


def _in_a_process(args, method, settings):
    command = [sys.executable, __file__, "--only", method, "--size", args.size, "--device", args.device]
    command += ["--threads", str(args.threads), *FLAGS[args.dtype]]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | settings)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
