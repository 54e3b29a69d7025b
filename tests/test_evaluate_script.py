"""scripts/evaluate.sh: translating and scoring in one go."""

import json
import shutil

import corpus
import pytest
import sacrebleu

SCRIPT = "scripts/evaluate.sh"


def test_scores_hypotheses_and_reference_stand_beside_the_checkpoint(dataset, trained, tmp_path):
    run = shutil.copytree(trained.folder, tmp_path / "run")
    flags = ["--checkpoint", run / "checkpoint_last.pt", "--data", dataset, "--average", 3, "--beam", 2]
    done = corpus.run(SCRIPT, *flags, "--max-len-b", 9, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    hypotheses, reference = (corpus.lines(run / f"average3.test.{end}") for end in ("hyp", "ref"))
    assert reference == corpus.lines(dataset / "raw" / "test.en") and len(hypotheses) == 10
    assert not any("▁" in line for line in hypotheses)
    written = json.loads((run / "average3.test.json").read_text())
    assert written["bleu"]["score"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [reference]).score)
    assert written["decoding"] == {"beam": 2, "lenpen": 1.0, "flags": "--max-len-b 9"}
    assert (written["checkpoint"], written["method"], written["num_updates"]) == ("average3.pt", "intra", 20)
    assert f"BLEU {written['bleu']['score']:.2f}  {written['bleu']['signature']}" in done.stdout
    assert "checkpoint_1_10.pt, " in done.stdout
    made = {path.name for path in run.iterdir()} - {path.name for path in trained.folder.iterdir()}
    assert made == {"average3.pt", *(f"average3.test.{end}" for end in ("json", "hyp", "ref"))}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--checkpoint /nowhere.pt", "--checkpoint /nowhere.pt: no such file"),
        ("--data /nowhere", "--data /nowhere is not a prepared dataset: no manifest.json"),
        ("--split train", "--split must be valid or test, not 'train'"),
        ("--beam 0", "--beam must be a whole number of at least 1, not '0'"),
        ("--beam=3", "give --beam and its value as two words, not '--beam=3'"),
        ("--max-tokens x", "--max-tokens must be a whole number of at least 1, not 'x'"),
        ("--lenpen -1", "--lenpen must be a number of at least 0, not '-1'"),
        ("--average 0", "--average must be a whole number of at least 1, not '0'"),
        ("--split", "--split needs a value"),
        ("--python /nowhere/python", "no Python at '/nowhere/python'"),
    ],
)
def test_bad_arguments_are_named(dataset, trained, arguments, named):
    before = sorted(trained.folder.iterdir())
    given = ["--checkpoint", trained.checkpoint, "--data", dataset]
    assert named in corpus.fail(SCRIPT, *given, *arguments.split())
    assert sorted(trained.folder.iterdir()) == before


@pytest.mark.parametrize("missing", ["--checkpoint", "--data"])
def test_what_is_required_is_asked_for(dataset, trained, missing):
    given = {"--checkpoint": trained.checkpoint, "--data": dataset}
    del given[missing]
    assert f"{missing} is missing" in corpus.fail(SCRIPT, *[word for pair in given.items() for word in pair])


def test_what_stopped_fairseq_generate_is_told(dataset, trained, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\ncase $* in *generate*) echo 'fairseq_intra: refused' >&2; exit 1 ;; esac\n")
    python.chmod(0o755)
    error = corpus.fail(SCRIPT, "--checkpoint", trained.checkpoint, "--data", dataset, "--python", python)
    assert "fairseq-generate failed: fairseq_intra: refused" in error
