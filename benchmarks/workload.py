"""A model, a mini-batch and one training step of it in each mode that the benchmarks compare."""

import itertools
from argparse import Namespace

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.data import Dictionary, data_utils
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from naive import naive_loss

from fairseq_intra.criterion import IntraDistillationCriterion
from fairseq_intra.task import micro_batches

#: Architecture, its settings, vocabulary, --max-tokens and a source sentence's length.
SIZES = {
    "cpu": (
        "transformer",
        {
            **{f"{side}_layers": 3 for side in ("encoder", "decoder")},
            **{f"{side}_embed_dim": 256 for side in ("encoder", "decoder")},
            **{f"{side}_ffn_embed_dim": 1024 for side in ("encoder", "decoder")},
            **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
        },
        8000,
        2048,
        24,
    ),
    "tiny": (
        "transformer",
        {
            **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
            **{f"{side}_embed_dim": 8 for side in ("encoder", "decoder")},
            **{f"{side}_ffn_embed_dim": 8 for side in ("encoder", "decoder")},
            **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        },
        40,
        32,
        5,
    ),
    "iwslt": ("transformer_iwslt_de_en", {}, 12000, 4096, 24),
    "wmt": ("transformer_vaswani_wmt_en_de_big", {}, 32000, 4096, 28),
}
METHODS = ("plain", "naive", "batched", "sequential", "recompute", "encoder-once", "two micro-batches")
#: On a CPU alone, beside METHODS.
COMPILED = ("batched, compiled", "encoder-once, compiled")
K, ALPHA, LABEL_SMOOTHING = 3, 5.0, 0.1


def add_flags(parser):
    """The flags of a benchmark that trains a model."""
    parser.add_argument("--size", default="cpu", choices=SIZES, help="model and mini-batch (default: %(default)s)")
    half = parser.add_mutually_exclusive_group()
    for name, dtype in (("--fp16", "float16"), ("--bf16", "bfloat16")):
        half.add_argument(name, dest="dtype", action="store_const", const=dtype, help=f"weights in {dtype}")
    parser.set_defaults(dtype="float32")


def named(dtype):
    """What titles say of the dtype."""
    return "" if dtype == "float32" else f", {dtype}"


class Naive(LabelSmoothedCrossEntropyCriterion):
    """K forwards, their logits whole, and the loss of the formulas."""

    def forward(self, model, sample, reduce=True):
        target = sample["target"].flatten()
        keep = target.ne(self.padding_idx)
        logits = [model(**sample["net_input"])[0].flatten(0, 1)[keep] for _ in range(K)]
        return naive_loss(logits, target[keep], ALPHA, self.eps), sample["ntokens"], {}


class Workload:
    """Adam steps of one model on one mini-batch.

    Args:
        size: one of SIZES.
        device: "cpu" or "cuda".
        dtype: of the weights; float16 has a constant loss scale, as fairseq's --fp16.
        max_tokens: of the mini-batch; by default the size's.
    """

    def __init__(self, size, device, dtype="float32", max_tokens=None):
        arch, settings, vocab, usual, length = SIZES[size]
        dictionary = Dictionary()
        for number in range(vocab - len(dictionary)):
            dictionary.add_symbol(f"word{number}")
        self.task = TranslationTask(TranslationConfig(), dictionary, dictionary)
        args = Namespace(
            arch=arch,
            dropout=0.3,
            attention_dropout=0.1,
            share_all_embeddings=True,
            max_source_positions=256,
            max_target_positions=256,
            **settings,
        )
        ARCH_CONFIG_REGISTRY[arch](args)
        torch.manual_seed(1)
        self.model = self.task.build_model(args).train().to(device, getattr(torch, dtype))
        self.device = device
        self.scale = 128.0 if dtype == "float16" else 1.0
        self.sample = _to(device, _mini_batch(dictionary, max_tokens or usual, length))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-6)
        self._criteria = {}

    def pads(self):
        """The share of the target's positions that is padding."""
        return 1 - self.sample["ntokens"] / self.sample["target"].numel()

    def step(self, method):
        self.optimizer.zero_grad()
        self.forward_backward(method)
        self.optimizer.step()

    def forward_backward(self, method):
        for part in self._parts(method):
            loss, _, _ = self._criterion(method)(self.model, part)
            (loss * self.scale).backward()

    def _parts(self, method):
        if method != "two micro-batches":
            return [self.sample]
        return micro_batches(self.sample, 2, self.task.target_dictionary.pad())

    def _criterion(self, method):
        if method not in self._criteria:
            self._criteria[method] = self._made(method)
        return self._criteria[method]

    def _made(self, method):
        plain = (self.task, False, LABEL_SMOOTHING)
        if method == "plain":
            return LabelSmoothedCrossEntropyCriterion(*plain)
        if method == "naive":
            return Naive(*plain)
        mode, _, implementation = method.partition(", ")
        passes = {"encoder-once": "batched", "two micro-batches": "batched"}.get(mode, mode)
        return IntraDistillationCriterion(
            *plain,
            num_iter=K,
            alpha=ALPHA,
            passes=passes,
            encoder_once=mode == "encoder-once",
            id_loss=implementation or "auto",
        )


def _mini_batch(dictionary, max_tokens, length):
    """A batch from the middle of 20,000 pairs, which stand in fairseq's order: by source, then by target length."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 20000, generator=generator)
    source_lengths = (length * torch.exp(0.5 * noise[0])).round().int().clamp(1, 200)
    target_lengths = (source_lengths * torch.exp(0.15 * noise[1])).round().int().clamp(1, 200)
    pairs = sorted(zip(source_lengths.tolist(), target_lengths.tolist(), strict=True))[10000:]
    longest = itertools.accumulate((max(pair) + 1 for pair in pairs), max)
    count = sum(number * length <= max_tokens for number, length in enumerate(longest, 1))
    sources, targets = (
        [_sentence(dictionary, size, generator) for size in sizes] for sizes in zip(*pairs[:count], strict=True)
    )
    pad, end = dictionary.pad(), dictionary.eos()
    return {
        "id": torch.arange(count),
        "nsentences": count,
        "ntokens": sum(map(len, targets)),
        "net_input": {
            "src_tokens": data_utils.collate_tokens(sources, pad, left_pad=True),
            "src_lengths": torch.tensor([len(source) for source in sources]),
            "prev_output_tokens": data_utils.collate_tokens(targets, pad, end, move_eos_to_beginning=True),
        },
        "target": data_utils.collate_tokens(targets, pad),
    }


def _sentence(dictionary, length, generator):
    words = torch.randint(dictionary.nspecial, len(dictionary), (length,), generator=generator)
    return torch.cat([words, torch.tensor([dictionary.eos()])])


def _to(device, value):
    if isinstance(value, dict):
        return {name: _to(device, item) for name, item in value.items()}
    return value.to(device) if torch.is_tensor(value) else value
