"""fairseq's main branch leaves out the last mini-batch unless its size is a multiple of 8.

Those are the longest sentences of a split: never trained on, validated on or translated
(github.com/facebookresearch/fairseq/issues/5036).
"""

import functools

import numpy as np
from fairseq.data import data_utils


def apply():
    """Puts the patch into fairseq's modules."""
    batch = data_utils.batch_by_size

    @functools.wraps(batch)
    def batch_by_size(indices, *args, fixed_shapes=None, **kwargs):
        if not isinstance(indices, np.ndarray):
            indices = np.fromiter(indices, dtype=np.int64)
        batches = batch(indices, *args, fixed_shapes=fixed_shapes, **kwargs)
        batched = sum(map(len, batches))
        if batched < len(indices) and fixed_shapes is None:
            batches.append(indices[batched:])
        return batches

    data_utils.batch_by_size = batch_by_size
