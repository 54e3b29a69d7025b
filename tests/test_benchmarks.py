"""The benchmarks run and say what they measured. Speed itself is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(script, *arguments):
    command = [sys.executable, BENCHMARKS / script, "--device", "cpu", "--threads", 1, *arguments]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("more", [[], ["--growth"], ["--dtype", "bfloat16"]], ids=str)
def test_loss(tmp_path, more):
    figures = tmp_path / "figures.json"
    size = ["--passes", 2, "--positions", 6, "--vocab", 40, "--width", 8]
    table = run("loss.py", *size, "--rounds", 3, "--json", figures, *more)
    found = json.loads(figures.read_text())
    assert found["machine"]["command"].startswith("python ") and found["machine"]["torch"]
    for ratio in found["ratios"].values():
        assert 0 < ratio["p20"] <= ratio["median"] <= ratio["p80"]
        assert f"{ratio['median']:.2f} ({ratio['p20']:.2f} to {ratio['p80']:.2f})" in table
    assert ("ours on features" in found["ratios"]) == ("--growth" not in more)
