"""fairseq_intra/runs/workers.py: where Slurm does not say which machine the workers meet at."""

import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.runs.workers import find_workers

SLURM = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"}


@pytest.mark.parametrize(
    ("scontrol", "why"),
    [(None, "No such file"), ("#!/bin/sh\nexit 3\n", "exit status 3"), ("#!/bin/sh\n", "it says nothing")],
)
def test_slurm_s_command_that_fails_is_named(tmp_path, monkeypatch, scontrol, why):
    monkeypatch.setenv("PATH", str(tmp_path))
    if scontrol:
        (tmp_path / "scontrol").write_text(scontrol)
        (tmp_path / "scontrol").chmod(0o755)
    with pytest.raises(UsageError) as error:
        find_workers(1, SLURM | {"SLURM_STEP_NODELIST": "node[7-8]"})
    said = str(error.value)
    assert "'scontrol show hostnames node[7-8]' failed, which names the first machine: " in said
    assert why in said and "\n" not in said
