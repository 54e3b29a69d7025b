"""Fixes fairseq's data parallel training where replicas would silently diverge, or not start on CPUs."""

import contextlib
import functools
import importlib.util
import os

import torch
from fairseq import utils
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.distributed import LegacyDistributedDataParallel
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model
from fairseq.trainer import Trainer
from omegaconf import open_dict

from ..errors import UsageError
from ..passes import drops_layers

#: The environment in which fairseq, too, takes a process for one of several. torchrun sets LOCAL_RANK as well.
LAUNCHER = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")
#: From one worker's seed to the next one's: more than a training has updates, each of which adds 1.
SEED_STRIDE = 1_000_003


def apply():
    """Puts the patches into fairseq's modules."""
    _join_the_workers_of_a_launcher()
    _reject_workers_that_were_not_joined()
    _leave_device_ids_out_on_cpu()
    _compare_gradient_norms_on_cpu()
    _sample_other_masks_on_every_worker()
    _exchange_gradients_again_after_an_error()
    _count_the_tokens_of_an_uneven_update()
    _gather_predictions()


def _join_the_workers_of_a_launcher():
    """fairseq overlooks torchrun unless it counts several GPUs: every process would be a training of its own."""
    call = distributed_utils.call_main

    @functools.wraps(call)
    def call_main(cfg, main, **kwargs):
        _set_up(cfg.distributed_training, cpu=cfg.common.cpu or not torch.cuda.is_available())
        return call(cfg, main, **kwargs)

    distributed_utils.call_main = call_main


def _reject_workers_that_were_not_joined():
    """fairseq-hydra-train reads --user-dir when each process has become a training of its own."""
    init = Trainer.__init__

    @functools.wraps(init)
    def __init__(self, cfg, *args, **kwargs):
        if _is_launched() and cfg.distributed_training.distributed_world_size == 1:
            raise UsageError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, and every worker would train alone: fairseq-hydra-train "
                "does not read it; start fairseq-train"
            )
        init(self, cfg, *args, **kwargs)

    Trainer.__init__ = __init__


def _is_launched():
    return all(name in os.environ for name in LAUNCHER) and int(os.environ["WORLD_SIZE"]) > 1


def _set_up(cfg, cpu):
    """Completes fairseq's DistributedTrainingConfig from the launcher's environment.

    Raises:
        UsageError: on a combination with which fairseq would train nothing, or could not train.
    """
    if cfg.ddp_backend == "fully_sharded" and importlib.util.find_spec("fairscale") is None:
        raise UsageError(
            "--ddp-backend fully_sharded needs fairscale (pip install fairscale); else use pytorch_ddp or legacy_ddp"
        )
    if cfg.distributed_init_method is not None:
        if cpu and not cfg.distributed_no_spawn:
            raise UsageError(
                "--distributed-init-method starts a process for every GPU, and there is none to be used; start every "
                "process yourself, each with --distributed-no-spawn and its --distributed-rank, or by torchrun"
            )
        return
    if not _is_launched():
        return
    with open_dict(cfg):
        cfg.distributed_init_method = "env://"
        cfg.distributed_world_size = int(os.environ["WORLD_SIZE"])
        cfg.distributed_rank = int(os.environ["RANK"])
        cfg.device_id = (
            0 if cpu else int(os.environ.get("LOCAL_RANK", cfg.distributed_rank % torch.cuda.device_count()))
        )
        cfg.distributed_no_spawn = True
        if cpu:
            cfg.distributed_backend = "gloo"


def _leave_device_ids_out_on_cpu():
    """torch's DistributedDataParallel rejects device_ids for a model on the CPU, and fairseq always gives one."""
    wrapper = distributed_fairseq_model.DistributedDataParallel

    class DistributedDataParallel(wrapper):
        def __init__(self, module, device_ids=None, output_device=None, **kwargs):
            if next(module.parameters()).device.type == "cpu":
                device_ids = output_device = None
            super().__init__(module, device_ids=device_ids, output_device=output_device, **kwargs)

    distributed_fairseq_model.DistributedDataParallel = DistributedDataParallel


def _compare_gradient_norms_on_cpu():
    """fairseq stops a training whose workers' gradients differ, but has a place for their norms on GPUs alone."""
    init = Trainer.__init__

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if self._grad_norm_buf is None and self.data_parallel_world_size > 1:
            self._grad_norm_buf = torch.zeros(self.data_parallel_world_size, dtype=torch.double)

    Trainer.__init__ = __init__


def _sample_other_masks_on_every_worker():
    """fairseq gives all workers the same seed at every update: they would use identical dropout masks."""
    set_seed = Trainer._set_seed

    @functools.wraps(set_seed)
    def _set_seed(self):
        # Workers that share parameters layer by layer must drop the same layers, or they wait for each other forever.
        alike = self.is_fsdp and any(map(drops_layers, self.model.modules()))
        rank = 0 if alike else self.data_parallel_rank
        utils.set_torch_seed(worker_seed(self.cfg.common.seed + self.get_num_updates(), rank))

    Trainer._set_seed = _set_seed


def _exchange_gradients_again_after_an_error():
    """fairseq's own wrapper leaves exchange off for good where a forward within no_sync runs out of memory."""

    @contextlib.contextmanager
    def no_sync(self):
        before, self.accumulate_grads = self.accumulate_grads, True
        try:
            yield
        finally:
            self.accumulate_grads = before

    LegacyDistributedDataParallel.no_sync = no_sync


def _count_the_tokens_of_an_uneven_update():
    """With --update-freq a worker may run out of data within an update; fairseq then forgets what it had counted.

    The update would be divided by the other workers' tokens alone. Without the mini-batch that fairseq puts in the
    missing one's place, the worker just synchronises its gradients one mini-batch earlier. Not so with sharded
    parameters: there the workers wait for each other in every mini-batch.
    """
    step = Trainer.train_step

    @functools.wraps(step)
    def train_step(self, samples, raise_oom=False):
        return step(self, samples if self.is_fsdp else _that_are_there(samples), raise_oom)

    Trainer.train_step = train_step


def _that_are_there(samples):
    return [sample for sample in samples if sample] or samples[:1]


def _gather_predictions():
    """fairseq adds up what workers log, also the predictions that --report-mcc and the like are made of: lists.

    Nor can it gather anything else than numbers without a GPU.
    """
    SentencePredictionCriterion.logging_outputs_can_be_summed = _has_logged_numbers_alone
    gather = distributed_utils.all_gather_list

    @functools.wraps(gather)
    def all_gather_list(data, group=None, max_size=16384):
        if torch.cuda.is_available():
            return gather(data, group, max_size)
        group = distributed_utils.get_global_group() if group is None else group
        found = [None] * distributed_utils.get_world_size(group)
        torch.distributed.all_gather_object(found, data, group)
        return found

    distributed_utils.all_gather_list = all_gather_list


def _has_logged_numbers_alone(criterion):
    return criterion.training or not getattr(criterion, "keep_pred_and_targ", False)


def worker_seed(seed: int, rank: int) -> int:
    """The seed that a worker takes in place of the common one, which is that of the first."""
    return seed + SEED_STRIDE * rank
