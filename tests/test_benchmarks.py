"""The benchmarks run and say what they measured. Speed itself is not tested."""

import json
import os
import shutil
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


def test_profile_of_the_loss(tmp_path):
    figures = tmp_path / "figures.json"
    size = ["--passes", 2, "--positions", 6, "--vocab", 40, "--width", 8]
    table = run("loss.py", *size, "--rounds", 1, "--json", figures, "--profile")
    shares = json.loads(figures.read_text())["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    largest = max(shares, key=shares.get)
    assert f"| {largest} | {shares[largest]:.0%} |" in table


@pytest.mark.slow
def test_decode(dataset, trained, tmp_path):
    checkpoint = shutil.copy(trained.checkpoint, tmp_path)
    table = run("decode.py", "--checkpoint", checkpoint, "--data", dataset, "--rounds", 1)
    assert "Translating 10 sentences with beam 5; " in table
    rows = [line.split(" | ") for line in table.split("\n") if line.startswith(("| fairseq-", "| evaluate"))]
    assert [row[0] for row in rows] == ["| fairseq-interactive", "| evaluate.sh"]
    assert rows[0][2] == "1.00 (1.00 to 1.00) |" and float(rows[1][1]) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_last.pt"]
