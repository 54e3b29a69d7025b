"""A translation task, models and mini-batches of a few numbers each, made in the process: nothing on disk."""

import contextlib
import functools
import pickle
import re
from argparse import Namespace
from unittest import mock

import torch
from fairseq import options, tasks
from fairseq.data import Dictionary, data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.trainer import Trainer

import fairseq_intra.plugin  # noqa: F401
from fairseq_intra.patches import input_checks

#: Sentences as (source, target) word numbers: of different lengths, so that a batch of them is padded.
SENTENCES = [([5, 9, 7, 6, 8], [9, 5, 6]), ([7, 4], [8, 9, 11, 4, 7]), ([10], [6])]
#: Numbers in fairseq 0.12.2's models that nothing uses or sets: copies of the encoder's parameters, and a buffer.
UNUSED = re.compile(r"_float_tensor$|layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$")

_SIZES = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"layers": 1, "embed_dim": 8, "ffn_embed_dim": 8, "attention_heads": 2}.items()
}
_LSTM = {"encoder_hidden_size": 8, "decoder_hidden_size": 8, "decoder_out_embed_dim": 8, "criterion": "any"}
_LIGHTCONV = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"conv_dim": 8, "kernel_size_list": [3], "glu": True}.items()
} | {"weight_softmax": True, "attention_dropout": 0.0, "relu_dropout": 0.0, "input_dropout": 0.0}
#: Settings of models other than the transformer.
LIGHTCONV = {"arch": "lightconv", "encoder_conv_type": "lightweight", "decoder_conv_type": "lightweight"}
DYNAMICCONV = {"arch": "lightconv", "encoder_conv_type": "dynamic", "decoder_conv_type": "dynamic"}


def logged(criterion, *logging_outputs):
    """What stands in the log of these mini-batches' logging outputs, by name."""
    with metrics.aggregate(new_root=True) as aggregator:
        criterion.reduce_metrics(list(logging_outputs))
    return aggregator.get_smoothed_values()


def dictionary(words=12):
    """A dictionary whose words are numbered from 4."""
    made = Dictionary()
    for number in range(words):
        made.add_symbol(f"word{number}")
    return made


def translation_task():
    return TranslationTask(TranslationConfig(), dictionary(), dictionary())


def model(task, arch="transformer", dropout=0.0, **settings):
    """A model in training mode, of weights that are always the same."""
    sizes = _SIZES | {"lstm": _LSTM, "lightconv": _LIGHTCONV}.get(arch, {})
    positions = {"max_source_positions": 32, "max_target_positions": 32}
    args = Namespace(**{"arch": arch, "dropout": dropout, **sizes, **positions, **settings})
    ARCH_CONFIG_REGISTRY[arch](args)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = task.build_model(args).train()
    if arch == "lstm":  # whose first weights are so small that nothing it drops can be seen
        for parameter in made.parameters():
            parameter.data *= 8
    return made


def save_dictionaries(folder):
    """Makes the folder one of fairseq's data, without text."""
    for language in ("de", "en"):
        dictionary().save(str(folder / f"dict.{language}.txt"))


#: Flags of intra-distillation.
METHOD = "--task translation_intra_distillation --criterion intra_distillation --alpha 2 --label-smoothing 0.1"


def configuration(folder, *flags, method=METHOD):
    """What fairseq-train makes of its arguments, for a tiny transformer with tied embeddings."""
    always = f"--source-lang de --target-lang en --arch transformer --share-all-embeddings --cpu {method}"
    sizes = [f"--{name.replace('_', '-')}={size}" for name, size in _SIZES.items()]
    made = parsed(*always.split(), *sizes, *map(str, flags))
    made.task.data = str(folder)
    return made


def parsed(*flags):
    """What fairseq-train makes of these flags and a folder named "data". Of the same flags once: it takes long."""
    return pickle.loads(_parsed(flags))


@functools.cache
def _parsed(flags):
    argv = ["data", *flags]
    made = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), argv))
    # A copy by copy.deepcopy would share the Namespaces of tasks and models that have no dataclass.
    return pickle.dumps(made)


def trainer(cfg):
    """fairseq's trainer of an untrained model, always of the same weights; on a CPU in any precision."""
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(1)
    with mock.patch.object(input_checks, "_check_precision"):
        return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))


def sample(task, sentences=SENTENCES):
    """The mini-batch of some sentences, as fairseq's loader makes it but for the order, which stays."""
    end, pad = task.target_dictionary.eos(), task.target_dictionary.pad()
    sources = [torch.tensor([*source, end]) for source, _ in sentences]
    targets = [torch.tensor([*target, end]) for _, target in sentences]
    padded = data_utils.collate_tokens
    return {
        "id": torch.arange(len(sentences)),
        "nsentences": len(sentences),
        "ntokens": sum(len(target) for target in targets),
        "net_input": {
            "src_tokens": padded(sources, pad, left_pad=True),
            "src_lengths": torch.tensor([len(source) for source in sources]),
            "prev_output_tokens": padded(targets, pad, end, move_eos_to_beginning=True),
        },
        "target": padded(targets, pad),
    }


def repeated(sentences, copies):
    """Every sentence some times, its copies next to each other."""
    return [sentence for sentence in sentences for _ in range(copies)]


@contextlib.contextmanager
def seeded(seed):
    """What is drawn inside depends on the seed, and nothing outside changes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def gradients(model):
    """The gradients by parameter; a model may hold parameters that it never uses."""
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def step(criterion, model, sample, seed=5):
    """What the criterion returns for a mini-batch, and the gradients of its loss."""
    model.zero_grad()
    with seeded(seed):
        loss, sample_size, logging_output = criterion(model, sample)
    loss.backward()
    return loss.detach(), sample_size, logging_output, gradients(model)


def roberta(task, **settings):
    """A RoBERTa with the task's head, in training mode, of weights that are always the same; without dropout."""
    sizes = {"encoder_layers": 1, "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 8, "encoder_attention_heads": 2}
    args = Namespace(**{"arch": "roberta", **sizes, "dropout": 0.0, "attention_dropout": 0.0, **settings})
    ARCH_CONFIG_REGISTRY["roberta"](args)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = task.build_model(args).train()
    # The first weights of BERT are so small that nothing that is dropped can be seen.
    for parameter in made.parameters():
        parameter.data *= 16 if parameter.dim() > 1 else 1
    return made


class Optimizer:
    """As much of fairseq's as a task uses."""

    def backward(self, loss):
        loss.backward()


class Recording(torch.nn.Module):
    """A model as distributed training wraps it: its hooks sit on forward. Remembers every call's net_input."""

    def __init__(self, module, parts=()):
        super().__init__()
        self.module = module
        self.calls = []
        self.inside = False
        for part in parts or (module.encoder, module.decoder):
            part.register_forward_pre_hook(self._check)

    def forward(self, **net_input):
        self.calls.append(net_input)
        self.inside = True
        try:
            return self.module(**net_input)
        finally:
            self.inside = False

    def _check(self, *_):
        assert self.inside, "a part of the model was called by itself"
