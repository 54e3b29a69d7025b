"""Questions about synthetic text, and a task of question answering, of a few numbers each."""

import json

import corpus
import tagged
import torch
from omegaconf import OmegaConf

from fairseq_intra.fine_tuning.question_answering import (
    QuestionAnsweringIntraDistillationConfig,
    QuestionAnsweringIntraDistillationTask,
)

#: Windows as word numbers with `<s> question </s> </s> context </s>`, and the positions of the answers; of the last
#: window's question the answer is in another window.
TOKENS = [[0, 5, 2, 2, 6, 7, 8, 2], [0, 9, 5, 2, 2, 4, 2], [0, 9, 2, 2, 8, 2]]
FIRST = [4, 5, 4]
TARGET = [[4, 6], [5, 5], [0, 0]]


def task(**settings):
    cfg = OmegaConf.structured(QuestionAnsweringIntraDistillationConfig())
    more = {"_name": "question_answering_intra_distillation", "max_positions": 16, "head_dropout": 0.0}
    more |= {"max_update": 100, "seed": 1}
    dictionary, _ = tagged.dictionaries()
    return QuestionAnsweringIntraDistillationTask(OmegaConf.merge(cfg, more | settings), dictionary)


def answerable(row, first):
    """Which positions of a window may be an answer's first or last, by its definition."""
    return [place == 0 or (place >= first and token not in (1, 2)) for place, token in enumerate(row)]


def sample(numbers=(0, 1, 2), width=8):
    """A mini-batch of some of the windows, padded to a width."""
    rows = [TOKENS[n] + [1] * (width - len(TOKENS[n])) for n in numbers]
    return {
        "id": torch.tensor(numbers),
        "nsentences": len(rows),
        "ntokens": sum(len(TOKENS[n]) for n in numbers),
        "net_input": {
            "src_tokens": torch.tensor(rows),
            "src_lengths": torch.tensor([len(TOKENS[n]) for n in numbers]),
        },
        "target": torch.tensor([TARGET[n] for n in numbers]),
        "answerable": torch.tensor([answerable(row, FIRST[n]) for row, n in zip(rows, numbers, strict=True)]),
    }


def squad(paragraphs):
    """The JSON of SQuAD v1.1, of (context, [(id, question, [(answer_start, text)])])."""
    data = [{"context": context, "qas": [_entry(*question) for question in asked]} for context, asked in paragraphs]
    return {"version": "1.1", "data": [{"title": "Synthetic", "paragraphs": data}]}


def _entry(name, question, answers):
    found = [{"answer_start": start, "text": text} for start, text in answers]
    return {"id": name, "question": question, "answers": found}


def write_squad(path, paragraphs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(squad(paragraphs)), encoding="utf-8")


def write_questions(folder, languages=("de", "en"), count=20):
    """LANG/{train,dev,test}.json: asked for is the word that begins as the question."""
    for number, language in enumerate(languages):
        for more, split in enumerate(("train", "dev", "test")):
            paragraphs = []
            for place, (text, _) in enumerate(corpus.sentences(count, 10 * number + more)):
                word = text.split()[2]
                found = text.index(f" {word}") + 1
                paragraphs.append((text, [(f"{split}-{place}", f"{word[:2]}.", [(found, word)])]))
            write_squad(folder / language / f"{split}.json", paragraphs)
