"""The task `token_classification`: a label for every word, by an encoder with a head on it."""

import logging
from dataclasses import dataclass

import torch
from fairseq.data import Dictionary, PrependTokenDataset, RightPadDataset
from fairseq.data.shorten_dataset import TruncateDataset
from fairseq.tasks import register_task

from ..errors import need_package
from .positionwise import PositionwiseConfig, PositionwiseTask, load_dictionary
from .shared import FineTuningTask, FineTuningTaskFlags

logger = logging.getLogger(__name__)

#: The folder of a dataset that holds the label of each subword, beside `positionwise.INPUT`.
LABEL = "label"


@register_task("token_classification", dataclass=PositionwiseConfig)
class TokenClassificationTask(PositionwiseTask):
    """Labels of words, learned at the first subword of each, on data of `fairseq-intra prepare-transfer`.

    A mini-batch's "target" [B, T] holds label numbers from 0, and `IGNORE` where there is nothing to learn.
    """

    HEAD = "token_classification_head"
    IGNORE = -1

    def __init__(self, cfg, dictionary: Dictionary, label_dictionary: Dictionary):
        super().__init__(cfg, dictionary)
        need_package("seqeval", "transfer")
        self.label_dictionary = label_dictionary

    @classmethod
    def setup_task(cls, cfg, **_more):
        """Raises UsageError if the folder holds no dictionaries."""
        return cls(cfg, load_dictionary(cfg.data), load_dictionary(cfg.data, LABEL))

    def load_dataset(self, split, combine=False, **_more):
        """Raises UsageError if the folder does not hold the split."""
        tokens, tags = self.load_tokens(split, combine), self._load_tags(split, combine)
        longest = self.cfg.max_positions
        truncated = int((tokens.sizes > longest).sum())
        if truncated:
            logger.warning(
                "%s: %d of %d sentences have more than --max-positions %d subwords and are truncated",
                split,
                truncated,
                len(tokens),
                longest,
            )
        tokens, tags = (TruncateDataset(rows, longest) for rows in (tokens, tags))
        self.datasets[split] = self.batches_of(tokens, target=_Targets(tags, self.label_dictionary))
        return self.datasets[split]

    def _load_tags(self, split, combine=False):
        rows = self.load_rows(LABEL, split, self.label_dictionary, combine)
        return PrependTokenDataset(rows, self.label_dictionary.pad())

    def tags(self, split: str) -> list[list[str]]:
        """The tags of every sentence of a split, of truncated words as well."""
        first, pad = self.label_dictionary.nspecial, self.label_dictionary.pad()
        return [
            [self.labels[number - first] for number in row.tolist() if number != pad]
            for row in self._load_tags(split)
        ]

    @property
    def labels(self) -> list[str]:
        """The labels, by number."""
        return self.label_dictionary.symbols[self.label_dictionary.nspecial :]

    @property
    def num_outputs(self):
        return len(self.labels)


@dataclass
class TokenClassificationIntraDistillationConfig(FineTuningTaskFlags, PositionwiseConfig):
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
