"""`--amp` on a CPU: in training, products of matrices take bfloat16 numbers and sum in float32; all else is float32.

fairseq asks for the mixed precision of GPUs alone (fairseq/tasks/fairseq_task.py), so that on a CPU the flag changes
nothing. Where a CPU has no instructions for bfloat16 (AMX, AVX512-BF16), torch's products stay in float32.
"""

import contextlib
import functools
import os

import torch
from fairseq.trainer import Trainer
from torch.nn.attention import SDPBackend, sdpa_kernel

#: How many products torch and oneDNN keep ready, by their shapes: a thousand each, where nothing is said, which take
#: gigabytes over an epoch's mini-batches and save no time.
CACHES = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}


def apply():
    """Puts the patch into fairseq's trainer."""
    for name, capacity in CACHES.items():
        os.environ.setdefault(name, capacity)
    step = Trainer.train_step

    @functools.wraps(step)
    def train_step(self, *args, **kwargs):
        on_cpu = self.cfg.common.amp and self.device.type == "cpu"
        with bfloat16_products() if on_cpu else contextlib.nullcontext():
            return step(self, *args, **kwargs)

    Trainer.train_step = train_step


@contextlib.contextmanager
def bfloat16_products():
    """Products of float32 matrices on a CPU take bfloat16 numbers, and attention is made of such products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        # torch's fused attention multiplies small blocks, each prepared for bfloat16 anew: it is ten times slower.
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
