"""A checkpoint that does not fit or is not there, and a model that cannot be built, are reported in one line."""

import functools
import traceback
from pathlib import Path

from fairseq import checkpoint_utils, models
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer

from ..errors import UsageError, reason
from ..last_checkpoint import is_own_last
from ..methods import setting

#: What torch says where names or shapes of parameters are not the model's.
MISFIT = "loading state_dict"
#: What fairseq says of a checkpoint that is not there, before its name.
NO_FILE = "Model file not found:"


def apply():
    """Puts the checks into fairseq's modules."""
    _report_what_does_not_fit_in_training()
    _report_what_does_not_fit_elsewhere()
    _report_a_checkpoint_that_is_not_there()
    _report_a_model_that_is_not_registered()
    _report_flags_that_exclude_each_other()


def _report_what_does_not_fit_in_training():
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, filename, *args, **kwargs):
        try:
            return load(self, filename, *args, **kwargs)
        except AssertionError as error:
            # Of another criterion or optimizer.
            instead = "; or begin by fairseq-intra train --continue-from, which keeps its state"
            raise UsageError(
                f"checkpoint {filename}: {reason(error)}{instead if 'Criterion' in str(error) else ''}"
            ) from None
        except KeyError as error:
            if not _raised_by_scheduler(error):
                raise
            raise UsageError(
                f"checkpoint {filename} is of a training with another --lr-scheduler than "
                f"{setting(self.cfg.lr_scheduler, '_name')}; give that one, or --reset-lr-scheduler"
            ) from None
        except Exception as error:
            if MISFIT not in str(error.__context__):
                raise
            raise UsageError(_unfit(filename, error.__context__)) from None

    Trainer.load_checkpoint = load_checkpoint


def _raised_by_scheduler(error):
    """Whether a learning-rate scheduler misses what one of its kind would have put into the checkpoint."""
    return Path(traceback.extract_tb(error.__traceback__)[-1].filename).parent.name == "lr_scheduler"


def _report_what_does_not_fit_elsewhere():
    load = checkpoint_utils.load_model_ensemble_and_task

    @functools.wraps(load)
    def load_model_ensemble_and_task(filenames, *args, **kwargs):
        try:
            return load(filenames, *args, **kwargs)
        except OSError as error:
            if not str(error).startswith(NO_FILE):
                raise
            raise UsageError(f"--path{str(error).removeprefix(NO_FILE)}: no such file") from None
        except RuntimeError as error:
            if MISFIT not in str(error):
                raise
            raise UsageError(_unfit(", ".join(map(str, filenames)), error)) from None

    checkpoint_utils.load_model_ensemble_and_task = load_model_ensemble_and_task


def _report_a_checkpoint_that_is_not_there():
    """fairseq would train from scratch."""
    load = checkpoint_utils.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(cfg, trainer, *args, **kwargs):
        if not is_own_last(cfg.restore_file, cfg.save_dir):
            part = cfg.restore_file.replace(".pt", f"{trainer.checkpoint_suffix or ''}.pt")
            if not PathManager.exists(part):
                raise UsageError(f"--restore-file {part}: no such file")
        return load(cfg, trainer, *args, **kwargs)

    checkpoint_utils.load_checkpoint = load_checkpoint


def _report_flags_that_exclude_each_other():
    """As --share-all-embeddings and two dictionaries; fairseq's errors name the flag."""
    models.build_model = _in_one_line(models.build_model)
    checkpoint_utils.load_checkpoint = _in_one_line(checkpoint_utils.load_checkpoint)


def _in_one_line(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            if not str(error).startswith("--"):
                raise
            raise UsageError(str(error)) from None

    return call


def _report_a_model_that_is_not_registered():
    build = models.build_model

    @functools.wraps(build)
    def build_model(cfg, *args, **kwargs):
        name = getattr(cfg, "_name", None) or getattr(cfg, "arch", None)
        if name and name not in models.ARCH_MODEL_REGISTRY and name not in models.MODEL_DATACLASS_REGISTRY:
            raise UsageError(
                f"no model '{name}' is registered: give fairseq's commands the --user-dir that registers it, and "
                "import fairseq_intra.plugin in its __init__.py"
            )
        return build(cfg, *args, **kwargs)

    models.build_model = build_model


def _unfit(filename, error):
    return f"checkpoint {filename} does not fit the dictionaries of the data or the settings: {reason(error)}"
