"""How long a training step takes, in each mode, against a step of plain training; or where the time of one goes.

python benchmarks/step.py [--size cpu|iwslt|wmt] [--fp16 | --bf16] [--profile METHOD]

On a CPU in float32, also steps with fairseq's --amp, which multiplies in bfloat16 there.
"""

from measure import arguments, cell, interleaved, parsed, profile, ratio, show
from workload import COMPILED, METHODS, K, Workload, add_flags, named

from fairseq_intra.patches.amp_on_cpu import bfloat16_products

WITH_AMP = ("plain", "batched", "encoder-once", *COMPILED)


def main():
    parser = arguments(__doc__.split("\n")[0])
    add_flags(parser)
    parser.add_argument("--profile", choices=METHODS, help="which operations take the time of this mode's step")
    args = parsed(parser)
    workload = Workload(args.size, args.device, args.dtype)
    title = f"step, K = {K}: size {args.size}{named(args.dtype)}, "
    title += f"{workload.pads():.0%} of the target's positions padding"
    if args.profile:
        profile(lambda: workload.step(args.profile), args, f"Where the time goes, {args.profile} {title}")
    else:
        comparison(args, workload, f"A training {title}")


def comparison(args, workload, title):
    in_float32_on_cpu = args.device == "cpu" and args.dtype == "float32"
    methods = (*METHODS, *COMPILED) if in_float32_on_cpu else METHODS
    runs = {method: lambda method=method: workload.step(method) for method in methods}
    if in_float32_on_cpu:
        runs |= {f"{method}, --amp": lambda method=method: with_amp(workload, method) for method in WITH_AMP}
    seconds = interleaved(runs, args.rounds, args.device)
    found = {method: ratio(seconds[method], seconds["plain"]) for method in runs}
    columns = ["method", "time against plain, median (20th to 80th percentile)"]
    show(title, columns, [[name, cell(found[name])] for name in runs], args, ratios=found, seconds=seconds)


def with_amp(workload, method):
    with bfloat16_products():
        workload.step(method)


if __name__ == "__main__":
    main()
