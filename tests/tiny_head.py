"""A task of sentence prediction and its mini-batches, of a few numbers each and made in the process."""

import tiny
import torch
from fairseq.data import Dictionary, data_utils
from omegaconf import OmegaConf

from fairseq_intra.fine_tuning.sentence_prediction import (
    SentencePredictionIntraDistillationConfig,
    SentencePredictionIntraDistillationTask,
)

HEAD = "sentence_classification_head"
#: Texts as word numbers, of different lengths, so that a batch of them is padded.
TEXTS = [[5, 9, 7, 6, 8], [7, 4], [10], [6, 8, 11]]
CLASSES = [2, 0, 1, 1]
NUMBERS = [0.5, -1.0, 2.0, 0.25]

#: Dropout everywhere, that of the head included.
DROPOUT = {"dropout": 0.3, "attention_dropout": 0.3, "pooler_dropout": 0.3}


def labels(classes=3):
    made = Dictionary()
    for number in range(classes):
        made.add_symbol(str(number))
    return made


def task(regression=False, **settings):
    cfg = OmegaConf.structured(SentencePredictionIntraDistillationConfig())
    more = {"_name": "sentence_prediction_intra_distillation", "classification_head_name": HEAD}
    more |= {"num_classes": 1 if regression else 3, "max_positions": 32, "max_update": 1000, "seed": 1}
    cfg = OmegaConf.merge(cfg, more | {"regression_target": regression} | settings)
    words = tiny.dictionary()
    return SentencePredictionIntraDistillationTask(cfg, words, words if regression else labels())


def sample(task, texts=TEXTS, target=None):
    """The mini-batch of some texts, as fairseq's loader makes it but for the order, which stays."""
    if target is None:
        target = NUMBERS if task.cfg.regression_target else CLASSES
    tokens = [torch.tensor([0, *text, 2]) for text in texts]
    return {
        "id": torch.arange(len(texts)),
        "nsentences": len(texts),
        "ntokens": sum(map(len, tokens)),
        "net_input": {
            "src_tokens": data_utils.collate_tokens(tokens, task.dictionary.pad()),
            "src_lengths": torch.tensor([len(text) for text in tokens]),
        },
        "target": torch.tensor(target).unsqueeze(1),
    }
