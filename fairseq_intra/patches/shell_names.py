"""fairseq indexes protein sequences (--dataset-impl fasta) by a shell, which is given the file's name as it is.

A checkpoint may choose that format and the languages, of which the name is made.
"""

import functools
import shlex

from fairseq.data.fasta_dataset import FastaDataset

from ..errors import UsageError


def apply():
    """Puts the check into fairseq's class."""
    build_index = FastaDataset._build_index

    @functools.wraps(build_index)
    def _build_index(self, path):
        if shlex.quote(path) != path:
            raise UsageError(f"{path + '.fasta'!r} is rejected: fairseq would pass the name to a shell; rename it")
        return build_index(self, path)

    FastaDataset._build_index = _build_index
