"""How long the loss takes, forward and backward, against K plain cross-entropies over the same logits.

python benchmarks/loss.py [--passes K --positions N --vocab V --dtype DTYPE] [--growth | --profile]
"""

from typing import Any

import torch
import torch.nn.functional as F
from measure import arguments, cell, interleaved, parsed, profile, ratio, show
from naive import naive_loss

from fairseq_intra.loss.functional import (
    choose_implementation,
    intra_distillation_loss,
    intra_distillation_loss_on_features,
)

OPTIONS: dict[str, Any] = {"alpha": 5.0, "label_smoothing": 0.1}


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--passes", type=int, default=3, help="K (default: %(default)s)")
    parser.add_argument("--positions", type=int, default=1800, help="N (default: %(default)s)")
    parser.add_argument("--vocab", type=int, default=8000, help="V (default: %(default)s)")
    parser.add_argument("--width", type=int, default=256, help="C, of the features (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--growth", action="store_true", help="time with K, N and V instead")
    instead.add_argument("--profile", action="store_true", help="which operations take the time of ours instead")
    args = parsed(parser)
    shape = (args.passes, args.positions, args.vocab)
    if args.growth:
        growth(args)
    elif args.profile:
        ours = on_logits_runs(args, *shape)["ours, gradient over the logits"]
        profile(ours, args, f"Where the time of the loss on logits goes: {described(args)}")
    else:
        comparison(args, *shape)


def described(args):
    return f"K = {args.passes}, N = {args.positions}, V = {args.vocab}, {args.dtype}"


def comparison(args, *shape):
    runs, on_features = on_logits_runs(args, *shape), on_features_runs(args, *shape)
    seconds = interleaved({**runs, **on_features}, args.rounds, args.device, queued=True)
    found, rows = {}, []
    for names, baseline in ((runs, "cross-entropies"), (on_features, "projections and cross-entropies")):
        for name in names:
            found[name] = ratio(seconds[name], seconds[baseline])
            rows.append([name, baseline, cell(found[name])])
    if "naive" in seconds:
        found["naive / ours"] = ratio(seconds["naive"], seconds["ours, gradient over the logits"])
        rows.append(["naive", "ours, gradient over the logits", cell(found["naive / ours"])])
    if args.device == "cuda":
        found["floor"] = ratio(seconds["ours, gradient over the logits"], floor_seconds(args, *shape))
        rows.append(["ours, gradient over the logits", "2 reads and 1 write of the logits", cell(found["floor"])])
    title = f"Loss, forward and backward: {described(args)}"
    columns = ["what", "against", "time, median (20th to 80th percentile)"]
    show(title, columns, rows, args, ratios=found, seconds=seconds)


def on_logits_runs(args, passes, positions, vocab):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(passes, positions, vocab, generator=generator)
    logits = logits.to(args.device, getattr(torch, args.dtype)).requires_grad_()
    target = torch.randint(vocab, (positions,), generator=generator).to(args.device)

    def gradient(loss, of=logits):
        torch.autograd.grad(loss, of)

    def overwritten():
        # From the second round on the buffer holds a gradient, which takes as long.
        gradient(intra_distillation_loss(buffer, target, overwrite_logits=True, **OPTIONS).loss, buffer)

    def ours(**options):
        return lambda: gradient(intra_distillation_loss(logits, target, **options, **OPTIONS).loss)

    buffer = logits.detach().clone().requires_grad_()
    runs = {
        "cross-entropies": lambda: gradient(
            sum(F.cross_entropy(z.float(), target, label_smoothing=0.1, reduction="sum") for z in logits)
        ),
        "naive": lambda: gradient(naive_loss(logits.unbind(), target, *OPTIONS.values())),
        "ours": ours(),
        "ours, gradient over the logits": overwritten,
        "ours, JS": ours(divergence="js"),
    }
    if args.device == "cpu":
        runs |= {
            "ours, compiled": ours(implementation="compiled"),
            "ours, JS, compiled": ours(divergence="js", implementation="compiled"),
        }
    return runs


def on_features_runs(args, passes, positions, vocab):
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, args.dtype)
    features = torch.randn(passes, positions, args.width, generator=generator).to(args.device, dtype).requires_grad_()
    weight = torch.randn(vocab, args.width, generator=generator) * args.width**-0.5
    weight = weight.to(args.device, dtype).requires_grad_()
    target = torch.randint(vocab, (positions,), generator=generator).to(args.device)

    def plain():
        for x in features:
            loss = F.cross_entropy(F.linear(x, weight).float(), target, label_smoothing=0.1, reduction="sum")
            torch.autograd.grad(loss, [features, weight])

    def ours(**options):
        loss = intra_distillation_loss_on_features(features, weight, None, target, **options, **OPTIONS).loss
        torch.autograd.grad(loss, [features, weight])

    runs = {"projections and cross-entropies": plain, "ours on features": ours}
    if args.device == "cpu":
        runs["ours on features, compiled"] = lambda: ours(implementation="compiled")
    return runs


def floor_seconds(args, passes, positions, vocab):
    """What moving the logits twice and the gradient once takes at the bandwidth of a copy, by round."""
    source = torch.empty(passes, positions, vocab, device=args.device, dtype=getattr(torch, args.dtype))
    target = torch.empty_like(source)
    copy = interleaved({"copy": lambda: target.copy_(source)}, args.rounds, args.device, queued=True)["copy"]
    return [1.5 * seconds for seconds in copy]


def growth(args):
    base = {"passes": args.passes, "positions": args.positions, "vocab": args.vocab}
    steps = {
        "passes": [2, 4, 8],
        "positions": [args.positions // 2, args.positions, 2 * args.positions],
        "vocab": [args.vocab // 2, args.vocab, 2 * args.vocab, 4 * args.vocab],
    }
    rows, found = [], {}
    for name, values in steps.items():
        runs = {value: on_logits_runs(args, **{**base, name: value})["ours"] for value in values}
        seconds = interleaved(runs, args.rounds, args.device, queued=True)
        for value in values[1:]:
            per_number = [s * values[0] / value for s in seconds[value]]
            found[f"{name} {values[0]} to {value}"] = ratio(per_number, seconds[values[0]])
            rows.append([f"{name} {values[0]} to {value}", cell(found[f"{name} {values[0]} to {value}"])])
    implementation = choose_implementation("auto", torch.device(args.device), getattr(torch, args.dtype), "x")
    title = f"Growth of the loss ({implementation}): time per element, relative to the smaller size; 1 is linear"
    show(title, ["from and to", "ratio, median (20th to 80th percentile)"], rows, args, ratios=found)


if __name__ == "__main__":
    main()
