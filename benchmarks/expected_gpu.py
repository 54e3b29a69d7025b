"""What the loss should take on GPUs, from the compiled kernels: expected, not measured. No GPU is needed.

python benchmarks/expected_gpu.py > benchmarks/gpu_expected.md

The floor moves the logits twice and the gradient once at the bandwidth that a copy reaches, taken as 90 % of the data
sheet's. A kernel is expected to take the longer of its own memory traffic at that bandwidth and of issuing its
instructions, one per scheduler and cycle at the boost clock (nvdisasm: the loop over full blocks, what surrounds it);
both kernels together are the loss. Launches, the sums over positions and waiting for memory at low occupancy come on
top.
"""

import argparse
import re
from typing import NamedTuple

import triton
from compiled import DTYPES, Variant, compiled, tool

COPY_SHARE = 0.9


class Card(NamedTuple):
    target: str
    processors: int  #: SMs
    clock: float  #: boost, Hz
    bandwidth: float  #: data sheet, bytes/s
    schedulers: int = 4  #: of an SM, each issues one instruction of a warp per cycle
    registers: int = 65536  #: of an SM
    warps: int = 64  #: of an SM


#: NVIDIA's data sheets (SXM).
CARDS = {
    "A100 80 GB": Card("sm_80", 108, 1.41e9, 2.039e12),
    "H100": Card("sm_90", 132, 1.83e9, 3.35e12),
    "H200": Card("sm_90", 132, 1.83e9, 4.8e12),
}
#: Positions N of a mini-batch of 4,096 tokens less padding; vocabularies: as the recipe makes it, one that no power
#: of two divides.
SIZES = {"IWSLT": (3900, 12000), "IWSLT, V odd": (3900, 12001), "WMT": (3900, 32768), "WMT, V odd": (3900, 32769)}
PASSES = 3


class Cost(NamedTuple):
    """One kernel at one size on one card."""

    registers: int
    occupancy: float  #: warps that fit at once, of those that the card allows
    memory: float  #: seconds
    issue: float  #: seconds

    @property
    def expected(self):
        return max(self.memory, self.issue)


def cost(card, kernel, dtype, positions, vocab):
    found = compiled(Variant(kernel, card.target, dtype, PASSES, vocab, positions=positions))
    instructions, programs = instructions_of_a_warp(found, kernel, vocab), positions
    if kernel == "gradient":
        programs *= triton.cdiv(vocab, found.block)
    reads_and_writes = {"forward": 1, "gradient": 2}[kernel]
    moved = reads_and_writes * PASSES * positions * vocab * DTYPES[dtype][1]
    issue = programs * found.warps * instructions / (card.processors * card.schedulers * card.clock)
    of_a_warp = triton.cdiv(found.registers, 8) * 8 * 32
    resident = card.registers // (of_a_warp * found.warps) * found.warps
    return Cost(found.registers, resident / card.warps, moved / (COPY_SHARE * card.bandwidth), issue)


def instructions_of_a_warp(found, kernel, vocab):
    """Instructions that one warp of one program executes."""
    code, labels, loop = [], {}, 0
    for line in tool("nvdisasm", found.cubin, "-c").split("\n"):
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*?);", line):
            code.append(instruction[1])
            back = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", instruction[1])
            if back and back[1] in labels and kernel == "forward":
                loop = max(loop, len(code) - labels[back[1]])
    end = next(number for number, text in enumerate(code) if re.match(r"(@!?U?P\w+ )?EXIT", text) and "@" not in text)
    total = end + 1
    if kernel == "gradient":
        return total
    full, rest = divmod(vocab, found.block)
    # What follows the loop is the block at the end, where there is one, and the statistics.
    return full * loop + (total - loop if rest else total - 2 * loop)


def rows(dtype):
    for size, (positions, vocab) in SIZES.items():
        for name, card in CARDS.items():
            kernels = [cost(card, kernel, dtype, positions, vocab) for kernel in ("forward", "gradient")]
            floor = 3 * PASSES * positions * vocab * DTYPES[dtype][1] / (COPY_SHARE * card.bandwidth)
            expected = sum(kernel.expected for kernel in kernels)
            cells = [f"{size}: N = {positions}, V = {vocab}", dtype, name]
            for kernel in kernels:
                cells.append(f"{kernel.registers}, {kernel.occupancy:.0%}")
                cells.append(f"{kernel.memory * 1e3:.2f} / {kernel.issue * 1e3:.2f}")
            yield [*cells, f"{floor * 1e3:.2f}", f"{expected * 1e3:.2f}", f"{expected / floor:.2f}"]


def main():
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    print("# The loss on GPUs: expected, not measured\n")
    print(
        f"`python benchmarks/expected_gpu.py > benchmarks/gpu_expected.md`, triton {triton.__version__}, K = {PASSES}"
    )
    print("\n" + __doc__[__doc__.index("The floor") :])
    columns = ["size", "dtype", "GPU", "forward: registers, occupancy", "memory / issue, ms"]
    columns += [
        "backward: registers, occupancy",
        "memory / issue, ms",
        "floor, ms",
        "expected, ms",
        "expected / floor",
    ]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * 3 + "---:|" * (len(columns) - 3))
    for dtype in ("float16", "float32"):
        for row in rows(dtype):
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
