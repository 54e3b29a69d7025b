"""benchmarks/multi30k_sizes.sh: what it asks the grid for, and the table and picture of what that made."""

import json
import os
import subprocess
import sys

import corpus
import recorded
from evaluated_runs import TUNING, evaluated

TESTS = ("test", "test1", "test2")
INTRA = ["--task", "translation_intra_distillation", "--criterion", "intra_distillation"]
FLAGS = {
    "plain": ["--task", "translation", "--criterion", "label_smoothed_cross_entropy"],
    "rdrop": [*INTRA, "--num-iter", "2"],
    "late": [*INTRA, "--num-iter", "3", "--plain-patience", "3", "--distill-interval", "2"],
}


def test_every_size_is_a_grid_of_the_first_pairs(tmp_path):
    stub, out = recorded.stub(tmp_path), tmp_path / "out"
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            path = tmp_path / "tok" / f"{split}.lc.norm.tok.{language}"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(f"{split} {language} {number}\n" for number in range(9)))
    (tmp_path / "times").touch()
    given = ["--input", tmp_path / "tok", "--out", out, "--step-times", tmp_path / "times", "--sizes", "3 7"]
    corpus.succeed("benchmarks/multi30k_sizes.sh", *given, "--seeds", "1 2", **stub)
    for grid, size in zip(recorded.grids(stub), (3, 7), strict=True):
        assert grid[:2] == ["grid", "multi30k"]
        # Of a flag that is given twice the last counts.
        flags = {name: value for name, value in zip(grid, grid[1:], strict=False) if name.startswith("--")}
        assert (flags["--input"], flags["--out"]) == (f"{out}/text/{size}", f"{out}/{size}")
        assert (flags["--methods"], flags["--seeds"], flags["--patience"]) == ("plain rdrop late", "1 2", "10")
        text = out / "text" / str(size) / "tok"
        assert corpus.lines(text / "train.lc.norm.tok.de") == [f"train de {number}" for number in range(size)]
        assert len(corpus.lines(text / "val.lc.norm.tok.en")) == 9
        assert "--plain-patience" in flags
    corpus.succeed("benchmarks/multi30k_sizes.sh", *given, "--methods", "plain intra", **stub)
    assert "--plain-patience" not in recorded.grids(stub)[-1]


def test_the_gain_over_the_number_of_pairs(tmp_path):
    """At two sizes, at the second of which the late run has not switched."""
    methods = [(100, "plain", 2), (100, "rdrop", 2), (100, "late", 3), (200, "plain", 2), (200, "late", 2)]
    for size, method, share in methods:
        run = tmp_path / str(size) / f"en-de.{method}.seed1"
        for test in TESTS:
            evaluated(run / "checkpoints", method, share=share, name=f"average5.{test}.tuned", tuning=TUNING)
        arguments = [*FLAGS[method], "--patience", "10"]
        (run / "arguments.txt").write_text("\n".join(arguments))
        log = ["2026-11-23 10:00:00 | INFO | valid | epoch 1 | nll_loss 4 | num_updates 300"]
        if (size, method) == (100, "late"):
            switch = "intra-distillation begins after 100 updates of plain training"
            log.insert(0, f"2026-11-23 09:00:00 | INFO | fairseq_intra.late_start | {switch}")
        (run / "train.log").write_text("\n".join(log))
    times = tmp_path / "step_times.json"
    times.write_text(json.dumps({"two passes": [(3, 2)], "three passes": [(2, 1), (5, 2), (3, 1)]}))
    command = [sys.executable, "benchmarks/when_it_pays.py", "--out", tmp_path, "--step-times", times]
    done = subprocess.run(command, cwd=corpus.CHECKOUT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.split("\n") if line.startswith(("| 100 ", "| 200 "))]
    plain, rdrop, late, other, unswitched = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert plain[:3] == ["100", "plain", "1"] and other[:3] == ["200", "plain", "1"]
    assert plain[4:] == other[4:] == ["", "", "300", ""] and unswitched[6:] == ["300", "1.00"]
    assert rdrop[1:3] == ["rdrop", "1"] and rdrop[4] == "+0.00" and rdrop[6:] == ["450", "1.50"]
    assert late[1:3] == ["late", "1"] and float(late[4]) > 0 and float(late[5]) < 0.05
    # The log's 300 updates, after 100 of which every second one is K passes of 2.5.
    assert late[6:] == ["450", "1.50"]
    assert (tmp_path / "when_it_pays.svg").exists()
