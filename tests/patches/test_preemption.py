"""SIGUSR1 with several workers, and after Triton has compiled; otherwise see scripts/test_train_script.py."""

import subprocess
import sys

import pytest

from fairseq_intra.patches import preemption

ASKED_AFTER_A_KERNEL_IS_COMPILED = """
import os, signal
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fairseq_intra.patches import preemption

@triton.jit
def kernel(x):
    tl.store(x, 1.0)

class Trainer:
    _cumulative_training_time = None

    def _local_cumulative_training_time(self):
        return 10.0

    def train_step(self):
        triton.compile(ASTSource(fn=kernel, signature={"x": "*fp32"}), target=GPUTarget("cuda", 90, 32))

preemption.Trainer = Trainer
preemption._listen_while_training()
preemption._agree_in_every_update()
Trainer().train_step()
os.kill(os.getpid(), signal.SIGUSR1)
print(preemption._State.asked)
"""


def test_the_mark_of_a_worker_is_seen_by_all_and_is_no_training_time(monkeypatch):
    """One of two workers was asked; fairseq logs the mean of their times."""

    class Trainer:
        data_parallel_world_size = 2

        def _sync_stats(self):
            return True

        def _local_cumulative_training_time(self):
            return 10.0

        def train_step(self):
            self._cumulative_training_time = (self._local_cumulative_training_time() + 12.0) / 2

    monkeypatch.setattr(preemption, "Trainer", Trainer)
    monkeypatch.setattr(preemption._State, "agreed", False)
    preemption._agree_in_every_update()
    trainer = Trainer()
    for asked in (False, True):
        monkeypatch.setattr(preemption._State, "asked", asked)
        trainer.train_step()
        assert preemption._State.agreed is asked and abs(trainer._cumulative_training_time - 11) < 0.01


def test_a_signal_is_heard_after_triton_has_compiled_a_kernel(tmp_path, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    program = tmp_path / "program.py"
    program.write_text(ASKED_AFTER_A_KERNEL_IS_COMPILED)
    assert subprocess.check_output([sys.executable, program], text=True) == "True\n"
