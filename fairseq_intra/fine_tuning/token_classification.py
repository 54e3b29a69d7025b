"""The task `token_classification`: a label for every word, by an encoder with a head on it."""

import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from fairseq import models
from fairseq.data import (
    Dictionary,
    IdDataset,
    NestedDictionaryDataset,
    NumelDataset,
    NumSamplesDataset,
    PrependTokenDataset,
    RightPadDataset,
    SortDataset,
    data_utils,
)
from fairseq.data.shorten_dataset import TruncateDataset
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING, OmegaConf, open_dict

from ..errors import UsageError, need_package
from .head import FineTuningTask, FineTuningTaskFlags

logger = logging.getLogger(__name__)

#: Folders of a dataset: subwords, and the label of each.
INPUT, LABEL = "input0", "label"
#: The head's name in a model; a model may hold others.
HEAD = "token_classification_head"


@dataclass
class TokenClassificationConfig(FairseqDataclass):
    data: str = field(default=MISSING, metadata={"help": "folder that `fairseq-intra prepare-transfer` made"})
    max_positions: int = field(
        default=512,
        metadata={"help": "most sub-words of a sentence, beginning and end included; longer ones are cut"},
    )
    head_dropout: float = field(default=0.1, metadata={"help": "dropout before the head's linear layer"})
    seed: int = II("common.seed")


class TokenHead(torch.nn.Module):
    """Dropout and a linear layer over every position: [B, T, C] to [B, T, number of labels]."""

    def __init__(self, dim: int, num_labels: int, dropout: float):
        super().__init__()
        self.dropout = torch.nn.Dropout(dropout)
        # One layer under two names: when RobertaModel loads a head, it compares the sizes of what is called so.
        self.dense = self.out_proj = torch.nn.Linear(dim, num_labels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.out_proj(self.dropout(features))


@register_task("token_classification", dataclass=TokenClassificationConfig)
class TokenClassificationTask(FairseqTask):
    """Labels of words, learned at the first sub-word of each, on data of `fairseq-intra prepare-transfer`.

    A mini-batch's "target" [B, T] holds label numbers from 0, and `IGNORE` where there is nothing to learn.
    """

    IGNORE = -1

    def __init__(self, cfg, dictionary: Dictionary, label_dictionary: Dictionary):
        super().__init__(cfg)
        need_package("seqeval", "transfer")
        self.dictionary = dictionary
        self.label_dictionary = label_dictionary

    @classmethod
    def setup_task(cls, cfg, **_more):
        """Raises UsageError if the folder holds no dictionaries."""
        found = []
        for kind in (INPUT, LABEL):
            path = Path(cfg.data) / kind / "dict.txt"
            if not path.is_file():
                raise UsageError(f"{cfg.data} is not data of fairseq-intra prepare-transfer: no {kind}/dict.txt")
            found.append(Dictionary.load(str(path)))
        # As in pre-training, so that the embeddings are as many.
        found[0].add_symbol("<mask>")
        return cls(cfg, *found)

    def load_dataset(self, split, combine=False, **_more):
        """Raises UsageError if the folder does not hold the split."""
        tokens, tags = (self._rows(kind, split, combine) for kind in (INPUT, LABEL))
        cut = int((tokens.sizes > self.cfg.max_positions).sum())
        if cut:
            logger.warning(
                "%s: %d of %d sentences have more than --max-positions %d sub-words and are cut",
                split,
                cut,
                len(tokens),
                self.cfg.max_positions,
            )
        tokens, tags = (TruncateDataset(rows, self.cfg.max_positions) for rows in (tokens, tags))
        dataset = NestedDictionaryDataset(
            {
                "id": IdDataset(),
                "net_input": {
                    "src_tokens": RightPadDataset(tokens, self.dictionary.pad()),
                    "src_lengths": NumelDataset(tokens),
                },
                "target": _Targets(tags, self.label_dictionary),
                "nsentences": NumSamplesDataset(),
                "ntokens": NumelDataset(tokens, reduce=True),
            },
            sizes=[tokens.sizes],
        )
        with data_utils.numpy_seed(self.cfg.seed):
            shuffled = np.random.permutation(len(tokens))
        self.datasets[split] = SortDataset(dataset, sort_order=[shuffled])
        return self.datasets[split]

    def build_model(self, cfg, from_checkpoint=False):
        """The encoder of `--arch` with a new head.

        Raises:
            UsageError: if the model takes no head.
        """
        with open_dict(cfg) if OmegaConf.is_config(cfg) else contextlib.nullcontext():
            cfg.max_positions = self.cfg.max_positions
        model = models.build_model(cfg, self, from_checkpoint)
        if not hasattr(model, "classification_heads"):
            raise UsageError(
                "--task token_classification needs a model of RoBERTa's kind, such as --arch roberta_base"
            )
        head = TokenHead(model.args.encoder_embed_dim, len(self.labels), self.cfg.head_dropout)
        model.classification_heads[HEAD] = head
        return model

    def _rows(self, kind, split, combine):
        dictionary = self.dictionary if kind == INPUT else self.label_dictionary
        rows = data_utils.load_indexed_dataset(f"{self.cfg.data}/{kind}/{split}", dictionary, combine=combine)
        if rows is None:
            raise UsageError(f"{self.cfg.data} holds no split {split} (no {kind}/{split}.idx)")
        return PrependTokenDataset(rows, dictionary.bos() if kind == INPUT else dictionary.pad())

    def max_positions(self):
        return self.cfg.max_positions

    def tags(self, split: str) -> list[list[str]]:
        """The tags of every sentence of a split, of words that are cut off as well."""
        rows, first, pad = (
            self._rows(LABEL, split, False),
            self.label_dictionary.nspecial,
            self.label_dictionary.pad(),
        )
        return [[self.labels[number - first] for number in row.tolist() if number != pad] for row in rows]

    @property
    def labels(self) -> list[str]:
        """The labels, by number."""
        return self.label_dictionary.symbols[self.label_dictionary.nspecial :]

    @property
    def source_dictionary(self):
        return self.dictionary

    @property
    def target_dictionary(self):
        return self.dictionary


@dataclass
class TokenClassificationIntraDistillationConfig(FineTuningTaskFlags, TokenClassificationConfig):
    pass


@register_task("token_classification_intra_distillation", dataclass=TokenClassificationIntraDistillationConfig)
class TokenClassificationIntraDistillationTask(FineTuningTask, TokenClassificationTask):
    """The task `token_classification` whose criterion's alpha follows the number of updates."""


class _Targets(RightPadDataset):
    """Numbers of the label dictionary as the numbers that a head has for them."""

    def __init__(self, tags, labels):
        super().__init__(tags, TokenClassificationTask.IGNORE)
        self._pad, self._first = labels.pad(), labels.nspecial

    def __getitem__(self, index):
        tags = self.dataset[index].long()
        return torch.where(tags == self._pad, TokenClassificationTask.IGNORE, tags - self._first)
