"""What sacreBLEU says of tokenised text while fairseq validates."""

from argparse import Namespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.tasks.translation import TranslationTask

import fairseq_intra.plugin  # noqa: F401

SENTENCES = 100  #: that end in a token ".", from which on sacreBLEU warns


@pytest.mark.parametrize("tokenized", [True, False])
def test_it_warns_of_tokens_where_none_were_asked_for_alone(tokenized, caplog):
    task = object.__new__(TranslationTask)
    task.tgt_dict, task.tokenizer = Dictionary(), None
    task.cfg = Namespace(eval_tokenized_bleu=tokenized, eval_bleu_remove_bpe=None, eval_bleu_print_samples=False)
    line = torch.tensor([task.tgt_dict.add_symbol(word) for word in "a house .".split()])
    task.inference_step = lambda *_, **__: [[{"tokens": line}]] * SENTENCES
    found = task._inference_with_bleu(None, {"target": line.expand(SENTENCES, -1)}, None)
    assert found.counts[0] == 3 * SENTENCES
    assert ("forgot to detokenize" in caplog.text) is not tokenized
