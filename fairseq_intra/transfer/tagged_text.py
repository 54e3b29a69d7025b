"""Makes tagged text ready for fairseq: subwords, and for each the label of its word if it is the first of it.

The folder has the layout of fairseq's sentence prediction: input0/ and label/, in each a dictionary (dict.txt) and
the splits as indexed datasets. Subwords and labels of a sentence are equally many; a subword that is not the first
of its word, and the end of the sentence, have the label dictionary's padding.
"""

from pathlib import Path

import torch
from fairseq.data import Dictionary

from ..console import say
from ..data.encoder_subwords import Segmenter
from ..data.encoder_text import EncoderText
from ..data.indexed import write_rows
from ..errors import UsageError
from ..fine_tuning.positionwise import INPUT
from ..fine_tuning.token_classification import LABEL
from .conll import Sentence, read_tagged


def read_splits(files: dict[str, Path]) -> tuple[dict[str, list[Sentence]], Dictionary]:
    """The sentences of every split, and the dictionary of the tags of "train".

    Raises:
        UsageError: if a file cannot be read, or has a tag that is not in train.
    """
    splits, converted = {}, {}
    for split, path in files.items():
        splits[split], converted[path] = read_tagged(path)
    for path, count in converted.items():
        if count:
            say(f"{path}: {count} entities begin with I-, read as B-")
    labels = Dictionary()
    for tag in sorted({tag for sentence in splits["train"] for tag in sentence.tags}):
        labels.add_symbol(tag)
    for split, sentences in splits.items():
        for tag in {tag for sentence in sentences for tag in sentence.tags}:
            if tag not in labels:
                raise UsageError(f"{files[split]} has the tag {tag}, which is not in {files['train']}")
    return splits, labels


def binarise(
    splits: dict[str, list[Sentence]], labels: Dictionary, segmenter: EncoderText, dictionary: Dictionary, out: Path
) -> dict:
    """Writes the folder. Returns by split the numbers of sentences, words, subwords, and of unknown subwords.

    Args:
        splits: sentences by the name of their split.
        labels: dictionary of their tags.
        segmenter: of the encoder.
        dictionary: of the encoder.
        out: an empty folder.

    Raises:
        UsageError: if the dictionary lacks many of a split's subwords.
    """
    counts = {}
    for kind, made in ((INPUT, dictionary), (LABEL, labels)):
        (out / kind).mkdir()
        made.save(str(out / kind / "dict.txt"))
    for split, sentences in splits.items():
        rows = [encode(sentence, labels, segmenter, dictionary) for sentence in sentences]
        segmenter.check(split)
        write_rows(out / INPUT / split, (tokens for tokens, _ in rows), len(dictionary))
        write_rows(out / LABEL / split, (tags for _, tags in rows), len(labels))
        counts[split] = {
            "sentences": len(sentences),
            "words": sum(len(sentence.words) for sentence in sentences),
            "subwords": sum(len(tokens) - 1 for tokens, _ in rows),
            "unknown": sum(tokens.eq(dictionary.unk()).sum().item() for tokens, _ in rows),
        }
    return counts


def encode(
    sentence: Sentence, labels: Dictionary, segmenter: Segmenter, dictionary: Dictionary
) -> tuple[torch.Tensor, torch.Tensor]:
    """The subwords of a sentence with its end, and their labels: [T] each, int32, indices of the dictionaries."""
    tokens, tags = [], []
    for subwords, tag in zip(segmenter.encode_words(sentence.words), sentence.tags, strict=True):
        tokens += map(dictionary.index, subwords)
        tags += [labels.index(tag)] + [labels.pad()] * (len(subwords) - 1)
    return torch.IntTensor([*tokens, dictionary.eos()]), torch.IntTensor([*tags, labels.pad()])
