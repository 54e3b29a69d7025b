"""Tagged text of made-up words, and a task of token classification, of a few numbers each."""

import io
import random

import corpus
import sentencepiece
import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from fairseq_intra.fine_tuning.token_classification import (
    TokenClassificationIntraDistillationConfig,
    TokenClassificationIntraDistillationTask,
)

#: Flags that make a model of fairseq-train small enough for a test.
SMALL = "--arch roberta --encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 16".split()
SMALL += ["--encoder-attention-heads", "2"]


def write_encoder(folder):
    """The subwords and the dictionary of an encoder for `corpus.sentences`, without its model."""
    lines = [text for pair in corpus.sentences(200, 0) for text in pair]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=120, num_threads=1, minloglevel=2
    )
    folder.mkdir()
    (folder / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    dictionary = Dictionary()
    for number in range(3, processor.get_piece_size()):
        dictionary.add_symbol(processor.id_to_piece(number))
    dictionary.save(str(folder / "dict.txt"))


def write_wikiann(folder, languages=("de", "en"), count=20):
    """LANG/{train,dev,test} in WikiANN's layout: words with k are named entities."""
    for number, language in enumerate(languages):
        (folder / language).mkdir(parents=True)
        for more, split in enumerate(("train", "dev", "test")):
            lines = []
            for text, _ in corpus.sentences(count, 10 * number + more):
                lines += [f"{language}:{word}\t{'B-PER' if 'k' in word else 'O'}" for word in text.split()] + [""]
            (folder / language / split).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_xnli(folder, languages=("de", "en"), count=20):
    """XNLI's files in its layout: pairs whose first text holds a k are entailment."""
    choice = random.Random(1)
    pairs = corpus.sentences(count, 5)
    rows = [(a, choice.choice(pairs)[0], "entailment" if "k" in a[:9] else "neutral") for a, _ in pairs]
    (folder / "XNLI-1.0").mkdir(parents=True)
    (folder / "XNLI-MT-1.0/multinli").mkdir(parents=True)
    head = "language\tgold_label\tsentence1\tsentence2\n"
    text = head + "".join(f"{lang}\t{label}\t{a}\t{b}\n" for lang in languages for a, b, label in rows)
    for split in ("dev", "test"):
        (folder / f"XNLI-1.0/xnli.{split}.tsv").write_text(text, encoding="utf-8")
    text = "premise\thypo\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows)
    (folder / "XNLI-MT-1.0/multinli/multinli.train.en.tsv").write_text(text, encoding="utf-8")


def dictionaries():
    """Of ten words, numbered from 4, and of the labels B-LOC, I-LOC and O."""
    words, labels = Dictionary(), Dictionary()
    for number in range(10):
        words.add_symbol(f"word{number}")
    for tag in ("B-LOC", "I-LOC", "O"):
        labels.add_symbol(tag)
    return words, labels


def task(**settings):
    cfg = OmegaConf.structured(TokenClassificationIntraDistillationConfig())
    more = {
        "_name": "token_classification_intra_distillation",
        "max_positions": 16,
        "head_dropout": 0.0,
        "max_update": 100,
        "seed": 1,
    }
    return TokenClassificationIntraDistillationTask(OmegaConf.merge(cfg, more | settings), *dictionaries())


#: Sentences as word numbers with beginning and end, and labels of the heads, -1 where there is nothing to learn.
TOKENS = [[0, 5, 6, 7, 2], [0, 8, 9, 2], [0, 4, 2]]
TARGET = [[-1, 0, -1, 1, -1], [-1, 2, 2, -1], [-1, 2, -1]]


def sample(tokens=TOKENS, target=TARGET, width=5):
    """A mini-batch, padded to a width."""
    padded = [
        torch.tensor([row + [fill] * (width - len(row)) for row in rows])
        for rows, fill in ((tokens, 1), (target, -1))
    ]
    return {
        "id": torch.arange(len(tokens)),
        "nsentences": len(tokens),
        "ntokens": sum(map(len, tokens)),
        "net_input": {"src_tokens": padded[0], "src_lengths": torch.tensor([len(row) for row in tokens])},
        "target": padded[1],
    }
