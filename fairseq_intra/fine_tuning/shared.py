"""What all tasks and criterions share that fine-tune an encoder with a head on it: flags, the method, freezing."""

import logging
from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass

from ..intra_distillation import IntraDistillation, IntraDistillationFlags
from ..late_start import LateStartFlags, LateStartTask

logger = logging.getLogger(__name__)


def _field(flags, name, default):
    """A field of a dataclass again, with the default that the paper has for fine-tuning."""
    return field(default=default, metadata=dict(flags.__dataclass_fields__[name].metadata))


@dataclass
class FineTuningFlags(IntraDistillationFlags):
    """The flags of the method, for a criterion of fine-tuning."""

    alpha: float = _field(IntraDistillationFlags, "alpha", 1.0)


class LoggedIntraDistillation(IntraDistillation):
    """Intra-distillation that logs once how its K passes run, for a criterion of fine-tuning."""

    _is_logged = False

    def run_passes(self, model, net_input):
        """As `IntraDistillation.run_passes`."""
        if not self._is_logged:
            logger.info("intra-distillation: %s", self.description(model))
            self._is_logged = True
        return super().run_passes(model, net_input)


@dataclass
class FineTuningTaskFlags(LateStartFlags, FairseqDataclass):
    """The flags of the schedule and of freezing, for a task of fine-tuning."""

    temperature_p: float = _field(LateStartFlags, "temperature_p", 20 / 3)
    freeze_encoder: bool = field(
        default=False,
        metadata={
            "help": "train the head alone; with --dropout 0 --attention-dropout 0, and --pooler-dropout above 0, "
            "the encoder runs once for all K passes of the head"
        },
    )


class FineTuningTask(LateStartTask):
    """Mixin of a fairseq task, before it, whose `cfg` has `FineTuningTaskFlags`."""

    def build_model(self, cfg, *more):
        model = super().build_model(cfg, *more)
        if self.cfg.freeze_encoder:
            # BART has a decoder as well.
            for name, part in model.named_children():
                part.requires_grad_(name == "classification_heads")
        return model
