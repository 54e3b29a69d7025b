"""What fairseq asks of numpy that its current version calls otherwise."""

import numpy as np
from fairseq.data import data_utils

import fairseq_intra.plugin  # noqa: F401


def test_mini_batches_can_be_cut_by_length():
    """--num-batch-buckets."""
    assert data_utils.get_buckets(np.arange(1, 101), 4).tolist() == [25, 50, 75, 100]


def test_percentiles_are_numpy_s():
    values = np.arange(10)
    assert np.percentile(values, 25) == np.percentile(values, 25, method="linear") == 2.25
