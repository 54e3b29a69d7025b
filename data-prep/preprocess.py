"""fairseq-preprocess, with the same flags and the same result, in less time; for the scripts of this folder.

fairseq asks a text file for its position after every line, counts words one by one, puts numbers into a line's tensor
one by one, and lets one process read a share of the lines alone when the others are done with theirs.
"""

import os
from collections import Counter
from contextlib import contextmanager
from multiprocessing import Pool

import torch
from fairseq import binarizer
from fairseq.data import Dictionary, dictionary, indexed_dataset
from fairseq.file_chunker_utils import find_offsets
from fairseq.tokenizer import tokenize_line
from fairseq_cli.preprocess import cli_main


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
    with Pool(num_workers) as pool:
        jobs = [
            (line_binarizer, input_file, start, end, part, dataset_impl, vocab_size)
            for part, start, end in zip(parts, offsets[:-1], offsets[1:], strict=True)
        ]
        summaries = pool.starmap(cls._binarize_chunk_and_finalize, jobs, chunksize=1)
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


if __name__ == "__main__":
    binarizer.Chunker = dictionary.Chunker = part_of_file
    Dictionary._add_file_to_dictionary_single_worker = staticmethod(count_words)
    Dictionary.encode_line = encode_line
    binarizer.FileBinarizer.multiprocess_dataset = classmethod(binarise)
    cli_main()
