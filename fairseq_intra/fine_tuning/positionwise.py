"""A linear layer over every position of an encoder, and the tasks that train one."""

import contextlib
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
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask
from omegaconf import II, MISSING, OmegaConf, open_dict

from ..errors import UsageError

#: The folder of a dataset that holds the subwords, and the encoder's dictionary.
INPUT = "input0"


@dataclass
class PositionwiseConfig(FairseqDataclass):
    data: str = field(default=MISSING, metadata={"help": "folder that `fairseq-intra prepare-transfer` made"})
    max_positions: int = field(
        default=512,
        metadata={"help": "positions of the encoder: most subwords of an example, <s> and </s> included"},
    )
    head_dropout: float = field(default=0.1, metadata={"help": "dropout before the head's linear layer"})
    seed: int = II("common.seed")


class PositionwiseHead(torch.nn.Module):
    """Dropout and a linear layer over every position: [B, T, C] to [B, T, number of outputs]."""

    def __init__(self, dim: int, num_outputs: int, dropout: float):
        super().__init__()
        self.dropout = torch.nn.Dropout(dropout)
        # One layer with two attributes: when RobertaModel loads a head, it compares the sizes of `dense`.
        self.dense = self.out_proj = torch.nn.Linear(dim, num_outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.out_proj(self.dropout(features))


class PositionwiseTask(FairseqTask):
    """A task on data of `fairseq-intra prepare-transfer`, whose `cfg` has the fields of `PositionwiseConfig`."""

    #: The head's name in a model; a model may hold others.
    HEAD: str

    def __init__(self, cfg, dictionary: Dictionary):
        super().__init__(cfg)
        self.dictionary = dictionary

    @property
    def num_outputs(self) -> int:
        """Outputs of the head per position."""
        raise NotImplementedError

    def build_model(self, cfg, from_checkpoint=False):
        """The encoder of `--arch` with a new head.

        Raises:
            UsageError: if the model takes no head.
        """
        with open_dict(cfg) if OmegaConf.is_config(cfg) else contextlib.nullcontext():
            cfg.max_positions = self.cfg.max_positions
        model = models.build_model(cfg, self, from_checkpoint)
        if not hasattr(model, "classification_heads") or getattr(model, "decoder", None) is not None:
            raise UsageError(f"--task {self.cfg._name} needs a RoBERTa model, such as --arch roberta_base")
        head = PositionwiseHead(model.args.encoder_embed_dim, self.num_outputs, self.cfg.head_dropout)
        model.classification_heads[self.HEAD] = head
        return model

    def load_rows(self, kind: str, split: str, dictionary: Dictionary | None = None, combine: bool = False):
        """The rows DATA/KIND/SPLIT, as they were written.

        Raises:
            UsageError: if the folder does not hold them.
        """
        rows = data_utils.load_indexed_dataset(f"{self.cfg.data}/{kind}/{split}", dictionary, combine=combine)
        if rows is None:
            raise UsageError(f"{self.cfg.data} holds no split {split} (no {kind}/{split}.idx)")
        return rows

    def load_tokens(self, split: str, combine: bool = False):
        """The subwords of every example, `<s>` included; raises UsageError as `load_rows`."""
        return PrependTokenDataset(self.load_rows(INPUT, split, self.dictionary, combine), self.dictionary.bos())

    def batches_of(self, tokens, **columns):
        """The dataset of a split, in an order that follows the seed.

        Args:
            tokens: dataset of the subwords of every example.
            columns: datasets of what else a mini-batch holds, by name.
        """
        dataset = NestedDictionaryDataset(
            {
                "id": IdDataset(),
                "net_input": {
                    "src_tokens": RightPadDataset(tokens, self.dictionary.pad()),
                    "src_lengths": NumelDataset(tokens),
                },
                **columns,
                "nsentences": NumSamplesDataset(),
                "ntokens": NumelDataset(tokens, reduce=True),
            },
            sizes=[tokens.sizes],
        )
        with data_utils.numpy_seed(self.cfg.seed):
            shuffled = np.random.permutation(len(tokens))
        return SortDataset(dataset, sort_order=[shuffled])

    def max_positions(self):
        return self.cfg.max_positions

    @property
    def source_dictionary(self):
        return self.dictionary

    @property
    def target_dictionary(self):
        return self.dictionary


def load_dictionary(data: str, kind: str = INPUT) -> Dictionary:
    """The dictionary of a folder of `fairseq-intra prepare-transfer`; that of the encoder with its mask.

    Raises:
        UsageError: if there is none.
    """
    path = Path(data) / kind / "dict.txt"
    if not path.is_file():
        raise UsageError(f"{data} is not data of fairseq-intra prepare-transfer: no {kind}/dict.txt")
    dictionary = read_dictionary(path)
    if kind == INPUT:
        # As in pre-training, so that the embeddings are as many.
        dictionary.add_symbol("<mask>")
    return dictionary


def read_dictionary(path: Path) -> Dictionary:
    """A dictionary as its file has it.

    Raises:
        UsageError: if there is no such file, or it is not a dictionary.
    """
    try:
        return Dictionary.load(str(path))
    except Exception as error:  # of a wrong encoding and of a word that is twice there, too
        reason = (
            error.strerror if isinstance(error, OSError) else "not a symbol and a number a line, each symbol once"
        )
        raise UsageError(f"cannot read the dictionary {path}: {reason}") from None


def head_input(sample, head: str) -> dict:
    """What a model is called with for the outputs of one of its heads."""
    return sample["net_input"] | {"features_only": True, "classification_head_name": head}
