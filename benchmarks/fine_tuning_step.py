"""How long a step of fine-tuning takes, in each mode, against a plain one.

python benchmarks/fine_tuning_step.py [--device cuda]
"""

from argparse import Namespace

import torch
from fairseq.criterions.sentence_prediction import SentencePredictionConfig, SentencePredictionCriterion
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY
from measure import arguments, cell, interleaved, parsed, ratio, show
from omegaconf import OmegaConf

from fairseq_intra.fine_tuning.sentence_prediction import (
    IntraDistillationSentencePredictionCriterion,
    SentencePredictionCriterionConfig,
    SentencePredictionIntraDistillationConfig,
    SentencePredictionIntraDistillationTask,
)

K, TEXTS, LENGTH, CLASSES, WORDS = 3, 16, 40, 2, 8000
SIZES = {"layers": 4, "embed_dim": 256, "ffn_embed_dim": 1024, "attention_heads": 4}
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "pooler_dropout": 0.1}
DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1, "pooler_dropout": 0.1}
#: Whether the encoder is frozen, the model's dropout, --passes; None: fairseq's own criterion.
METHODS = {
    "plain": (False, DROPOUT, None),
    "batched": (False, DROPOUT, "batched"),
    "sequential": (False, DROPOUT, "sequential"),
    "recompute": (False, DROPOUT, "recompute"),
    "frozen encoder: plain": (True, NO_DROPOUT, None),
    "frozen encoder: K passes, one by one": (True, NO_DROPOUT, "sequential"),
    "frozen encoder: once, K passes of the head": (True, NO_DROPOUT, "auto"),
}


def main():
    args = parsed(arguments(__doc__.split("\n")[0]))
    runs = {name: step(*settings, args.device) for name, settings in METHODS.items()}
    seconds = interleaved(runs, args.rounds, args.device)
    found = {name: ratio(seconds[name], seconds["plain"]) for name in METHODS}
    title = (
        f"A step of fine-tuning, K = {K}: {SIZES['layers']} layers of {SIZES['embed_dim']}, {TEXTS} texts of {LENGTH}"
    )
    columns = ["method", "time against plain, median (20th to 80th percentile)"]
    show(title, columns, [[name, cell(found[name])] for name in METHODS], args, ratios=found, seconds=seconds)


def step(frozen, dropout, passes, device):
    """A function that does one update."""
    words, labels = Dictionary(), Dictionary()
    for number in range(WORDS):
        words.add_symbol(f"word{number}")
    for number in range(CLASSES):
        labels.add_symbol(str(number))
    head = "sentence_classification_head"
    cfg = OmegaConf.structured(SentencePredictionIntraDistillationConfig())
    settings = {"num_classes": CLASSES, "classification_head_name": head, "regression_target": False}
    cfg = OmegaConf.merge(cfg, settings | {"freeze_encoder": frozen, "max_update": 1, "seed": 1})
    task = SentencePredictionIntraDistillationTask(cfg, words, labels)
    args = Namespace(arch="roberta", **{f"encoder_{name}": size for name, size in SIZES.items()}, **dropout)
    ARCH_CONFIG_REGISTRY["roberta"](args)
    model = task.build_model(args).train().to(device)
    if passes is None:
        criterion = SentencePredictionCriterion(SentencePredictionConfig(), task)
    else:
        options = SentencePredictionCriterionConfig(num_iter=K, passes=passes)
        criterion = IntraDistillationSentencePredictionCriterion(OmegaConf.structured(options), task)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    tokens = torch.randint(4, WORDS, (TEXTS, LENGTH), device=device)
    target = torch.arange(TEXTS, device=device).unsqueeze(1) % CLASSES
    sample = {"net_input": {"src_tokens": tokens}, "target": target, "ntokens": tokens.numel()}

    def update():
        optimizer.zero_grad()
        criterion(model, sample)[0].backward()
        optimizer.step()

    return update


if __name__ == "__main__":
    main()
