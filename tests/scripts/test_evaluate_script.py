"""scripts/evaluate.sh: translating and scoring in one go."""

import json
import shutil

import corpus
import pytest
import sacrebleu

SCRIPT = "scripts/evaluate.sh"


@pytest.fixture(scope="module")
def scored(dataset, trained, tmp_path_factory):
    """A run whose last three checkpoints were averaged and evaluated, and what was said. Not to be changed."""
    run = shutil.copytree(trained.folder, tmp_path_factory.mktemp("scored") / "run")
    flags = ["--checkpoint", run / "checkpoint_last.pt", "--data", dataset, "--average", 3, "--beam", 2]
    done = corpus.run(SCRIPT, *flags, "--max-len-b", 9, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "checkpoint_1_10.pt, " in done.stderr
    return run, done.stdout


def test_scores_hypotheses_and_reference_stand_beside_the_checkpoint(dataset, trained, scored):
    run, said = scored
    hypotheses, reference = (corpus.lines(run / f"average3.test.{end}") for end in ("hyp", "ref"))
    assert reference == corpus.lines(dataset / "raw" / "test.en") and len(hypotheses) == 10
    assert not any("▁" in line for line in hypotheses)
    written = json.loads((run / "average3.test.json").read_text())
    assert written["bleu"]["score"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [reference]).score)
    limits = {"max_tokens": 8000, "max_len_a": 0.0, "max_len_b": 9}
    assert written["decoding"] == {"beam": 2, "lenpen": 1.0, "flags": {}} | limits
    assert (written["kind"], written["dictionary"]) == ("average of 3", "checked")
    assert (written["checkpoint"], written["method"], written["num_updates"]) == ("average3.pt", "intra", 20)
    assert f"BLEU {written['bleu']['score']:.2f}  {written['bleu']['signature']}" in said
    made = {path.name for path in run.iterdir()} - {path.name for path in trained.folder.iterdir()}
    assert made == {"average3.pt", *(f"average3.test.{end}" for end in ("json", "hyp", "ref"))}


@pytest.mark.slow
def test_a_wmt_set_is_translated_from_its_own_text_and_scored_on_its_own_reference(dataset, scored, tmp_path):
    """The set lies in sacreBLEU's cache, where sacreBLEU would have put it: lines of the dataset's test."""
    corpus.fake_wmt_set(tmp_path / "cache", dataset / "raw", 7)
    run = shutil.copytree(scored[0], tmp_path / "run")
    flags = ["--checkpoint", run / "average3.pt", "--data", dataset, "--beam", 2, "--max-len-b", 9]
    wmt = ["--wmt-set", "wmt14/full", "--metrics", "bleu chrf ter"]
    # As scripts/wmt17.sh calls it in the first worker of torchrun.
    worker = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    done = corpus.run(SCRIPT, *flags, *wmt, OMP_NUM_THREADS="1", SACREBLEU=str(tmp_path / "cache"), **worker)
    assert done.returncode == 0, done.stderr
    hypotheses, reference = (corpus.lines(run / f"average3.wmt14_full.{end}") for end in ("hyp", "ref"))
    assert hypotheses == corpus.lines(run / "average3.test.hyp")[:7]
    assert reference == corpus.lines(dataset / "raw" / "test.en")[:7]
    written = json.loads((run / "average3.wmt14_full.json").read_text())
    assert (written["split"], written["sentences"]) == ("wmt14/full", 7)
    assert written["ter"]["score"] == pytest.approx(sacrebleu.corpus_ter(hypotheses, [reference]).score)
    assert f"TER {written['ter']['score']:.2f}  nrefs:1|case:lc|tok:tercom" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--python /nowhere/python", "no Python at '/nowhere/python'"),
        ("--beam 0", "--beam must be at least 1, not 0"),
    ],
)
def test_a_wrong_flag_is_one_line_and_nothing_is_written(dataset, trained, arguments, named):
    before = sorted(trained.folder.iterdir())
    given = ["--checkpoint", trained.checkpoint, "--data", dataset]
    assert named in corpus.fail(SCRIPT, *given, *arguments.split())
    assert sorted(trained.folder.iterdir()) == before
