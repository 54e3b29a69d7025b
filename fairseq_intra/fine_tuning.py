"""What the tasks share that fine-tune an encoder with a head on it, whatever the head tells of a text."""

import logging
from dataclasses import dataclass, field

import torch
from fairseq.dataclass import FairseqDataclass

from .adaptive import AdaptiveAlphaFlags, AdaptiveAlphaTask
from .method import IntraDistillation, MethodFlags
from .passes import draws_at_all, draws_per_forward, repeated_part, run_passes, unwrapped

logger = logging.getLogger(__name__)


def _field(flags, name, default):
    """A field of a dataclass again, with the default that the paper has for fine-tuning."""
    return field(default=default, metadata=dict(flags.__dataclass_fields__[name].metadata))


@dataclass
class FineTuningFlags(MethodFlags):
    """The flags of the method, for a criterion of fine-tuning."""

    alpha: float = _field(MethodFlags, "alpha", 1.0)


@dataclass
class FineTuningTaskFlags(AdaptiveAlphaFlags, FairseqDataclass):
    """The flags of the schedule and of freezing, for a task of fine-tuning."""

    temperature_p: float = _field(AdaptiveAlphaFlags, "temperature_p", 20 / 3)
    freeze_encoder: bool = field(
        default=False,
        metadata={
            "help": "train the head alone; with --dropout 0 --attention-dropout 0, and --pooler-dropout above 0, "
            "the encoder runs once for all K passes of the head"
        },
    )


class FineTuningTask(AdaptiveAlphaTask):
    """Mixin of a fairseq task, before it, whose `cfg` has `FineTuningTaskFlags`."""

    def build_model(self, cfg, *more):
        model = super().build_model(cfg, *more)
        if self.cfg.freeze_encoder:
            model.encoder.requires_grad_(False)
        return model


class HeadPasses(IntraDistillation):
    """Mixin of a criterion whose model is an encoder with a head on it."""

    _way = None

    def head_outputs(self, model, net_input):
        """What the head says in each of K stochastic passes over a mini-batch of B texts.

        The model is only called itself, as distributed training needs it. An encoder that drops nothing runs once.

        Args:
            model: in training mode.
            net_input: its keyword arguments, with `features_only` and the like where the head needs them.

        Returns:
            [K, B, ...], what the model returns first.

        Raises:
            UsageError: if the model cannot be trained in the way asked for.
        """
        if self._way is None:
            self._way = self._planned(model)
        passes, encoder_once = self._way
        outputs = run_passes(model, net_input, self.num_iter, passes, encoder_once)
        outputs = [output.unflatten(0, (-1, copies)).transpose(0, 1) for (output, *_), copies in outputs]
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def _planned(self, model):
        """(passes, encoder_once) for this model, which are logged."""
        encoder_once = self.passes in ("auto", "batched") and _needs_its_encoder_once(unwrapped(model))
        passes = self.chosen_passes(model, encoder_once)
        once = ", through the encoder once, which drops nothing" if encoder_once else ""
        logger.info("intra-distillation: %d passes, %s%s", self.num_iter, passes, once)
        return passes, encoder_once


def _needs_its_encoder_once(model):
    """Whether K passes through the encoder give the same, and only a head follows."""
    encoder = getattr(model, "encoder", None)
    if encoder is None or getattr(model, "decoder", None) is not None:
        return False
    return not draws_at_all(encoder) and not draws_per_forward(repeated_part(model, encoder_once=True))
