"""A checkpoint keeps a checksum of its dictionaries, and is not loaded with others of the same size, nor reversed.

fairseq checks sizes alone: with another dictionary the model would translate into other words, without an error. So
would, where both languages share one, a model of the other direction.
"""

import functools
import hashlib
import inspect
import logging

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from ..errors import UsageError

logger = logging.getLogger(__name__)

#: Where a checkpoint's extra_state has them.
KEY = "dictionary_checksums"
SIDES = ("source", "target", "label")
UNKNOWN = "holds no checksum of its dictionaries: whether they are those of the data cannot be checked"


def apply():
    """Puts the patches into fairseq's modules."""
    _store()
    _check_in_training()
    _check_elsewhere()


def checksums(task) -> dict[str, dict]:
    """The checksums of a task's dictionaries and its languages, by side ("source", "target", "label") that it has."""
    languages = _languages(task)
    return {
        side: {"symbols": len(symbols), "sha256": _digest(symbols)}
        | ({"language": languages[side]} if side in languages else {})
        for side, symbols in _symbols(task).items()
        if symbols
    }


def check(path, stored: dict | None, symbols: dict[str, list[str]], languages: dict[str, str]) -> bool:
    """Compares the checksums that a checkpoint holds with the symbols of dictionaries, and its direction.

    Symbols that a task has appended are allowed, and a dictionary that is shorter is left to the model, which does
    not fit it.

    Args:
        path: of the checkpoint, for the error message.
        stored: its checksums, None where it holds none.
        symbols: the dictionaries' symbols in order, by side.
        languages: those of the data, by side; {} where another direction is no mistake.

    Returns:
        Whether there was anything to compare.

    Raises:
        UsageError: if they differ, or the data has the two languages the other way round.
    """
    theirs, ours = ([given.get(side) for side in SIDES[:2]] for given in (_stored_languages(stored or {}), languages))
    check_direction(path, theirs, ours)
    for side, known in (stored or {}).items():
        own = symbols.get(side) or []
        if len(own) >= known["symbols"] and _digest(own[: known["symbols"]]) != known["sha256"]:
            raise UsageError(
                f"checkpoint {path} was trained with another {side} dictionary than that of the data "
                f"({known['symbols']} symbols, here {len(own)}); give the dataset that it was trained on"
            )
    return bool(stored)


def _stored_languages(stored):
    return {side: known.get("language") for side, known in stored.items()}


def check_direction(path, theirs: list[str | None], ours: list[str | None]) -> None:
    """Raises UsageError where a checkpoint has the languages of the data, source and target, the other way round."""
    if all(ours) and theirs == ours[::-1] != ours:
        raise UsageError(f"checkpoint {path} translates {theirs[0]}-{theirs[1]}, and the data is {ours[0]}-{ours[1]}")


def stored_in(state: dict) -> dict | None:
    """The checksums that a checkpoint's content holds."""
    return (state.get("extra_state") or {}).get(KEY)


def _dictionary(task, side):
    try:
        return getattr(getattr(task, f"{side}_dictionary"), "symbols", None)
    except Exception:  # tasks without one, or with one for each language, raise what they like
        return None


def _digest(symbols):
    return hashlib.sha256("\n".join(symbols).encode()).hexdigest()


def _symbols(task):
    return {side: _dictionary(task, side) for side in SIDES}


def _languages(task):
    cfg = getattr(task, "cfg", None)
    found = {side: getattr(cfg, f"{side}_lang", None) for side in SIDES[:2]}
    return {side: language for side, language in found.items() if language}


def _store():
    save = Trainer.save_checkpoint

    @functools.wraps(save)
    def save_checkpoint(self, filename, extra_state):
        extra_state[KEY] = checksums(self.task)
        return save(self, filename, extra_state)

    Trainer.save_checkpoint = save_checkpoint


def _check_in_training():
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, filename, reset_optimizer=False, *args, **kwargs):
        extra_state = load(self, filename, reset_optimizer, *args, **kwargs)
        if extra_state is not None:
            # A head may be fine-tuned further, to other labels, a model to another direction.
            symbols = _symbols(self.task) | ({"label": None} if reset_optimizer else {})
            languages = {} if reset_optimizer else _languages(self.task)
            check(filename, extra_state.get(KEY), symbols, languages)
        return extra_state

    Trainer.load_checkpoint = load_checkpoint


def _check_elsewhere():
    """fairseq-generate and others keep nothing of a checkpoint but its model: its content is noted as it is read."""
    read, load = checkpoint_utils.load_checkpoint_to_cpu, checkpoint_utils.load_model_ensemble_and_task
    contents, parameters = [], inspect.signature(load)

    @functools.wraps(read)
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        state = read(path, *args, **kwargs)
        contents.append((path, stored_in(state)))
        return state

    @functools.wraps(load)
    def load_model_ensemble_and_task(filenames, *args, **kwargs):
        state = parameters.bind(filenames, *args, **kwargs).arguments.get("state")
        contents[:] = [(filenames[0], stored_in(state))] if state is not None else []
        loaded = load(filenames, *args, **kwargs)
        for path, stored in contents:
            if not check(path, stored, _symbols(loaded[-1]), _languages(loaded[-1])):
                logger.warning("checkpoint %s %s", path, UNKNOWN)
        contents.clear()
        return loaded

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
    checkpoint_utils.load_model_ensemble_and_task = load_model_ensemble_and_task
