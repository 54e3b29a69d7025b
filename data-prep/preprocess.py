"""fairseq-preprocess, with the same flags and the same result, in less time; for the scripts of this folder.

fairseq puts the numbers of a line's words into their tensor one by one, which takes most of its time.
"""

import torch
from fairseq.data import Dictionary
from fairseq.tokenizer import tokenize_line
from fairseq_cli.preprocess import cli_main


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


if __name__ == "__main__":
    Dictionary.encode_line = encode_line
    cli_main()
