"""The task `question_answering`: where in a text the answer to a question begins and ends (as in SQuAD v1.1)."""

from dataclasses import dataclass

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, RightPadDataset
from fairseq.tasks import register_task

from ..errors import UsageError
from .positionwise import PositionwiseConfig, PositionwiseTask, load_dictionary
from .shared import FineTuningTask, FineTuningTaskFlags

#: The folder of a dataset that holds, per window, the position of the first subword of the context, and those of the
#: first and last subword of the answer; `<s>` is position 0, where the answer is if the window does not hold it.
SPAN = "span"


@register_task("question_answering", dataclass=PositionwiseConfig)
class QuestionAnsweringTask(PositionwiseTask):
    """Answers as spans of a context, learned window by window, on data of `fairseq-intra prepare-transfer`.

    An example is a window, `<s> question </s> </s> part of the context </s>`. A mini-batch's "target" [B, 2] holds
    the positions of the answer's first and last subword; "answerable" [B, T] is True where an answer may begin or
    end: at the context, and at `<s>`, which stands for "not in this window".
    """

    HEAD = "question_answering_head"
    num_outputs = 2

    @classmethod
    def setup_task(cls, cfg, **_more):
        """Raises UsageError if the folder holds no dictionary."""
        return cls(cfg, load_dictionary(cfg.data))

    def load_dataset(self, split, combine=False, **_more):
        """Raises UsageError if the folder does not hold the split, or its windows are too long for the encoder."""
        tokens, spans = self.load_tokens(split, combine), self.load_rows(SPAN, split, combine=combine)
        longest = int(np.max(tokens.sizes))
        if longest > self.cfg.max_positions:
            raise UsageError(
                f"{self.cfg.data} has windows of {longest} subwords, --max-positions is {self.cfg.max_positions}: "
                "prepare the data with that --max-seq-length"
            )
        self.datasets[split] = self.batches_of(
            tokens, target=_Target(spans), answerable=RightPadDataset(_Answerable(tokens, spans), pad_idx=False)
        )
        return self.datasets[split]


@dataclass
class QuestionAnsweringIntraDistillationConfig(FineTuningTaskFlags, PositionwiseConfig):
    pass


@register_task("question_answering_intra_distillation", dataclass=QuestionAnsweringIntraDistillationConfig)
class QuestionAnsweringIntraDistillationTask(FineTuningTask, QuestionAnsweringTask):
    """The task `question_answering` whose criterion's alpha follows the number of updates."""


class _Target(BaseWrapperDataset):
    """First and last position of each answer, [2]."""

    def __getitem__(self, index):
        return self.dataset[index][1:].long()


class _Answerable(BaseWrapperDataset):
    """Which positions of each window may be an answer's first or last, [T]."""

    def __init__(self, tokens, spans):
        super().__init__(tokens)
        self._spans = spans

    def __getitem__(self, index):
        answerable = torch.ones(len(self.dataset[index]), dtype=torch.bool)
        # The question with its separators, and the end of the window.
        answerable[1 : self._spans[index][0]] = False
        answerable[-1] = False
        return answerable
