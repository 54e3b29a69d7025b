"""Makes questions ready for fairseq: windows of subwords, and where in each the answer begins and ends.

The folder holds input0/ with the encoder's dictionary and the windows, span/ (see `fine_tuning.question_answering`),
and of every test split what turns positions into text again: offsets/, a row per window, which question it belongs to
and of every subword of its context the first character and the one after the last; and text/SPLIT.json, the
questions.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq.data import Dictionary

from ..data.encoder_subwords import Segmenter
from ..data.encoder_text import EncoderText
from ..data.indexed import write_rows
from ..errors import UsageError
from ..fine_tuning.positionwise import INPUT
from ..fine_tuning.question_answering import SPAN
from ..json_files import read_json, write_json
from .squad import Answer, Question, mismatch
from .windows import Lengths, align, windows

OFFSETS, TEXT = "offsets", "text"


class Window(NamedTuple):
    """The rows of an example, int32 each."""

    tokens: torch.Tensor
    span: torch.Tensor
    offsets: torch.Tensor


def binarise(
    splits: dict[str, list[Question]], segmenter: EncoderText, dictionary: Dictionary, lengths: Lengths, out: Path
) -> dict[str, dict]:
    """Writes the folder. Returns by split the numbers of examples (windows), questions, and questions left out.

    Left out of train and valid are questions whose answer is not where it is said to be.

    Args:
        splits: questions by the name of their split.
        segmenter: of the encoder.
        dictionary: of the encoder.
        lengths: of the windows.
        out: an empty folder.

    Raises:
        UsageError: if a test split has an id twice or an answer that is not where it is said to be, or another split
            no answer that is; if a context has no subword; if the dictionary lacks many of a split's subwords.
    """
    for folder in (INPUT, SPAN, OFFSETS, TEXT):
        (out / folder).mkdir()
    dictionary.save(str(out / INPUT / "dict.txt"))
    counts = {}
    for split, questions in splits.items():
        is_test = split.startswith("test.")
        if is_test:
            _check_test(split, questions)
            write_json(out / TEXT / f"{split}.json", questions)
        kept = [question for question in questions if mismatch(question) is None]
        if not kept:
            raise UsageError(f"{split}: no answer is where it is said to be; {mismatch(questions[0])}")
        windows_of = (
            encode_question(question, number, segmenter, dictionary, lengths) for number, question in enumerate(kept)
        )
        rows = list(itertools.chain.from_iterable(windows_of))
        segmenter.check(split)
        write_rows(out / INPUT / split, (row.tokens for row in rows), len(dictionary))
        write_rows(out / SPAN / split, (row.span for row in rows), None)
        if is_test:
            write_rows(out / OFFSETS / split, (row.offsets for row in rows), None)
        counts[split] = {"examples": len(rows), "questions": len(kept), "left_out": len(questions) - len(kept)}
    return counts


def encode_question(
    question: Question, number: int, segmenter: Segmenter, dictionary: Dictionary, lengths: Lengths
) -> Iterator[Window]:
    """The windows of a question, which is the one with this number in its split.

    Raises:
        UsageError: if its context has no subword.
    """
    asked = segmenter.encode(question.text)[: lengths.max_query_length]
    subwords, offsets = segmenter.encode_with_offsets(question.context)
    if not subwords:
        raise UsageError(f"the context of question {question.id} has nothing that the encoder's subwords know")
    start, text = question.answers[0]
    answer = align(start, start + len(text), offsets)
    # The begin of `<s> question </s> </s>`; fairseq puts `<s>` there when it loads a row.
    first = len(asked) + 3
    for part in windows(len(asked), len(subwords), lengths):
        span = [0, 0]
        if answer and answer[0] in part and answer[1] in part:
            span = [first + place - part.start for place in answer]
        end = dictionary.eos()
        indices = [
            *map(dictionary.index, asked), end, end, *map(dictionary.index, subwords[part.start : part.stop]), end
        ]  # fmt: skip
        characters = [character for place in part for character in offsets[place]]
        yield Window(*map(torch.IntTensor, (indices, [first, *span], [number, *characters])))


def read_text(data: Path, split: str) -> list[Question]:
    """The questions of a test split.

    Raises:
        UsageError: if the folder does not hold them.
    """
    path = data / TEXT / f"{split}.json"
    try:
        rows = [(*texts, [Answer(*answer) for answer in answers]) for *texts, answers in read_json(path)]
        return [Question(*row) for row in rows]
    except (TypeError, ValueError):
        raise UsageError(f"{path} was not made by fairseq-intra prepare-transfer") from None


def _check_test(split, questions):
    seen = set()
    for question in questions:
        if question.id in seen:
            raise UsageError(f"{split}: the id {question.id} appears twice")
        seen.add(question.id)
        if problem := mismatch(question):
            raise UsageError(f"{split}: {problem}")
