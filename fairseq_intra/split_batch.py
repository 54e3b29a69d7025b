"""A mini-batch cut into parts, so that the activations of one part at a time have to fit into memory."""

import torch


def split_batch(sample, parts, padding_idx):
    """The mini-batches of some of a mini-batch's sentences each, in their order.

    The criterion's loss is a sum over tokens, so that the parts' gradients add up to those of the whole.

    Args:
        sample: what fairseq's loader of language pairs gives.
        parts: how many to make; fewer where there are fewer sentences. 1 gives the sample itself.
        padding_idx: number of the padding, which ntokens does not count.
    """
    if parts == 1:
        # What every plain step does: counting tokens would make it wait for the GPU.
        return [sample]
    sentences = torch.arange(len(sample["target"]))
    return [_of(sample, part, padding_idx) for part in sentences.tensor_split(parts) if len(part)]


def joined(results):
    """What `train_step` returns for a whole mini-batch, from what it returned for its parts."""
    losses, sample_sizes, logging_outputs = zip(*results, strict=True)
    logged = {name: sum(part[name] for part in logging_outputs) for name in logging_outputs[0]}
    return sum(losses), sum(sample_sizes), logged


def _of(sample, part, padding_idx):
    rows = slice(part[0].item(), part[-1].item() + 1)
    cut = {name: sample[name][rows] for name in ("id", "target")}
    net_input = {
        name: value[rows] if torch.is_tensor(value) else value for name, value in sample["net_input"].items()
    }
    ntokens = cut["target"].ne(padding_idx).sum().item()
    return {**cut, "net_input": net_input, "nsentences": len(part), "ntokens": ntokens}
