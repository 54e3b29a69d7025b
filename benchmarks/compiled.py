"""The Triton kernels compiled for GPUs that need not be here, and what the compilers made of them.

python benchmarks/compiled.py [--grid]      # one line per variant; --grid: all variants, some minutes

Each kernel is compiled for the very arguments with which the loss would launch it.
"""

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
from collections import Counter
from typing import NamedTuple
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fairseq_intra.loss import triton as kernels
from fairseq_intra.loss.closed_form import Settings, Statistics

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
DTYPES = {"float16": ("fp16", 2), "bfloat16": ("bf16", 2), "float32": ("fp32", 4), "int64": ("i64", 8)}
#: Vocabularies by what divides them: 16, 8 alone, 4, 2, 1; and one of a block.
VOCABULARIES = (12000, 12008, 12004, 12002, 12001, 8)
AMD_BYTES = {"dwordx4": 16, "dwordx3": 12, "dwordx2": 8, "dword": 4, "short": 2, "ushort": 2}


class Variant(NamedTuple):
    kernel: str  #: "forward" or "gradient"
    target: str  #: of TARGETS
    dtype: str
    passes: int
    vocab: int
    warps: int = 0  #: 0: as `loss.triton` launches it
    positions: int = 4000


class Compiled(NamedTuple):
    """What the compilers made of a variant."""

    registers: int  #: 32 bits, of a thread
    spilled: int  #: bytes of a thread (AMD: registers)
    loads: Counter  #: {bytes: instructions}, of the logits and the statistics; without the target
    stores: Counter
    ttir: str
    block: int  #: words of a program's block
    warps: int  #: of a program
    cubin: bytes | None  #: NVIDIA's


def compiled(variant: Variant) -> Compiled:
    function, arguments, constants, warps = launch(variant)
    source = ASTSource(fn=function, **specialised(arguments, constants))
    found = triton.compile(source, target=TARGETS[variant.target], options={"num_warps": variant.warps or warps})
    about = (found.asm["ttir"], constants["BLOCK"], variant.warps or warps)
    if "cubin" in found.asm:
        usage = tool("cuobjdump", found.asm["cubin"], "-res-usage")
        registers, stack, local = (int(re.search(rf"{key}:(\d+)", usage)[1]) for key in ("REG", "STACK", "LOCAL"))
        read, written = (_nvidia_bytes(found.asm["ptx"], name) for name in ("ld", "st"))
        return Compiled(registers, stack + local, read, written, *about, found.asm["cubin"])
    code = found.asm["amdgcn"]
    registers, spilled = (int(re.search(rf"\.vgpr_{key}count:\s*(\d+)", code)[1]) for key in ("", "spill_"))
    read, written = (_amd_bytes(code, name) for name in ("load", "store"))
    return Compiled(registers, spilled, read, written, *about, None)


def launch(variant):
    """The kernel, its arguments by name, its constants and its warps, as `loss.triton` launches it."""
    shape = (variant.passes, variant.positions, variant.vocab)
    logits = torch.empty(shape, dtype=getattr(torch, variant.dtype), device="meta")
    target = torch.empty(variant.positions, dtype=torch.int64, device="meta")
    statistics = Statistics.empty(logits, *shape[:2])
    settings = Settings(5.0, 0.1, "x")
    function = getattr(kernels, f"_{variant.kernel}_kernel")
    recorder = _Recorder()
    with mock.patch.object(kernels, f"_{variant.kernel}_kernel", recorder):
        if variant.kernel == "forward":
            kernels.forward(logits, target, settings, statistics)
        else:
            kernels.gradient(logits, target, settings, statistics, None, torch.empty_like(logits))
    constants = {name: value for name, value in recorder.named.items() if name in function.arg_names}
    names = [name for name in function.arg_names if name not in constants]
    return function, dict(zip(names, recorder.arguments, strict=True)), constants, recorder.named["num_warps"]


class _Recorder:
    """In a kernel's place: what it is launched with."""

    def __getitem__(self, _grid):
        def record(*arguments, **named):
            self.arguments, self.named = arguments, named

        return record


def specialised(arguments, constants):
    """What Triton compiles for: types, constants (1 is one) and which arguments are multiples of 16."""
    types, constants, attributes = {}, dict(constants), {}
    for number, (name, value) in enumerate(arguments.items()):
        if isinstance(value, torch.Tensor):
            types[name] = "*" + DTYPES[str(value.dtype).removeprefix("torch.")][0]
        elif isinstance(value, float):
            types[name] = "fp32"
        elif value == 1:
            constants[name] = value
        else:
            types[name] = "i32" if value < 2**31 else "i64"
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value != 1 and value % 16 == 0):
            attributes[(number,)] = [["tt.divisibility", 16]]
    types |= dict.fromkeys(constants, "constexpr")
    order = [*arguments, *(name for name in constants if name not in arguments)]
    return {
        "signature": {name: types[name] for name in order},
        "constexprs": constants,
        "attrs": attributes,
    }


def tool(name, cubin, *flags):
    """What cuobjdump or nvdisasm, which Triton brings, say about a cubin."""
    path = getattr(triton.knobs.nvidia, name).path
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([path, *flags, file.name], check=True, capture_output=True, text=True).stdout


def _nvidia_bytes(ptx, operation):
    found = re.findall(rf"\b{operation}\.global[\w:.]*?(?:\.v(\d))?\.b(\d+)\b", ptx)
    return _without_target(Counter(int(count or 1) * int(bits) // 8 for count, bits in found), operation)


def _amd_bytes(code, operation):
    found = re.findall(rf"\b(?:global|buffer|flat)_{operation}_(\w+?)(?:_d16\w*)?\s", code)
    return _without_target(Counter(AMD_BYTES[name] for name in found), operation)


def _without_target(moved, operation):
    if operation in ("ld", "load"):
        moved[8] -= 1  # the target: one number of 64 bits
    return +moved


def grid():
    """All variants; an odd vocabulary is not launched with 4 warps."""
    axes = (("forward", "gradient"), TARGETS, ("float16", "bfloat16", "float32"), (2, 3, 5), VOCABULARIES, (4, 8))
    variants = [Variant(*values) for values in itertools.product(*axes)]
    return [variant for variant in variants if variant.vocab % 2 == 0 or variant.warps == 8]


def subset():
    """Of the grid: for each kernel, every two values of two other axes come together somewhere."""
    variants, chosen = grid(), []
    missing = {pair for variant in variants for pair in _pairs(variant)}
    while missing:
        best = max(variants, key=lambda variant: len(missing & _pairs(variant)))
        missing -= _pairs(best)
        chosen.append(best)
    return chosen


def _pairs(variant):
    return {(variant.kernel, *pair) for pair in itertools.combinations(enumerate(variant[1:6]), 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--grid", action="store_true", help="all variants, not a subset of them")
    args = parser.parse_args()
    spilled = 0
    for variant in grid() if args.grid else subset():
        found = compiled(variant)
        spilled += found.spilled > 0
        widths = f"loads {dict(found.loads)}, stores {dict(found.stores)} {{bytes: instructions}}"
        print(*variant[:6], f"registers {found.registers}, spilled {found.spilled}, {widths}", flush=True)
    sys.exit(f"{spilled} variants spill registers" if spilled else 0)


if __name__ == "__main__":
    main()
