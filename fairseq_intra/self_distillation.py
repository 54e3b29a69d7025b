"""The criterion `self_distillation`: the target, and beside it the distributions of an earlier model, the teacher."""

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)

from . import checkpoint
from .errors import UsageError
from .intra_distillation import log_mean
from .limits import check_label_smoothing
from .loss.distillation import Teacher, distillation_loss
from .model_outputs import (
    NoProjection,
    counts,
    projection,
    reject_other_inputs,
    reject_other_outputs,
    select_positions,
    target_positions,
)

logger = logging.getLogger(__name__)


@dataclass
class SelfDistillationCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig):
    teacher: str = field(
        default="",
        metadata={"help": "checkpoint of the model to learn from, of the same languages and dictionaries"},
    )
    distillation_weight: float = field(
        default=0.5,
        metadata={
            "help": "share of the loss that is distance to the teacher's distributions; 0 means plain training, "
            "1 that the target is ignored"
        },
    )
    distillation_temperature: float = field(
        default=1.0,
        metadata={"help": "divides the logits of teacher and student in that distance; 1 means as they are"},
    )


@register_criterion("self_distillation", dataclass=SelfDistillationCriterionConfig)
class SelfDistillationCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy, mixed with word-level distillation from a teacher (`distillation_loss`).

    In evaluation it is its parent: the plain loss, and no teacher, whose file is not needed then. The teacher is
    loaded at the first mini-batch, in evaluation mode, on a GPU in half precision. It is no part of this module: not
    trained, not saved.

    Raises:
        UsageError: if a flag has a value that is not allowed; in training, if the teacher cannot be loaded or has
            other languages or dictionaries, or what either returns is not logits over the whole vocabulary.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        teacher="",
        distillation_weight=0.5,
        distillation_temperature=1.0,
    ):
        check_label_smoothing(label_smoothing)
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        if not 0 <= distillation_weight <= 1:
            raise UsageError(f"--distillation-weight must be between 0 and 1, not {distillation_weight}")
        if not 0 < distillation_temperature < math.inf:
            raise UsageError(f"--distillation-temperature must be a number above 0, not {distillation_temperature}")
        if not teacher:
            raise UsageError("--criterion self_distillation needs --teacher, a checkpoint to learn from")
        if _pair(task) is None:
            raise UsageError("--criterion self_distillation is for --task translation and those built on it")
        self.teacher = teacher
        self.weight = distillation_weight
        self.temperature = distillation_temperature
        # Within a tuple, a model is not taken for a part of this module.
        self._loaded: tuple[Any, ...] = ()

    def forward(self, model, sample, reduce=True):
        """As fairseq's criterions: (loss, sample_size, logging_output), the loss summed over tokens, in nats."""
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        if not self._loaded:
            reject_other_inputs(model, sample["net_input"], "self_distillation")
            self._loaded = (self._load(model),)
        target, positions = target_positions(model, sample, self.padding_idx, self.ignore_prefix_size)
        logits = select_positions(model(**sample["net_input"])[0].unsqueeze(0), positions)
        logging_output = counts(sample, self.sentence_avg)
        if self.report_accuracy:
            logging_output["n_correct"] = logits.argmax(-1).eq(target).sum().item()
            logging_output["total"] = target.numel()
        result = distillation_loss(
            logits,
            target,
            self._teacher_outputs(self._loaded[0], sample["net_input"], positions),
            weight=self.weight,
            temperature=self.temperature,
            label_smoothing=self.eps,
            # select_positions made these logits, and nobody reads them after this.
            overwrite_logits=True,
        )
        logging_output["loss"] = result.loss.data
        logging_output["nll_loss"] = result.nll.data
        logging_output["distillation_loss"] = result.distillation.data
        return result.loss, logging_output["sample_size"], logging_output

    @staticmethod
    @torch.no_grad()
    def _teacher_outputs(model, net_input, positions):
        """The teacher's outputs at these positions."""
        try:
            layer = projection(model)
        except NoProjection:
            return Teacher(select_positions(model(**net_input)[0].unsqueeze(0), positions))
        features = model(**net_input, features_only=True)[0].unsqueeze(0)
        # Under autocast its last layer, a norm, gives float32, and backward projects outside of autocast.
        features = select_positions(features, positions).to(layer.weight.dtype)
        return Teacher(features, layer.weight, layer.bias)

    def _load(self, student):
        reject_other_outputs(student, "self_distillation")
        # Its parameters are initialised before they are loaded. A resumed training loads it again, at another update,
        # whose dropout is to stay the same.
        with torch.random.fork_rng(devices=[]):
            built = checkpoint.build(Path(self.teacher), Path(utils.split_paths(self.task.cfg.data)[0]))
        reject_other_outputs(built.model, "a teacher of self_distillation")
        ours, theirs = map(_pair, (self.task, built.task))
        if ours != theirs:
            what = f"translates {theirs}" if theirs else "is no model of --task translation"
            raise UsageError(f"--teacher {self.teacher} {what}; wanted is {ours}")
        device = next(student.parameters()).device
        teacher = built.model.requires_grad_(False).to(device)
        method, num_updates = built.training.method, built.training.num_updates
        logger.info("self-distillation: teacher %s, %s of %d updates", self.teacher, method, num_updates)
        return teacher.half() if device.type == "cuda" else teacher

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs, beside the parent's base-2 losses, the distance to the teacher in bits per token."""
        super().reduce_metrics(logging_outputs)
        log_mean(logging_outputs, "distillation_loss", "ntokens", math.log(2))


def _pair(task):
    """The languages of a translation task, None of another task."""
    cfg = getattr(task, "cfg", None)
    source, target = (getattr(cfg, f"{side}_lang", None) for side in ("source", "target"))
    return f"{source}-{target}" if source and target else None
