"""The Triton kernels compiled for GPUs that need not be here: no spills, wide loads and stores, 64-bit offsets."""

import math
import os
import re

import pytest

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter does not compile", allow_module_level=True)
pytest.importorskip("triton")
compiled = pytest.importorskip("compiled", reason="needs a Triton that compiles without a GPU")


@pytest.mark.parametrize("target", compiled.TARGETS)
def test_no_spills_and_wide_memory_accesses(target):
    """For all pairs of dtype, K, vocabulary and warps of each kernel; `benchmarks/compiled.py --grid` does all."""
    variants = [variant for variant in compiled.subset() if variant.target == target]
    found = {variant: compiled.compiled(variant) for variant in variants}
    assert {variant.kernel for variant in variants} == {"forward", "gradient"}
    assert [variant for variant in variants if found[variant].spilled] == []
    assert [variant for variant in variants if not _accesses_are_wide(variant, found[variant])] == []


def test_subset_has_at_most_60_variants_and_misses_no_value():
    subset = compiled.subset()
    assert len(subset) <= 60
    for axis in range(6):
        assert {variant[axis] for variant in subset} == {variant[axis] for variant in compiled.grid()}


@pytest.mark.parametrize("positions", [40_000, 100_000], ids=["strides of 32 bits", "strides of 64 bits"])
@pytest.mark.parametrize("kernel", ["forward", "gradient"])
def test_offsets_have_64_bits_where_the_logits_exceed_32(kernel, positions):
    assert 3 * positions * 32_000 > 2**31
    variant = compiled.Variant(kernel, "sm_90", "float16", 3, 32_000, positions=positions)
    ttir = compiled.compiled(variant).ttir
    offsets = re.findall(r"tt\.addptr .*?!tt\.ptr<f16>.*?, (?:tensor<[\dx]*x)?(i\d+)>?", ttir)
    assert offsets and set(offsets) == {"i64"}
    # Products are wide as well: of 32 bits there are only those of K, which index the statistics, and of BLOCK.
    narrow = re.findall(r"arith\.muli %(\w+), %(\w+) : (?:tensor<\d+x)?i32", ttir)
    assert not [
        factor for pair in narrow for factor in pair if re.match(r"(out_)?(pass|position|word)_stride", factor)
    ]


def _accesses_are_wide(variant, found):
    """16 bytes where the vocabulary is a multiple of 8 (float32: 4), 8, 4 and 2 where of less."""
    if variant.vocab < 16:
        return True  # less than a vector for each thread
    size = compiled.DTYPES[variant.dtype][1]
    width = size * math.gcd(variant.vocab, 16 // size)
    if variant.kernel == "gradient":
        stores_are_wide = set(found.stores) == {width}
    else:
        stores_are_wide = set(found.stores) == {4}  # the statistics
    # Beside the logits: those of the target, one for each pass, or the statistics, three for each pass and the scale.
    narrow = {size, 4} - {width}
    few = found.loads[size] <= 25 if width > size else True
    return stores_are_wide and set(found.loads) - narrow == {width} and few
