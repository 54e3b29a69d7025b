"""SIGUSR1, which Slurm sends before its time limit, ends a training after writing a checkpoint.

The checkpoint is written after the update in hand, without a validation that would not have been due: repeated, the
training equals an uninterrupted one. The workers agree on the update by the numbers that fairseq adds up over all of
them in every update anyway.
"""

import contextlib
import functools
import logging
import multiprocessing
import signal

import torch
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from . import training_loop

logger = logging.getLogger(__name__)

#: Its own handlers let the process die, also where nohup has it ignore SIGHUP, or do nothing (LLVM's
#: lib/Support/Unix/Signals.inc).
TAKEN_BY_LLVM = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

#: Seconds that a worker which got the signal adds to its training time, of which fairseq takes the sum.
MARK = 1e12


class _State:
    """Of this process."""

    asked = False  #: by a signal
    agreed = False  #: by all workers
    saved_at = None  #: the number of updates of the last checkpoint


def apply():
    """Puts the patches into fairseq's modules."""
    _listen_while_training()
    _agree_in_every_update()
    _note_checkpoints()
    _stop_after_an_update()


def _listen_while_training():
    init = Trainer.__init__

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        # Of a training that went before in this process.
        _State.agreed, _State.saved_at = False, None
        # Another handler, such as that of submitit, stays. Outside of the main thread none can be set.
        if signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, signal.SIG_IGN):
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGUSR1, _ask)
        if multiprocessing.parent_process() is not None:
            # A worker that fairseq has spawned would start its data loader's processes by exec. The signal, sent to
            # all processes of the training, would end them: they have no handler.
            multiprocessing.set_start_method("fork", force=True)

    Trainer.__init__ = __init__


def _ask(_number, _frame):
    _State.asked = True


def _listen_again():
    """LLVM, with which Triton compiles a kernel when it is first launched, has taken the signals from Python."""
    for number in TAKEN_BY_LLVM:
        handler = signal.getsignal(number)
        if callable(handler) or handler == signal.SIG_IGN:
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)


def _agree_in_every_update():
    local_time, step = Trainer._local_cumulative_training_time, Trainer.train_step

    @functools.wraps(local_time)
    def _local_cumulative_training_time(self):
        return local_time(self) + (MARK if _State.asked and self._sync_stats() else 0)

    @functools.wraps(step)
    def train_step(self, *args, **kwargs):
        done = step(self, *args, **kwargs)
        _listen_again()
        mean = self._cumulative_training_time
        if mean is None:
            _State.agreed = _State.asked
        elif asking := round(float(mean) * self.data_parallel_world_size / MARK):
            self._cumulative_training_time = mean - asking * MARK / self.data_parallel_world_size
            _State.agreed = True
        return done

    Trainer._local_cumulative_training_time = _local_cumulative_training_time
    Trainer.train_step = train_step


def _note_checkpoints():
    save = checkpoint_utils.save_checkpoint

    @functools.wraps(save)
    def save_checkpoint(cfg, trainer, *args, **kwargs):
        _State.saved_at = trainer.get_num_updates()
        return save(cfg, trainer, *args, **kwargs)

    checkpoint_utils.save_checkpoint = save_checkpoint


def _stop_after_an_update():
    program = training_loop.module()
    validate = program.validate_and_save

    @functools.wraps(validate)
    def validate_and_save(cfg, trainer, task, epoch_itr, *args, **kwargs):
        valid_losses, should_stop = validate(cfg, trainer, task, epoch_itr, *args, **kwargs)
        if _State.agreed and not should_stop:
            _stop(cfg, trainer, epoch_itr)
        return valid_losses, should_stop

    program.validate_and_save = validate_and_save


def _stop(cfg, trainer, epoch_itr):
    updates = trainer.get_num_updates()
    if _State.saved_at != updates:
        checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
    if torch.distributed.is_initialized():
        # The first worker writes the checkpoint; a launcher would end it when another one has gone.
        torch.distributed.barrier()
    unwritten = [flag for flag in ("no_save", "no_last_checkpoints") if cfg.checkpoint[flag]]
    kept = f"the checkpoint has {updates} updates"
    if unwritten:
        kept = f"there is none of {updates} updates to resume from (--{unwritten[0].replace('_', '-')})"
    logger.info("preempted by SIGUSR1: %s", kept)
    # The next one would otherwise hit a Python that has put its handlers away.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    raise SystemExit(0)
