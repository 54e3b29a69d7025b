"""What of fairseq's threads is left when a process ends."""

import subprocess
import sys

ENDS_WHILE_MINI_BATCHES_ARE_PREPARED = """
import sys, torch
import fairseq_intra.plugin
from fairseq.data.iterators import BufferedIterator

class Source:
    def __len__(self):
        return 1 << 30

    def __iter__(self):
        while True:
            yield torch.randint(100, (20_000,)).sort().values.float().cumsum(0).max().item()

iterators = [BufferedIterator(size, Source()) for size in (1, 1 << 20, 1 << 20)]
[next(iterator) for iterator in iterators]
sys.exit(75)
"""


def test_a_process_ends_with_its_exit_status_while_mini_batches_are_prepared():
    command = [sys.executable, "-c", ENDS_WHILE_MINI_BATCHES_ARE_PREPARED]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
