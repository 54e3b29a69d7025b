"""Limits that several modules share; what is checked here has one message for our commands and fairseq's."""

from .errors import UsageError

#: The loss is float32, and its sum over a mini-batch has to fit: the criterion's limit, so that a command which
#: starts a training rejects what that would.
HIGHEST_ALPHA = 1_000_000
#: numpy's limit, less a million epochs: fairseq adds the number of the epoch to the seed of the training's shuffling.
#: What fairseq cannot take, no command of ours can pass on.
HIGHEST_SEED = 2**32 - 1 - 1_000_000
#: fairseq's default of --max-source-positions and --max-target-positions, in subwords with the end of sentence.
DEFAULT_MAX_POSITIONS = 1024


def check_alpha(alpha: float) -> None:
    """Raises UsageError on an alpha that is negative, above HIGHEST_ALPHA or no number (NaN)."""
    if not 0 <= alpha <= HIGHEST_ALPHA:
        raise UsageError(f"--alpha must be a number from 0 to {HIGHEST_ALPHA}, not {alpha}")


def check_label_smoothing(epsilon: float) -> None:
    """Raises UsageError on a share of probability that is none."""
    if not 0 <= epsilon <= 1:
        raise UsageError(f"--label-smoothing must be a number from 0 to 1, not {epsilon}")


def check_seed(seed: int) -> None:
    """Raises UsageError on a seed that is negative or above HIGHEST_SEED."""
    if not 0 <= seed <= HIGHEST_SEED:
        raise UsageError(f"--seed must be a whole number from 0 to {HIGHEST_SEED}, not {seed}")


def check_precision(flags: list[str], no_gpu: str) -> None:
    """Raises UsageError on two precisions, of which fairseq would take one for the model, and on fp16 without a GPU.

    Without a GPU, fairseq ends at the first overflow in fp16 (fairseq/trainer.py).

    Args:
        flags: of fairseq-train, those given that choose a precision.
        no_gpu: why there is no GPU; "" where there is one.
    """
    kinds = {flag.rpartition("-")[2] for flag in flags}
    if len(kinds) > 1:
        raise UsageError(f"{' and '.join(flags)} exclude each other; give one of them")
    if no_gpu and "fp16" in kinds:
        raise UsageError(f"{flags[0]} needs a GPU, and {no_gpu}; leave it out, or take --amp")
