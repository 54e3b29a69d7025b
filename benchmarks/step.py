"""How long a training step takes, in each way, against a step of plain training; or where the time of one goes.

python benchmarks/step.py [--size cpu|iwslt|wmt] [--fp16] [--profile METHOD]
"""

import torch
from measure import arguments, cell, interleaved, parsed, ratio, show
from workload import METHODS, K, Workload, add_flags

#: Operations that a profile names; the rest is summed up.
NAMED = 8


def main():
    parser = arguments(__doc__.split("\n")[0])
    add_flags(parser)
    parser.add_argument("--profile", choices=METHODS, help="which operations take the time of this way's step")
    args = parsed(parser)
    workload = Workload(args.size, args.device, args.fp16)
    title = f"step, K = {K}: size {args.size}{', fp16' if args.fp16 else ''}, "
    title += f"{workload.pads():.0%} of the target's positions padding"
    if args.profile:
        profile(args, workload, f"Where the time goes, {args.profile} {title}")
    else:
        comparison(args, workload, f"A training {title}")


def comparison(args, workload, title):
    runs = {method: lambda method=method: workload.step(method) for method in METHODS}
    seconds = interleaved(runs, args.rounds, args.device)
    found = {method: ratio(seconds[method], seconds["plain"]) for method in METHODS}
    columns = ["method", "time against plain, median (20th to 80th percentile)"]
    show(title, columns, [[name, cell(found[name])] for name in METHODS], args, ratios=found, seconds=seconds)


def profile(args, workload, title):
    """Shares of the time that operations take themselves, over some steps."""
    workload.step(args.profile)
    with torch.profiler.profile() as profiler:
        for _ in range(args.rounds):
            workload.step(args.profile)
    measure = "self_device_time_total" if args.device == "cuda" else "self_cpu_time_total"
    times = {event.key: getattr(event, measure) for event in profiler.key_averages()}
    shares = {name: time / sum(times.values()) for name, time in sorted(times.items(), key=lambda item: -item[1])}
    rows = [[name, f"{share:.0%}"] for name, share in list(shares.items())[:NAMED]]
    rows.append(["all others", f"{sum(list(shares.values())[NAMED:]):.0%}"])
    show(title, ["operation", "share of the time"], rows, args, shares=shares)


if __name__ == "__main__":
    main()
