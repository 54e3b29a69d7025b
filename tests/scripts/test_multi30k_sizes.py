"""benchmarks/multi30k_sizes.sh: what it asks for at each size."""

import corpus

#: Notes every call's words in one line, but not whether fairseq is installed, and does nothing.
STUB = """#!/usr/bin/env bash
[[ $1 == -c && $* == *find_spec* ]] || printf '%s\\n' "$*" >>"$CALLS"
"""


def test_every_size_is_a_comparison_on_the_first_pairs(tmp_path):
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            path = tmp_path / "tok" / f"{split}.lc.norm.tok.{language}"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(f"{split} {language} {number}\n" for number in range(9)))
    times, out, python = tmp_path / "times", tmp_path / "out", tmp_path / "python"
    times.write_text("{}\n")
    python.write_text(STUB)
    python.chmod(0o755)
    stub = {"FAIRSEQ_INTRA_PYTHON": str(python), "CALLS": str(tmp_path / "calls")}
    given = ["--input", tmp_path / "tok", "--out", out, "--step-times", times, "--sizes", "3 7"]
    corpus.succeed(
        "benchmarks/multi30k_sizes.sh", *given, "--seeds", "2", "--methods", "plain rdrop", "--amp", **stub
    )
    calls = corpus.lines(tmp_path / "calls")
    error = corpus.fail("benchmarks/multi30k_sizes.sh", *given, "--sizes=3 10", **stub)
    assert "--sizes 10: the text has 9 pairs" in error and corpus.lines(tmp_path / "calls") == calls
    assert len(calls) == 5
    for number, size in enumerate((3, 7)):
        prepared, compared = calls[2 * number : 2 * number + 2]
        assert "prepare multi30k" in prepared
        assert prepared.endswith(f"--langs de --input {out}/text/{size} --out {out}/data/{size}")
        assert f"time_to_quality.py --data {out}/data/{size}/en-de --out {out}/runs/{size} --parts train" in compared
        assert "--seeds 2 --methods plain rdrop --tests test test1 test2" in compared and compared.endswith("--amp")
        assert (out / "runs" / str(size) / "step_times.json").read_text() == "{}\n"
        text = out / "text" / str(size) / "tok"
        assert corpus.lines(text / "train.lc.norm.tok.de") == [f"train de {number}" for number in range(size)]
        assert len(corpus.lines(text / "val.lc.norm.tok.en")) == 9
    assert "when_it_pays.py" in calls[-1] and calls[-1].endswith(f"{out}/runs/3 {out}/runs/7")
