"""Who trains together, and with how large a share of a batch."""

import os
import subprocess
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ..errors import UsageError

#: What makes torch fast on a CPU. glibc gives large blocks back to the system immediately and gets them back as pages
#: to be zeroed, a fifth of a training step's time. Threads that spin long while they wait cost most of the speed
#: where another program wants the same cores; threads that sleep immediately cost a quarter where none does.
CPU_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "GOMP_SPINCOUNT": "10000",
}
#: fairseq would read these too, and draw other conclusions from them: from the job's number, the same port for every
#: training of the job.
HIDDEN = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_JOB_ID")


class Workers(NamedTuple):
    """The processes that train one model."""

    count: int  # type: ignore[assignment]  # of a tuple it is a method
    rank: int  #: of this one; 0 as well where fairseq starts them all
    flags: list[str]  #: of fairseq-train


def gpu_count() -> int:
    """How many GPUs torch can use; CUDA_VISIBLE_DEVICES has its say."""
    # Importing torch takes two seconds.
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def find_workers(gpus: int, environment: Mapping[str, str] = os.environ) -> Workers:
    """The workers that torchrun or srun started, each of which runs our command; else one on each GPU, by fairseq.

    Raises:
        UsageError: if the environment is only half that of torchrun, or Slurm cannot name the first machine.
    """
    count, rank, local_rank, meeting = max(gpus, 1), 0, 0, None
    if environment.get("WORLD_SIZE"):
        if not all(environment.get(name) for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")):
            raise UsageError(
                "WORLD_SIZE is set, but not all of RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT: start it with "
                "torchrun"
            )
        count, rank, local_rank = (int(environment[name]) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
        meeting = "env://"
    elif environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        names = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")
        count, rank, local_rank = (int(environment[name]) for name in names)
        port = 10000 + int(environment["SLURM_JOB_ID"]) % 50000
        meeting = f"tcp://{_first_host(environment['SLURM_STEP_NODELIST'])}:{port}"
    # Without the world's size every worker trains a model of its own; with a meeting point but without no-spawn none
    # trains, and the exit status is 0.
    flags = ["--distributed-world-size", str(count)]
    if meeting and count > 1:
        flags += ["--distributed-init-method", meeting, "--distributed-rank", str(rank), "--distributed-no-spawn"]
        if gpus:
            flags += ["--device-id", str(local_rank % gpus)]
        else:
            flags += ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    return Workers(count, rank, flags)


def plan_batch(tokens: int, workers: int, most: int, given: int | None = None) -> tuple[int, int]:
    """(--max-tokens, --update-freq) with which all workers together take `tokens` tokens an update.

    Args:
        tokens: of an update.
        workers: their number.
        most: tokens of a worker's forward pass, at most.
        given: those by the user's choice, in place of its share.

    Raises:
        UsageError: if the batch does not divide; it names the nearest that does.
    """
    max_tokens = given or max(1, min(tokens // workers, most))
    unit = workers * max_tokens
    if tokens % unit:
        nearest = max((tokens + unit // 2) // unit, 1) * unit
        raise UsageError(
            f"--batch-tokens {tokens} is no multiple of {workers} x {max_tokens}, workers and --max-tokens; "
            f"the nearest that is: --batch-tokens {nearest}"
        )
    return max_tokens, tokens // unit


def fairseq_environment(cpu: bool, hidden: Collection[str] = HIDDEN) -> dict[str, str]:
    """The environment in which a command of fairseq's is started."""
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    # A module that lies in the current folder is not to be imported in place of a library's.
    return kept | {"PYTHONSAFEPATH": "1"} | (CPU_ENVIRONMENT if cpu else {})


def _first_host(nodes):
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        found = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.split()
        return found[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        why = "it says nothing" if isinstance(error, IndexError) else error
        raise UsageError(f"'{' '.join(command)}' failed, which names the first machine: {why}") from None
