"""A task and its criterion, made of a command line or of a configuration file as fairseq's commands make them."""

import sys

from fairseq import options, tasks
from fairseq.dataclass import configs, initialize
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf


def of_command(monkeypatch, *arguments):
    """(task, criterion) as fairseq-train makes them of its arguments. Takes about a second."""
    monkeypatch.setattr(sys, "argv", ["fairseq-train", *map(str, arguments)])
    return _of(convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser())))


def of_configuration(task, criterion, max_update):
    """(task, criterion) as fairseq-hydra-train makes them of the sections of a configuration file."""
    cfg = OmegaConf.structured(configs.FairseqConfig())
    cfg.task, cfg.criterion, cfg.optimization.max_update = task, criterion, max_update
    initialize.add_defaults(cfg)
    return _of(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)))


def _of(cfg):
    task = tasks.setup_task(cfg.task)
    return task, task.build_criterion(cfg.criterion)
