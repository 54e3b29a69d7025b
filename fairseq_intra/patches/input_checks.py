"""Data and checkpoints that are damaged, or do not fit each other, end fairseq's commands with one line.

fairseq would stop with a traceback, often hours later, at the first sentence that is not there, or at a word that the
dictionary does not have, on a GPU with no hint at what is wrong.
"""

import functools
import itertools
import struct
from pathlib import Path

import numpy as np
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from fairseq.data.indexed_dataset import _code_to_dtype as DTYPES
from fairseq.trainer import Trainer

from ..errors import UsageError, reason

#: Begins an index: fairseq's mark, its version, the numbers' type, how many sentences there are.
HEAD = struct.Struct("<9sQBQ")
MARK = b"MMIDIDX\x00\x00"
#: What torch says where names or shapes of parameters are not the model's.
MISFIT = "loading state_dict"
AGAIN = "make the dataset again"


def apply():
    """Puts the checks into fairseq's modules; repeated, it does nothing."""
    if hasattr(data_utils.load_indexed_dataset, "__wrapped__"):
        return
    _check_data()
    _name_what_does_not_fit_in_training()
    _name_what_does_not_fit_elsewhere()


def _check_data():
    load = data_utils.load_indexed_dataset

    @functools.wraps(load)
    def checked(path, dictionary=None, dataset_impl=None, combine=False, **kwargs):
        for number in itertools.count() if combine else [0]:
            if not check_binarised(f"{path}{number or ''}", dictionary):
                break
        return load(path, dictionary, dataset_impl, combine, **kwargs)

    data_utils.load_indexed_dataset = checked


def check_binarised(prefix: str, dictionary=None) -> bool:
    """Looks at PREFIX.idx and PREFIX.bin, which fairseq-preprocess made; False where there is neither.

    Other formats than its default one are left to fairseq.

    Raises:
        UsageError: if one is missing or cut short, or numbers a word that the dictionary does not have.
    """
    index, content = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    if not index.is_file() and not content.is_file():
        return False
    for path, other in ((index, content), (content, index)):
        if not path.is_file():
            raise UsageError(f"{path} is missing beside {other.name}; {AGAIN}")
    with index.open("rb") as file:
        head = file.read(HEAD.size)
        if head[: len(MARK)] != MARK[: len(head)]:
            return True
        if len(head) < HEAD.size:
            raise UsageError(f"{index} is cut short: {len(head)} bytes; {AGAIN}")
        _, _, code, count = HEAD.unpack(head)
        # Every sentence's length, then where it begins.
        needed = HEAD.size + 12 * count
        if index.stat().st_size < needed:
            raise UsageError(f"{index} is cut short: {index.stat().st_size} bytes of {needed}; {AGAIN}")
        sizes = np.fromfile(file, np.int32, count)
    dtype = np.dtype(DTYPES[code])
    needed = int(sizes.sum(dtype=np.int64)) * dtype.itemsize
    if content.stat().st_size < needed:
        raise UsageError(f"{content} is cut short: {content.stat().st_size} bytes of {needed}; {AGAIN}")
    if dictionary is not None and needed:
        highest = int(np.memmap(content, dtype, mode="r").max())
        if highest >= len(dictionary):
            raise UsageError(
                f"{content} has word number {highest}, and its dictionary only {len(dictionary)} words: it was made "
                f"with another dictionary; {AGAIN}"
            )
    return True


def _name_what_does_not_fit_in_training():
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def named(self, filename, *args, **kwargs):
        try:
            return load(self, filename, *args, **kwargs)
        except AssertionError as error:
            # Of another criterion or optimizer.
            raise UsageError(f"checkpoint {filename}: {reason(error)}") from None
        except Exception as error:
            if MISFIT not in str(error.__context__):
                raise
            raise UsageError(_unfit(filename, error.__context__)) from None

    Trainer.load_checkpoint = named


def _name_what_does_not_fit_elsewhere():
    load = checkpoint_utils.load_model_ensemble_and_task

    @functools.wraps(load)
    def named(filenames, *args, **kwargs):
        try:
            return load(filenames, *args, **kwargs)
        except RuntimeError as error:
            if MISFIT not in str(error):
                raise
            raise UsageError(_unfit(", ".join(map(str, filenames)), error)) from None

    checkpoint_utils.load_model_ensemble_and_task = named


def _unfit(filename, error):
    return f"checkpoint {filename} does not fit the dictionaries of the data or the settings: {reason(error)}"
