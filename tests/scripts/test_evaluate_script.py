"""scripts/evaluate.sh: translating and scoring in one go."""

import json
import shutil

import corpus
import pytest
import sacrebleu

from fairseq_intra import cli
from fairseq_intra.errors import UsageError

SCRIPT = "scripts/evaluate.sh"


@pytest.fixture(scope="module")
def scored(dataset, trained, tmp_path_factory):
    """A run whose last three checkpoints were averaged and evaluated, and what was said. Not to be changed."""
    run = shutil.copytree(trained.folder, tmp_path_factory.mktemp("scored") / "run")
    flags = ["--checkpoint", run / "checkpoint_last.pt", "--data", dataset, "--average", 3, "--beam", 2]
    done = corpus.run(SCRIPT, *flags, "--max-len-b", 9, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    return run, done.stdout


def test_scores_hypotheses_and_reference_stand_beside_the_checkpoint(dataset, trained, scored):
    run, said = scored
    hypotheses, reference = (corpus.lines(run / f"average3.test.{end}") for end in ("hyp", "ref"))
    assert reference == corpus.lines(dataset / "raw" / "test.en") and len(hypotheses) == 10
    assert not any("▁" in line for line in hypotheses)
    written = json.loads((run / "average3.test.json").read_text())
    assert written["bleu"]["score"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [reference]).score)
    assert written["decoding"] == {"beam": 2, "lenpen": 1.0, "flags": "--max-len-b 9"}
    assert (written["checkpoint"], written["method"], written["num_updates"]) == ("average3.pt", "intra", 20)
    assert f"BLEU {written['bleu']['score']:.2f}  {written['bleu']['signature']}" in said
    assert "checkpoint_1_10.pt, " in said
    made = {path.name for path in run.iterdir()} - {path.name for path in trained.folder.iterdir()}
    assert made == {"average3.pt", *(f"average3.test.{end}" for end in ("json", "hyp", "ref"))}


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
    ("name", "named"),
    [
        ("wmt14/empty", "sacreBLEU has no test set 'wmt14/empty'"),
        ("wmt20", "test set wmt20 is not there for de-sw, only for cs-en, "),
        ("wmt14/full", "sacreBLEU cannot get wmt14/full for de-en into .*: no network here"),
        ("lowercased", "was lowercased, and WMT's sets are scored as they are written"),
    ],
)
def test_a_wmt_set_that_cannot_be_had_is_named(tmp_path, name, named, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    for place in ("_outdir", "_rawdir"):
        monkeypatch.setattr(sacrebleu.DATASETS["wmt14/full"], place, str(tmp_path / place))
    manifest = {"source": "de", "target": "sw" if name == "wmt20" else "en", "settings": {"lowercase": False}}
    if name == "lowercased":
        manifest["settings"]["lowercase"] = True
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=named):
        cli.main(["wmt-source", "--wmt-set", name, "--data", str(tmp_path)])


def refuse(*_):
    raise OSError("no network here")


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
        ("--split valid --wmt-set wmt17", "--split and --wmt-set exclude each other"),
        ("--metrics chrf", "--metrics must be bleu, and with it any of chrf and ter, not 'chrf'"),
        ("--metrics bleu,ter", "--metrics must be bleu, and with it any of chrf and ter, not 'bleu,ter'"),
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
