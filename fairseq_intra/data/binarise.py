"""fairseq-preprocess, with the same flags and the same result, in less time.

fairseq asks a text file for its position after every line, counts words one by one, puts numbers into a line's tensor
one by one, and one process reads its lines only after all others have finished.
"""

import os
import sys
import traceback
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch
from fairseq import binarizer
from fairseq.data import Dictionary, dictionary, indexed_dataset
from fairseq.file_chunker_utils import find_offsets
from fairseq.tokenizer import tokenize_line
from fairseq_cli.preprocess import cli_main

from ..errors import UsageError
from ..files import check_space_beside
from ..processes import in_process, worker_pool
from ..write_errors import os_error_message


def preprocess(arguments: list[str], log: Path, folder: Path) -> None:
    """Runs fairseq-preprocess in a process of its own.

    Args:
        arguments: its flags but for --destdir.
        log: file for all that it prints.
        folder: its --destdir.

    Raises:
        UsageError: if it fails, with the last line that it printed, or because the disk is full.
    """
    # An absolute path may begin with a dash.
    arguments = [*arguments, "--destdir", str(folder.absolute())]
    if not in_process(_run, arguments, log):
        raise UsageError(_reason(log))
    # It names the folder, which is not the one that the data ends in.
    (folder / "preprocess.log").unlink(missing_ok=True)


def _run(arguments, log):
    with log.open("w", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.argv = ["fairseq-preprocess", *arguments]
    binarizer.Chunker = dictionary.Chunker = part_of_file
    Dictionary._add_file_to_dictionary_single_worker = staticmethod(count_words)
    Dictionary.encode_line = encode_line
    binarizer.FileBinarizer.multiprocess_dataset = classmethod(binarise)
    try:
        cli_main()
    except BaseException:
        traceback.print_exc()
        return False
    return True


def _reason(log):
    """Why it failed, in one line; a log on a full disk may lack it."""
    try:
        check_space_beside(log)
    except OSError as error:
        return os_error_message(error, log)
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line[:1].strip()]
    return f"fairseq-preprocess failed; the whole log is {log}" + (f", and it ends: {lines[-1]}" if lines else "")


@contextmanager
def part_of_file(path, start, end):
    """As fairseq's Chunker (fairseq/file_chunker_utils.py): the lines between two bytes where lines begin."""
    with open(path, "rb") as file:
        file.seek(start)
        yield (line.decode() for line in lines_up_to(file, end - start))


def lines_up_to(file, size):
    while size > 0 and (line := file.readline()):
        size -= len(line)
        yield line


def count_words(path, line_tokenizer, eos_word, start, end):
    """As fairseq's Dictionary._add_file_to_dictionary_single_worker: how often each word stands there."""
    counter = Counter()
    with part_of_file(path, start, end) as lines:
        for line in lines:
            counter.update([*line_tokenizer(line), eos_word])
    return counter


def encode_line(
    self,
    line,
    line_tokenizer=tokenize_line,
    add_if_not_exist=True,
    consumer=None,
    append_eos=True,
    reverse_order=False,
):
    """As fairseq's Dictionary.encode_line (fairseq/data/dictionary.py): the numbers of a line's words, int32."""
    words = line_tokenizer(line)
    if reverse_order:
        words = words[::-1]
    numbers = [(self.add_symbol if add_if_not_exist else self.index)(word) for word in words]
    if consumer is not None:
        for word, number in zip(words, numbers, strict=True):
            consumer(word, number)
    return torch.IntTensor([*numbers, self.eos_index] if append_eos else numbers)


def binarise(cls, input_file, dataset_impl, line_binarizer, output_prefix, vocab_size=None, num_workers=1):
    """As fairseq's FileBinarizer.multiprocess_dataset (fairseq/binarizer.py), every worker busy to the end."""
    offsets = find_offsets(input_file, num_workers)
    parts = [f"{output_prefix}.part{number}" for number in range(num_workers)]
    with worker_pool(num_workers) as pool:
        jobs = [
            (line_binarizer, input_file, start, end, part, dataset_impl, vocab_size)
            for part, start, end in zip(parts, offsets[:-1], offsets[1:], strict=True)
        ]
        summaries = list(pool.map(cls._binarize_chunk_and_finalize, *zip(*jobs, strict=True)))
    whole = indexed_dataset.make_builder(
        indexed_dataset.data_file_path(output_prefix), impl=dataset_impl, vocab_size=vocab_size
    )
    summary = binarizer.BinarizeSummary()
    for part, part_summary in zip(parts, summaries, strict=True):
        summary.merge(part_summary)
        whole.merge_file_(part)
        os.remove(indexed_dataset.data_file_path(part))
        os.remove(indexed_dataset.index_file_path(part))
    whole.finalize(indexed_dataset.index_file_path(output_prefix))
    return summary
